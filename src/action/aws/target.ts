import {
  DescribeCacheClustersCommand,
  DescribeCacheParametersCommand,
  DescribeReplicationGroupsCommand,
  type ElastiCacheClient,
  type Endpoint,
  type ReplicationGroup,
} from '@aws-sdk/client-elasticache';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { type AwsCall, callAws } from './aws-error.ts';
import type { Waiting } from './poll.ts';

/** What every function of the ElastiCache door works with. */
export type ElastiCacheDoor = Waiting & {
  readonly elasticache: ElastiCacheClient;
  log(message: string): void;
};

/** An address of the replication group. */
export type Address = { readonly host: string; readonly port: number };

/** The target as the ElastiCache API shows it. */
export type Target = {
  readonly id: string;
  /** `available`, `modifying`, `snapshotting`, …, and `migrating`, which only the guide names. */
  readonly status: string;
  /** `valkey` or `redis`. */
  readonly engine: string;
  /** Empty when DescribeCacheClusters is not permitted. */
  readonly engineVersion: string;
  /** Where writes go: with cluster mode the configuration endpoint. */
  readonly primary: Address | undefined;
  readonly reader: Address | undefined;
  readonly transitEncryption: boolean;
  readonly authTokenEnabled: boolean;
  readonly multiAz: boolean;
  readonly clusterMode: boolean;
  readonly numNodeGroups: number;
  readonly memberClusters: readonly string[];
  readonly cacheNodeType: string;
  readonly automaticFailover: boolean;
  /** Of access by role; with one of these users log in by name. */
  readonly userGroups: readonly string[];
  /** For how many days ElastiCache keeps the snapshots that it makes by itself; 0: it makes none. */
  readonly snapshotRetentionDays: number | undefined;
  /** Undefined when DescribeCacheClusters is not permitted. */
  readonly parameterGroup: string | undefined;
  /** The SNS topic that is told of events, empty where there is none; undefined as for `parameterGroup`. */
  readonly eventTopic: string | undefined;
  /** Of the parameter group; undefined when it could not be read. */
  readonly databases: number | undefined;
  /** As the parameter group has it; undefined when it could not be read. */
  readonly notifyKeyspaceEvents: string | undefined;
};

/**
 * Describes the replication group with the version and the databases of its first member.
 *
 * The group itself must be readable; DescribeCacheClusters and DescribeCacheParameters may be denied, then what
 * they know is missing and a line in the log says so.
 *
 * @throws replication-group-not-found, aws-credentials-missing, aws-access-denied, aws-throttled, aws-unavailable
 */
export async function describeTarget(door: ElastiCacheDoor, id: string): Promise<Target> {
  const group = await readGroup(door, id);
  const member = await describeMember(door, group.MemberClusters?.[0]);
  const parameters = await readParameters(door, member.parameterGroup);
  const databases = parameters.get('databases');
  return {
    ...toTarget(group, id),
    engine: group.Engine ?? member.engine,
    engineVersion: member.engineVersion,
    parameterGroup: member.parameterGroup,
    eventTopic: member.eventTopic,
    databases: databases === undefined ? undefined : Number(databases),
    notifyKeyspaceEvents: parameters.get(NOTIFICATIONS),
  };
}

/** Reads only the status of the group; cheap enough to poll. */
export async function readStatus(door: ElastiCacheDoor, id: string): Promise<string> {
  return (await readGroup(door, id)).Status ?? 'unknown';
}

/** Names a call of ElastiCache for messages. */
export function elasticacheCall(door: ElastiCacheDoor, operation: string, id: string): AwsCall {
  return { action: `elasticache:${operation}`, about: `replication group ${id}`, signal: door.signal };
}

/** Reads the group and the names of its members. */
export async function readGroup(door: ElastiCacheDoor, id: string): Promise<ReplicationGroup> {
  const command = new DescribeReplicationGroupsCommand({ ReplicationGroupId: id });
  const answer = await callAws(elasticacheCall(door, 'DescribeReplicationGroups', id), () =>
    door.elasticache.send(command, { abortSignal: door.signal }),
  );
  const group = answer.ReplicationGroups?.[0];
  if (group === undefined) {
    throw new MigrationError('replication-group-not-found', `There is no replication group ${id}.`);
  }
  return group;
}

function toTarget(
  group: ReplicationGroup,
  id: string,
): Omit<
  Target,
  'engine' | 'engineVersion' | 'parameterGroup' | 'eventTopic' | 'databases' | 'notifyKeyspaceEvents'
> {
  const shard = group.NodeGroups?.[0];
  return {
    id: group.ReplicationGroupId ?? id,
    status: group.Status ?? 'unknown',
    primary: toAddress(group.ConfigurationEndpoint) ?? toAddress(shard?.PrimaryEndpoint),
    reader: toAddress(shard?.ReaderEndpoint),
    transitEncryption: group.TransitEncryptionEnabled ?? false,
    authTokenEnabled: group.AuthTokenEnabled ?? false,
    multiAz: group.MultiAZ === 'enabled',
    automaticFailover: ['enabled', 'enabling'].includes(group.AutomaticFailover ?? ''),
    userGroups: group.UserGroupIds ?? [],
    snapshotRetentionDays: group.SnapshotRetentionLimit,
    clusterMode: group.ClusterEnabled ?? false,
    numNodeGroups: group.NodeGroups?.length ?? 0,
    memberClusters: group.MemberClusters ?? [],
    cacheNodeType: group.CacheNodeType ?? '',
  };
}

function toAddress(endpoint: Endpoint | undefined): Address | undefined {
  if (endpoint?.Address === undefined || endpoint.Port === undefined) return undefined;
  return { host: endpoint.Address, port: endpoint.Port };
}

type Member = Pick<Target, 'engine' | 'engineVersion' | 'parameterGroup' | 'eventTopic'>;

async function describeMember(door: ElastiCacheDoor, clusterId: string | undefined): Promise<Member> {
  const unknown: Member = {
    engine: 'unknown',
    engineVersion: '',
    parameterGroup: undefined,
    eventTopic: undefined,
  };
  if (clusterId === undefined) return unknown;
  const call = {
    action: 'elasticache:DescribeCacheClusters',
    about: `cluster ${clusterId}`,
    signal: door.signal,
  };
  const command = new DescribeCacheClustersCommand({ CacheClusterId: clusterId });
  const answer = await unlessDenied(door, () =>
    callAws(call, () => door.elasticache.send(command, { abortSignal: door.signal })),
  );
  const cluster = answer?.CacheClusters?.[0];
  return {
    engine: cluster?.Engine ?? unknown.engine,
    engineVersion: cluster?.EngineVersion ?? '',
    parameterGroup: cluster?.CacheParameterGroup?.CacheParameterGroupName,
    eventTopic: cluster === undefined ? undefined : (cluster.NotificationConfiguration?.TopicArn ?? ''),
  };
}

/** The parameter that decides which keyspace notifications the nodes send. */
export const NOTIFICATIONS = 'notify-keyspace-events';
const PARAMETERS_READ: ReadonlySet<string> = new Set(['databases', NOTIFICATIONS]);

/** A parameter group has a few hundred parameters at most, 100 to a page. */
const PARAMETER_PAGES_MAX = 10;

/** Those of the parameter group that a phase has a use for, by name. */
async function readParameters(
  door: ElastiCacheDoor,
  name: string | undefined,
): Promise<ReadonlyMap<string, string>> {
  const read = new Map<string, string>();
  if (name === undefined) return read;
  const call = {
    action: 'elasticache:DescribeCacheParameters',
    about: `parameter group ${name}`,
    signal: door.signal,
  };
  let marker: string | undefined;
  for (let page = 0; page < PARAMETER_PAGES_MAX; page += 1) {
    const command = new DescribeCacheParametersCommand({ CacheParameterGroupName: name, Marker: marker });
    const answer = await unlessDenied(door, () =>
      callAws(call, () => door.elasticache.send(command, { abortSignal: door.signal })),
    );
    for (const { ParameterName = '', ParameterValue } of answer?.Parameters ?? []) {
      if (!PARAMETERS_READ.has(ParameterName)) continue;
      // One that is empty comes without a value.
      if (ParameterValue !== undefined || ParameterName === NOTIFICATIONS) {
        read.set(ParameterName, ParameterValue ?? '');
      }
    }
    marker = answer?.Marker;
    if (marker === undefined || read.size === PARAMETERS_READ.size) break;
  }
  return read;
}

async function unlessDenied<Answer>(
  door: ElastiCacheDoor,
  ask: () => Promise<Answer>,
): Promise<Answer | undefined> {
  try {
    return await ask();
  } catch (error) {
    // What these calls know is welcome but no phase depends on it.
    if (!isMigrationError(error) || error.code !== 'aws-access-denied') throw error;
    door.log(`${error.message} Going on without it.`);
    return undefined;
  }
}
