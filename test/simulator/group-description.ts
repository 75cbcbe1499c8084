import type { CacheCluster, NodeGroup, Parameter, ReplicationGroup } from '@aws-sdk/client-elasticache';
import type { SimulatedReplicationGroup } from './replication-group.ts';

const NODE_ID = '0001';
const ZONES = ['a', 'b'] as const;

/** The names of the group's cache clusters: one per node, a second per shard when Multi-AZ is on. */
export function memberClusters(group: SimulatedReplicationGroup): string[] {
  const { clusterEnabled, numNodeGroups = 1, multiAz = true } = group.options;
  const members = multiAz ? ['001', '002'] : ['001'];
  const shards = Array.from({ length: numNodeGroups }, (_, index) => String(index + 1).padStart(4, '0'));
  return clusterEnabled
    ? shards.flatMap((shard) => members.map((member) => `${group.id}-${shard}-${member}`))
    : members.map((member) => `${group.id}-${member}`);
}

/** The parameter group of the group: its own, or that of its engine and major version. */
export function parameterGroupName(group: SimulatedReplicationGroup): string {
  if (group.options.parameterGroup !== undefined) return group.options.parameterGroup;
  const major = engineVersion(group).split('.')[0] ?? '';
  return `default.${group.options.server.kind}${major}${group.options.clusterEnabled ? '.cluster.on' : ''}`;
}

/** What DescribeReplicationGroups and the migration operations say of a group. */
export function describeGroup(group: SimulatedReplicationGroup): ReplicationGroup {
  const { options } = group;
  const isMultiAz = options.multiAz ?? true;
  return {
    ReplicationGroupId: group.id,
    Description: `Simulated group ${group.id}`,
    Status: group.status,
    PendingModifiedValues: {},
    MemberClusters: memberClusters(group),
    NodeGroups: nodeGroups(group),
    AutomaticFailover: isMultiAz ? 'enabled' : 'disabled',
    MultiAZ: isMultiAz ? 'enabled' : 'disabled',
    ...(options.clusterEnabled ? { ConfigurationEndpoint: group.endpoint } : {}),
    SnapshotRetentionLimit: 1,
    SnapshotWindow: '03:00-04:00',
    ClusterEnabled: options.clusterEnabled ?? false,
    ClusterMode: options.clusterEnabled ? 'enabled' : 'disabled',
    CacheNodeType: options.cacheNodeType ?? 'cache.r7g.large',
    AuthTokenEnabled: options.authToken !== undefined,
    ...encryption(group),
    AtRestEncryptionEnabled: true,
    ARN: group.arn,
    UserGroupIds: [],
    LogDeliveryConfigurations: [],
    ReplicationGroupCreateTime: group.createdAt,
    DataTiering: 'disabled',
    AutoMinorVersionUpgrade: true,
    NetworkType: 'ipv4',
    IpDiscovery: 'ipv4',
    Engine: options.server.kind,
  };
}

/** What DescribeCacheClusters says of a group's members; endpoints only when asked for. */
export function describeClusters(group: SimulatedReplicationGroup, withNodes: boolean): CacheCluster[] {
  return memberClusters(group).map((id, index) => ({
    CacheClusterId: id,
    CacheNodeType: group.options.cacheNodeType ?? 'cache.r7g.large',
    Engine: group.options.server.kind,
    EngineVersion: engineVersion(group),
    CacheClusterStatus: group.status === 'migrating' ? 'available' : group.status,
    NumCacheNodes: 1,
    PreferredAvailabilityZone: zone(group, index),
    CacheClusterCreateTime: group.createdAt,
    PreferredMaintenanceWindow: 'sun:05:00-sun:06:00',
    PendingModifiedValues: {},
    CacheSecurityGroups: [],
    CacheParameterGroup: {
      CacheParameterGroupName: parameterGroupName(group),
      ParameterApplyStatus: group.parameterApplyStatus,
      CacheNodeIdsToReboot: [],
    },
    CacheSubnetGroupName: 'default',
    ...(withNodes
      ? {
          CacheNodes: [
            {
              CacheNodeId: NODE_ID,
              CacheNodeStatus: 'available',
              CacheNodeCreateTime: group.createdAt,
              Endpoint: group.endpoint,
              ParameterGroupStatus: group.parameterApplyStatus,
              CustomerAvailabilityZone: zone(group, index),
            },
          ],
        }
      : {}),
    AutoMinorVersionUpgrade: true,
    SecurityGroups: [{ SecurityGroupId: 'sg-0123456789abcdef0', Status: 'active' }],
    ReplicationGroupId: group.id,
    SnapshotRetentionLimit: 0,
    SnapshotWindow: '03:00-04:00',
    AuthTokenEnabled: group.options.authToken !== undefined,
    ...encryption(group),
    AtRestEncryptionEnabled: true,
    ARN: group.arn.replace(/replicationgroup:.*/, `cluster:${id}`),
    ReplicationGroupLogDeliveryEnabled: false,
    LogDeliveryConfigurations: [],
    NetworkType: 'ipv4',
    IpDiscovery: 'ipv4',
  }));
}

/** The version that the service shows: the node's own unless the test says another. */
export function engineVersion(group: SimulatedReplicationGroup): string {
  return group.options.engineVersion ?? group.options.server.version;
}

/** Parameters of the engine that the service shows, by the directive of the node that holds each. */
const PARAMETERS: Record<string, Parameter['DataType']> = {
  activedefrag: 'string',
  'cluster-enabled': 'string',
  databases: 'integer',
  'hash-max-listpack-entries': 'integer',
  'lfu-decay-time': 'integer',
  'maxmemory-policy': 'string',
  'maxmemory-samples': 'integer',
  'notify-keyspace-events': 'string',
  'repl-backlog-size': 'integer',
  'stream-node-max-bytes': 'integer',
  'tcp-keepalive': 'integer',
  timeout: 'integer',
  'zset-max-listpack-entries': 'integer',
};
/** Parameters of the service that no server has. */
const SERVICE_PARAMETERS = { 'reserved-memory-percent': '25', 'replicas-allow-expensive-queries': 'yes' };

/** What DescribeCacheParameters says: the values that the group's node really runs with, or is about to. */
export async function describeParameters(group: SimulatedReplicationGroup): Promise<Parameter[]> {
  const engine = await Promise.all(
    Object.entries(PARAMETERS).map(async ([name, type]) => {
      const answer: unknown = await group.admin('CONFIG', 'GET', name);
      const value: unknown =
        group.modifiedParameters.get(name) ?? (Array.isArray(answer) ? answer[1] : undefined);
      return parameter(name, { value: typeof value === 'string' ? value : '', type });
    }),
  );
  const service = Object.entries(SERVICE_PARAMETERS).map(([name, value]) =>
    parameter(name, { value, type: 'string' }),
  );
  return [...engine, ...service].sort((a, b) => (a.ParameterName ?? '').localeCompare(b.ParameterName ?? ''));
}

function parameter(name: string, shown: { value: string; type: string | undefined }): Parameter {
  return {
    ParameterName: name,
    ParameterValue: shown.value,
    Description: name,
    Source: 'system',
    ...(shown.type === undefined ? {} : { DataType: shown.type }),
    IsModifiable: name !== 'cluster-enabled',
    MinimumEngineVersion: '7.2.6',
    ChangeType: 'immediate',
  };
}

function nodeGroups(group: SimulatedReplicationGroup): NodeGroup[] {
  const { clusterEnabled, numNodeGroups = 1, multiAz = true } = group.options;
  const clusters = memberClusters(group);
  const perShard = clusters.length / numNodeGroups;
  return Array.from({ length: numNodeGroups }, (_, shard) => ({
    NodeGroupId: String(shard + 1).padStart(4, '0'),
    Status: group.status === 'migrating' ? 'available' : group.status,
    ...(clusterEnabled
      ? { Slots: slotRange(shard, numNodeGroups) }
      : { PrimaryEndpoint: group.endpoint, ...(multiAz ? { ReaderEndpoint: group.endpoint } : {}) }),
    NodeGroupMembers: clusters.slice(shard * perShard, (shard + 1) * perShard).map((id, member) => ({
      CacheClusterId: id,
      CacheNodeId: NODE_ID,
      ...(clusterEnabled
        ? {}
        : { ReadEndpoint: group.endpoint, CurrentRole: member === 0 ? 'primary' : 'replica' }),
      PreferredAvailabilityZone: zone(group, member),
    })),
  }));
}

function slotRange(shard: number, shards: number): string {
  const start = Math.floor((16_384 * shard) / shards);
  const end = Math.floor((16_384 * (shard + 1)) / shards) - 1;
  return `${start}-${end}`;
}

function encryption(group: SimulatedReplicationGroup) {
  const isOn = group.options.transitEncryption ?? group.options.tls !== undefined;
  return { TransitEncryptionEnabled: isOn, ...(isOn ? { TransitEncryptionMode: 'required' as const } : {}) };
}

function zone(group: SimulatedReplicationGroup, index: number): string {
  return `${group.arn.split(':')[3]}${ZONES[index % ZONES.length]}`;
}
