import * as elasticache from '@aws-sdk/client-elasticache';
import {
  type ElastiCacheState,
  findGroup,
  invalidParameter,
  invalidState,
  pageOf,
} from './elasticache-state.ts';
import { modelledFault } from './fault.ts';
import { engineVersion, memberClusters, parameterGroupName } from './group-description.ts';
import type { SimulatedReplicationGroup } from './replication-group.ts';
import { pause } from './run-command.ts';
import type { Checked } from './service.ts';

/** CreateSnapshot: the node really saves; the group is `snapshotting` and the snapshot `creating` meanwhile. */
export function createSnapshot(
  state: ElastiCacheState,
  input: Checked<elasticache.CreateSnapshotMessage>,
): elasticache.CreateSnapshotResult {
  if (input.ReplicationGroupId === undefined) {
    throw invalidParameter('The simulator takes snapshots of replication groups: name a ReplicationGroupId.');
  }
  const group = findGroup(state, input.ReplicationGroupId);
  if (state.snapshots.has(input.SnapshotName)) {
    throw modelledFault(
      'query',
      elasticache.SnapshotAlreadyExistsFault$,
      `Snapshot with specified name already exists: ${input.SnapshotName}`,
    );
  }
  if (group.status !== 'available') {
    throw invalidState(`Replication group ${group.id} is in ${group.status} state and cannot be backed up.`);
  }
  const snapshot = newSnapshot(group, input.SnapshotName);
  state.snapshots.set(input.SnapshotName, snapshot);
  group.status = 'snapshotting';
  state.inBackground(takeSnapshot(state, group, snapshot));
  return { Snapshot: snapshot };
}

/** DescribeSnapshots, by name or by group. */
export function describeSnapshots(
  state: ElastiCacheState,
  input: Checked<elasticache.DescribeSnapshotsMessage>,
): elasticache.DescribeSnapshotsListMessage {
  const named = input.SnapshotName === undefined ? undefined : findSnapshot(state, input.SnapshotName);
  const candidates = named === undefined ? [...state.snapshots.values()] : [named];
  const wanted = input.ReplicationGroupId?.toLowerCase();
  const page = pageOf(
    candidates.filter(({ ReplicationGroupId }) => wanted === undefined || ReplicationGroupId === wanted),
    input,
  );
  return { ...page.marker, Snapshots: page.items };
}

/** DeleteSnapshot: gone at once. */
export function deleteSnapshot(
  state: ElastiCacheState,
  input: Checked<elasticache.DeleteSnapshotMessage>,
): elasticache.DeleteSnapshotResult {
  const snapshot = findSnapshot(state, input.SnapshotName);
  if (snapshot.SnapshotStatus !== 'available') {
    throw modelledFault(
      'query',
      elasticache.InvalidSnapshotStateFault$,
      `Snapshot ${input.SnapshotName} is ${snapshot.SnapshotStatus}.`,
    );
  }
  state.snapshots.delete(input.SnapshotName);
  return { Snapshot: { ...snapshot, SnapshotStatus: 'deleting' } };
}

function findSnapshot(state: ElastiCacheState, name: string): elasticache.Snapshot {
  const snapshot = state.snapshots.get(name);
  if (snapshot === undefined) {
    throw modelledFault('query', elasticache.SnapshotNotFoundFault$, `Snapshot not found: ${name}`);
  }
  return snapshot;
}

function newSnapshot(group: SimulatedReplicationGroup, name: string): elasticache.Snapshot {
  return {
    SnapshotName: name,
    ReplicationGroupId: group.id,
    ReplicationGroupDescription: `Simulated group ${group.id}`,
    SnapshotStatus: 'creating',
    SnapshotSource: 'manual',
    CacheNodeType: group.options.cacheNodeType ?? 'cache.r7g.large',
    Engine: group.options.server.kind,
    EngineVersion: engineVersion(group),
    NumNodeGroups: group.options.numNodeGroups ?? 1,
    AutomaticFailover: (group.options.multiAz ?? true) ? 'enabled' : 'disabled',
    Port: group.endpoint.Port,
    CacheParameterGroupName: parameterGroupName(group),
    CacheSubnetGroupName: 'default',
    AutoMinorVersionUpgrade: true,
    SnapshotRetentionLimit: 1,
    SnapshotWindow: '03:00-04:00',
    NodeSnapshots: [],
    ARN: group.arn.replace(/replicationgroup:.*/, `snapshot:${name}`),
    DataTiering: 'disabled',
  };
}

async function takeSnapshot(
  state: ElastiCacheState,
  group: SimulatedReplicationGroup,
  snapshot: elasticache.Snapshot,
): Promise<void> {
  await group.admin('BGSAVE');
  await pause(state.timing.snapshotMs, state.signal);
  let persistence = await group.info('persistence');
  while (!state.signal.aborted && persistence.get('rdb_bgsave_in_progress') !== '0') {
    await pause(state.timing.pollMs, state.signal);
    persistence = await group.info('persistence');
  }
  if (state.signal.aborted) return;
  const isSaved = persistence.get('rdb_last_bgsave_status') === 'ok';
  snapshot.SnapshotStatus = isSaved ? 'available' : 'failed';
  snapshot.NodeSnapshots = [
    {
      CacheClusterId: memberClusters(group)[0] ?? group.id,
      NodeGroupId: '0001',
      CacheNodeId: '0001',
      CacheSize: `${Math.ceil(Number(group.options.config?.maxmemory ?? 0) / 1e6)} MB`,
      CacheNodeCreateTime: group.createdAt,
      SnapshotCreateTime: new Date(),
    },
  ];
  group.status = 'available';
  state.announce(
    group,
    isSaved
      ? `Snapshot succeeded for snapshot with ID '${snapshot.SnapshotName}' of replication group with ID '${group.id}'`
      : `Snapshot failed for snapshot with ID '${snapshot.SnapshotName}' of replication group with ID '${group.id}'`,
  );
}
