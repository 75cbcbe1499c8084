import * as elasticache from '@aws-sdk/client-elasticache';
import {
  type ElastiCacheState,
  findGroup,
  invalidParameter,
  invalidState,
  pageOf,
} from './elasticache-state.ts';
import { modelledFault } from './fault.ts';
import { describeClusters, describeGroup, describeParameters } from './group-description.ts';
import {
  completeMigration,
  type OnlineMigration,
  runMigration,
  type SourceEndpoint,
  stopMigration,
  testMigration,
} from './online-migration.ts';
import { findGroupOfParameters, modifyParameters } from './parameter-group.ts';
import type { SimulatedReplicationGroup } from './replication-group.ts';
import { type Checked, errorSchemas, type Service, serve } from './service.ts';
import { createSnapshot, deleteSnapshot, describeSnapshots } from './snapshot.ts';
import { addTags, listTags, removeTags } from './tags.ts';

/** ElastiCache as far as a migration goes; real nodes stand behind its groups. */
export function elasticacheService(state: ElastiCacheState): Service {
  const schemas = errorSchemas(elasticache);
  return {
    name: 'elasticache',
    protocol: 'query',
    xmlNamespace: 'http://elasticache.amazonaws.com/doc/2015-02-02/',
    modelled: (code, message) =>
      schemas.map((schema) => modelledFault('query', schema, message)).find((fault) => fault.code === code),
    operations: new Map([...descriptions(state), ...migrations(state), ...snapshots(state), ...tags(state)]),
  };
}

function descriptions(state: ElastiCacheState) {
  return [
    serve<elasticache.DescribeReplicationGroupsMessage, elasticache.ReplicationGroupMessage>(
      elasticache.DescribeReplicationGroups$,
      (input) => {
        const id = input.ReplicationGroupId;
        const groups = id === undefined ? [...state.groups.values()] : [findGroup(state, id)];
        const page = pageOf(groups, input);
        return { ...page.marker, ReplicationGroups: page.items.map(describeGroup) };
      },
    ),
    serve<elasticache.DescribeCacheClustersMessage, elasticache.CacheClusterMessage>(
      elasticache.DescribeCacheClusters$,
      (input) => listClusters(state, input),
      ['ShowCacheClustersNotInReplicationGroups'],
    ),
    serve<elasticache.DescribeCacheParametersMessage, elasticache.CacheParameterGroupDetails>(
      elasticache.DescribeCacheParameters$,
      (input) => listParameters(state, input),
      ['Source'],
    ),
    serve<elasticache.ModifyCacheParameterGroupMessage, elasticache.CacheParameterGroupNameMessage>(
      elasticache.ModifyCacheParameterGroup$,
      (input) => modifyParameters(state, input),
    ),
    serve<elasticache.DescribeEventsMessage, elasticache.EventsMessage>(
      elasticache.DescribeEvents$,
      (input) => listEvents(state, input),
    ),
  ];
}

function migrations(state: ElastiCacheState) {
  return [
    serve<elasticache.TestMigrationMessage, elasticache.TestMigrationResponse>(
      elasticache.TestMigration$,
      (input) => {
        const { group, source } = readyForMigration(state, input);
        state.inBackground(testMigration(state, group, source));
        return { ReplicationGroup: describeGroup(group) };
      },
    ),
    serve<elasticache.StartMigrationMessage, elasticache.StartMigrationResponse>(
      elasticache.StartMigration$,
      (input) => {
        const { group, source } = readyForMigration(state, input);
        const migration: OnlineMigration = { group, source, stop: new AbortController(), phase: 'starting' };
        state.migrations.set(group.id, migration);
        group.status = 'modifying';
        state.inBackground(runMigration(state, migration));
        return { ReplicationGroup: describeGroup(group) };
      },
    ),
    serve<elasticache.CompleteMigrationMessage, elasticache.CompleteMigrationResponse>(
      elasticache.CompleteMigration$,
      (input) => complete(state, input),
    ),
  ];
}

function snapshots(state: ElastiCacheState) {
  return [
    serve<elasticache.CreateSnapshotMessage, elasticache.CreateSnapshotResult>(
      elasticache.CreateSnapshot$,
      (input) => createSnapshot(state, input),
      ['CacheClusterId', 'KmsKeyId', 'Tags'],
    ),
    serve<elasticache.DescribeSnapshotsMessage, elasticache.DescribeSnapshotsListMessage>(
      elasticache.DescribeSnapshots$,
      (input) => describeSnapshots(state, input),
      ['CacheClusterId', 'SnapshotSource', 'ShowNodeGroupConfig'],
    ),
    serve<elasticache.DeleteSnapshotMessage, elasticache.DeleteSnapshotResult>(
      elasticache.DeleteSnapshot$,
      (input) => deleteSnapshot(state, input),
    ),
  ];
}

function tags(state: ElastiCacheState) {
  return [
    serve<elasticache.AddTagsToResourceMessage, elasticache.TagListMessage>(
      elasticache.AddTagsToResource$,
      (input) => addTags(state, input),
    ),
    serve<elasticache.RemoveTagsFromResourceMessage, elasticache.TagListMessage>(
      elasticache.RemoveTagsFromResource$,
      (input) => removeTags(state, input),
    ),
    serve<elasticache.ListTagsForResourceMessage, elasticache.TagListMessage>(
      elasticache.ListTagsForResource$,
      (input) => listTags(state, input),
    ),
  ];
}

function listClusters(
  state: ElastiCacheState,
  input: Checked<elasticache.DescribeCacheClustersMessage>,
): elasticache.CacheClusterMessage {
  const all = [...state.groups.values()].flatMap((group) =>
    describeClusters(group, input.ShowCacheNodeInfo ?? false),
  );
  const id = input.CacheClusterId?.toLowerCase();
  const found = id === undefined ? all : all.filter((cluster) => cluster.CacheClusterId === id);
  if (id !== undefined && found.length === 0) {
    throw modelledFault('query', elasticache.CacheClusterNotFoundFault$, `CacheCluster not found: ${id}`);
  }
  const page = pageOf(found, input);
  return { ...page.marker, CacheClusters: page.items };
}

async function listParameters(
  state: ElastiCacheState,
  input: Checked<elasticache.DescribeCacheParametersMessage>,
): Promise<elasticache.CacheParameterGroupDetails> {
  const group = findGroupOfParameters(state, input.CacheParameterGroupName);
  const page = pageOf(await describeParameters(group), input);
  return { ...page.marker, Parameters: page.items, CacheNodeTypeSpecificParameters: [] };
}

/** DescribeEvents; without a time it shows the last hour. */
function listEvents(
  state: ElastiCacheState,
  input: Checked<elasticache.DescribeEventsMessage>,
): elasticache.EventsMessage {
  const end = input.EndTime?.getTime() ?? Date.now();
  const start = input.StartTime?.getTime() ?? end - (input.Duration ?? 60) * 60_000;
  const found = state.events.filter((event) => {
    const at = event.Date?.getTime() ?? 0;
    const isWanted =
      input.SourceIdentifier === undefined || event.SourceIdentifier === input.SourceIdentifier;
    return (
      isWanted && at >= start && at <= end && (input.SourceType ?? event.SourceType) === event.SourceType
    );
  });
  const page = pageOf(found, input);
  return { ...page.marker, Events: page.items };
}

/** The documented preconditions of online migration; texts that AWS does not document are the simulator's own. */
function readyForMigration(
  state: ElastiCacheState,
  input: Checked<elasticache.StartMigrationMessage>,
): { group: SimulatedReplicationGroup; source: SourceEndpoint } {
  const group = findGroup(state, input.ReplicationGroupId);
  const [endpoint, ...more] = input.CustomerNodeEndpointList;
  if (endpoint?.Address === undefined || endpoint.Port === undefined || more.length > 0) {
    throw invalidParameter('CustomerNodeEndpointList must have exactly one element with Address and Port.');
  }
  if (state.migrations.has(group.id)) {
    throw modelledFault(
      'query',
      elasticache.ReplicationGroupAlreadyUnderMigrationFault$,
      `The targeted replication group ${group.id} is not available.`,
    );
  }
  if (group.status !== 'available')
    throw invalidState('The requested replication group is not in the available state.');
  const { options } = group;
  if (options.clusterEnabled)
    throw new Error('The simulator migrates groups with cluster mode disabled only');
  if (options.transitEncryption ?? options.tls !== undefined) {
    throw invalidParameter(`Replication group ${group.id} has in-transit encryption enabled.`);
  }
  if (options.multiAz === false)
    throw invalidParameter(`Replication group ${group.id} does not have Multi-AZ enabled.`);
  return { group, source: { address: endpoint.Address, port: endpoint.Port } };
}

async function complete(
  state: ElastiCacheState,
  input: Checked<elasticache.CompleteMigrationMessage>,
): Promise<elasticache.CompleteMigrationResponse> {
  const group = findGroup(state, input.ReplicationGroupId);
  const migration = state.migrations.get(group.id);
  if (migration === undefined) {
    throw modelledFault(
      'query',
      elasticache.ReplicationGroupNotUnderMigrationFault$,
      'The designated replication group is not available for data migration.',
    );
  }
  if (input.Force === true) {
    await stopMigration(state, migration);
  } else {
    if (migration.phase !== 'replicating') {
      throw invalidState(
        `Replication group ${group.id} is ${group.status} and cannot complete its migration now.`,
      );
    }
    migration.phase = 'completing';
    state.inBackground(completeMigration(state, migration));
  }
  return { ReplicationGroup: describeGroup(group) };
}
