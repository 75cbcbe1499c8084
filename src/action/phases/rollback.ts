// Reads:   the state of the migration on the host, the replication group.
// Changes: ends the sync or the online migration, lifts the fence, releases the target; empties it when told so.
// Repeat:  finds nothing left to undo.
// Undo:    start-migration copies anew.
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { completeMigration as completeOnlineMigration } from '../aws/online-migration.ts';
import { describeTarget } from '../aws/target.ts';
import { runHostJob } from './host-job.ts';
import type { RunPhase } from './phase.ts';
import { targetEndpoint } from './target-endpoint.ts';

/** Gives the migration up and leaves the source as it was found. */
export const rollback: RunPhase<'rollback'> = async (inputs, world, found) => {
  const target = await describeTarget(world.elasticache, inputs.replicationGroupId);
  const host = await world.openHost(inputs);
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  const { migration } = await host.call({ command: 'status', ...identity });
  if (migration?.completedAtMs !== undefined) {
    throw new MigrationError(
      'migration-completed',
      `The migration was completed at ${new Date(migration.completedAtMs).toISOString()}: a rollback would lose what was written since.`,
    );
  }
  const route = migration?.route ?? (target.status === 'migrating' ? 'native' : 'replica');
  found.route(route);
  found.outputs({ route });
  if (route === 'native' && target.status !== 'available') {
    const { waitTimeoutMs: timeoutMs } = inputs;
    try {
      const ended = await completeOnlineMigration(world.elasticache, {
        id: target.id,
        force: true,
        timeoutMs,
      });
      found.part({ nativeEvents: ended.events });
    } catch (error) {
      if (!isMigrationError(error) || error.code !== 'replication-group-not-migrating') throw error;
      found.warn('No online migration was running any more.');
    }
  }
  const outcome = await runHostJob(
    { inputs, world, host },
    {
      kind: 'rollback',
      source: migration?.source ?? inputs.source,
      target: migration?.target ?? targetEndpoint(target, inputs),
      route,
      flushTarget: inputs.flushTarget,
    },
  );
  found.part({ report: outcome.report });
  if (outcome.error !== undefined) throw outcome.error;
  await host.call({ command: 'forget', ...identity });
  found.outputs({ 'migration-status': 'none' });
};
