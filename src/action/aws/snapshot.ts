import { CreateSnapshotCommand, DescribeSnapshotsCommand, type Snapshot } from '@aws-sdk/client-elasticache';
import { MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import { awsErrorName, callAws } from './aws-error.ts';
import { pollUntil } from './poll.ts';
import { type ElastiCacheDoor, elasticacheCall, readStatus } from './target.ts';

/** The proof of a snapshot: ElastiCache shows it as `available`. */
export type TargetSnapshot = {
  readonly name: string;
  readonly status: string;
  readonly engineVersion: string;
  /** One for each shard; sizes as ElastiCache words them, such as `5 MB`. */
  readonly nodes: readonly {
    readonly cacheClusterId: string;
    readonly size: string;
    readonly createdAtMs: number;
  }[];
  readonly durationMs: number;
  /** True when the snapshot of this name was there before: an earlier attempt made it. */
  readonly adopted: boolean;
};

/**
 * Makes a snapshot of the group, or adopts the group's snapshot of the same name, and waits for its proof and for
 * the group to be `available` again.
 *
 * @throws snapshot-failed, replication-group-not-found, replication-group-not-available, wait-timeout, and those of
 * every AWS call
 */
export async function createSnapshot(
  door: ElastiCacheDoor,
  { id, name, timeoutMs }: { id: string; name: string; timeoutMs: number },
): Promise<TargetSnapshot> {
  const startedAtMs = door.clock.nowMs();
  const adopted = !(await requestSnapshot(door, { id, name }));
  door.log(
    adopted ? `Snapshot ${name} is already there; waiting for it.` : `Snapshot ${name} of ${id} begins.`,
  );
  const snapshot = await pollUntil(
    async () => {
      const seen = await readSnapshot(door, { id, name });
      return seen.SnapshotStatus === 'available' && (await readStatus(door, id)) === 'available'
        ? seen
        : undefined;
    },
    { ...door, timeoutMs },
  );
  if (snapshot === undefined) {
    throw new MigrationError(
      'wait-timeout',
      `Snapshot ${name} of replication group ${id} is not complete after ${formatDuration(timeoutMs)}.`,
    );
  }
  return {
    name,
    status: snapshot.SnapshotStatus ?? 'unknown',
    engineVersion: snapshot.EngineVersion ?? '',
    nodes: (snapshot.NodeSnapshots ?? []).map((node) => ({
      cacheClusterId: node.CacheClusterId ?? '',
      size: node.CacheSize ?? '',
      createdAtMs: node.SnapshotCreateTime?.getTime() ?? 0,
    })),
    durationMs: door.clock.nowMs() - startedAtMs,
    adopted,
  };
}

/** Returns false when there is a snapshot of this name already. */
async function requestSnapshot(
  door: ElastiCacheDoor,
  { id, name }: { id: string; name: string },
): Promise<boolean> {
  const command = new CreateSnapshotCommand({ ReplicationGroupId: id, SnapshotName: name });
  return await callAws(elasticacheCall(door, 'CreateSnapshot', id), async () => {
    try {
      await door.elasticache.send(command, { abortSignal: door.signal });
      return true;
    } catch (error) {
      // Also the SDK's own second attempt after an answer that got lost.
      if (awsErrorName(error) === 'SnapshotAlreadyExistsFault') return false;
      throw error;
    }
  });
}

async function readSnapshot(
  door: ElastiCacheDoor,
  { id, name }: { id: string; name: string },
): Promise<Snapshot> {
  const answer = await callAws(elasticacheCall(door, 'DescribeSnapshots', id), () =>
    door.elasticache.send(new DescribeSnapshotsCommand({ SnapshotName: name }), { abortSignal: door.signal }),
  );
  const snapshot = answer.Snapshots?.[0];
  if (snapshot === undefined) {
    throw new MigrationError('snapshot-failed', `Snapshot ${name} of replication group ${id} is gone.`);
  }
  if (snapshot.ReplicationGroupId !== undefined && snapshot.ReplicationGroupId !== id.toLowerCase()) {
    throw new MigrationError(
      'snapshot-failed',
      `There is a snapshot ${name} already, of replication group ${snapshot.ReplicationGroupId}.`,
    );
  }
  if (snapshot.SnapshotStatus === 'failed' || snapshot.SnapshotStatus === 'deleting') {
    throw new MigrationError(
      'snapshot-failed',
      `Snapshot ${name} of replication group ${id} is ${snapshot.SnapshotStatus}.`,
    );
  }
  return snapshot;
}
