// Reads:   the replication group, its snapshots, the persistence of the source.
// Changes: an RDB file of the source (BGSAVE), a snapshot of the target.
// Repeat:  makes another file and another snapshot.
// Undo:    delete the snapshot in ElastiCache.
import { createSnapshot } from '../aws/snapshot.ts';
import { describeTarget } from '../aws/target.ts';
import { runHostJob } from './host-job.ts';
import type { RunPhase } from './phase.ts';

/** Saves the source to its own disk and snapshots the target, each with a proof that it is complete. */
export const backup: RunPhase<'backup'> = async (inputs, world, found) => {
  const { replicationGroupId: id, waitTimeoutMs: timeoutMs } = inputs;
  await describeTarget(world.elasticache, id);
  if (inputs.backupSource) {
    const host = await world.openHost(inputs);
    const outcome = await runHostJob(
      { inputs, world, host },
      { kind: 'backup', source: inputs.source, timeoutMs },
    );
    found.part({ report: outcome.report });
    if (outcome.error !== undefined) throw outcome.error;
  }
  if (inputs.snapshotTarget) {
    const name = snapshotName(inputs.migrationId, world.clock.nowMs());
    const snapshot = await createSnapshot(world.elasticache, { id, name, timeoutMs });
    found.part({ snapshot: { name: snapshot.name, status: snapshot.status } });
    found.outputs({ 'snapshot-name': snapshot.name });
  }
};

/** ElastiCache takes lower-case letters, digits and single hyphens. */
function snapshotName(migrationId: string, nowMs: number): string {
  const time = new Date(nowMs).toISOString().replace(/\D/g, '').slice(0, 14);
  return `valkey-migrate-${migrationId.toLowerCase().replace(/-+/g, '-')}-${time}`;
}
