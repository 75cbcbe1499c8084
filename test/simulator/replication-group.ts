import { randomBytes } from 'node:crypto';
import { type RunningCluster, startCluster } from '../servers/cluster.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { type RunningServer, startServer } from '../servers/start.ts';
import type { TlsFiles } from '../servers/tls.ts';

/** A node-based replication group to simulate: each of its shards is a server of ours, replicas exist on paper. */
export type ReplicationGroupOptions = {
  replicationGroupId: string;
  server: ServerBinary;
  /** Directives for the node beside those of the simulator. */
  config?: Readonly<Record<string, string | readonly string[]>>;
  status?: string;
  /** On by default, as online migration wants it. */
  multiAz?: boolean;
  /** Off by default, as online migration wants it; on by itself when `tls` is given. */
  transitEncryption?: boolean;
  /** Opens a TLS port, which then is the group's endpoint. */
  tls?: TlsFiles;
  /** Clients must say it to the node. */
  authToken?: string;
  /** The server's own version unless said otherwise. */
  engineVersion?: string;
  /** Cluster mode with real nodes; such a group takes no online migration in the simulator. */
  clusterEnabled?: boolean;
  /** The shards of a group with cluster mode enabled; 1 by default. */
  numNodeGroups?: number;
  cacheNodeType?: string;
  /** A parameter group of its own; the default one of its engine unless told. */
  parameterGroup?: string;
};

/** A simulated group: what a test may look at and set. */
export type SimulatedReplicationGroup = AsyncDisposable & {
  readonly id: string;
  readonly arn: string;
  /** The primary; with cluster mode enabled that of the first shard. */
  readonly node: RunningServer;
  /** With cluster mode enabled. */
  readonly cluster: RunningCluster | undefined;
  readonly options: ReplicationGroupOptions;
  readonly createdAt: Date;
  readonly tags: Map<string, string>;
  /** `available`, `modifying`, `migrating`, `snapshotting`, … */
  status: string;
  /** Parameters as somebody has set them, by name. */
  readonly modifiedParameters: Map<string, string>;
  parameterApplyStatus: 'in-sync' | 'applying';
  /** Where clients reach it: the TLS port when there is one. */
  readonly endpoint: { Address: string; Port: number };
  /** A command that ElastiCache keeps for itself, by its true name: the service's own way in. */
  admin(command: string, ...args: string[]): Promise<unknown>;
  /** INFO of a section as a map. */
  info(section: string): Promise<Map<string, string>>;
};

/** Commands that ElastiCache's nodes do not know: clients get `ERR unknown command`. */
const RESTRICTED_COMMANDS = [
  'bgrewriteaof',
  'bgsave',
  'config',
  'debug',
  'migrate',
  'psync',
  'replicaof',
  'save',
  'shutdown',
  'slaveof',
  'sync',
] as const;

/** Subcommands cannot be renamed, so the default user may not run them: clients get `NOPERM`. */
const RESTRICTED_SUBCOMMANDS = [
  ...['deluser', 'load', 'save', 'setuser'].map((name) => `acl|${name}`),
  ...[
    'addslots',
    'bumpepoch',
    'delslots',
    'failover',
    'flushslots',
    'forget',
    'links',
    'meet',
    'setslot',
  ].map((name) => `cluster|${name}`),
];

/** Starts the group's nodes with the restrictions of ElastiCache. */
export async function createReplicationGroup(
  options: ReplicationGroupOptions,
  arnPrefix: string,
): Promise<SimulatedReplicationGroup> {
  const hiddenNames = new Map(RESTRICTED_COMMANDS.map((name) => [name.toString(), hiddenName()]));
  const { node, cluster } = await startNodes(options, hiddenNames);
  const client = node.client();
  const id = options.replicationGroupId.toLowerCase();
  return {
    id,
    arn: `${arnPrefix}${id}`,
    node,
    cluster,
    options,
    createdAt: new Date(),
    tags: new Map(),
    status: options.status ?? 'available',
    modifiedParameters: new Map(),
    parameterApplyStatus: 'in-sync',
    endpoint: { Address: node.host, Port: node.tlsPort ?? node.port },
    admin: (command, ...args) => client.call(hiddenNames.get(command.toLowerCase()) ?? command, ...args),
    info: async (section) => parseInfo(await client.info(section)),
    [Symbol.asyncDispose]: () => (cluster ?? node)[Symbol.asyncDispose](),
  };
}

type Nodes = { node: RunningServer; cluster: RunningCluster | undefined };

async function startNodes(
  options: ReplicationGroupOptions,
  hiddenNames: ReadonlyMap<string, string>,
): Promise<Nodes> {
  const denied = RESTRICTED_SUBCOMMANDS.map((name) => `-${name}`);
  const config = {
    ...options.config,
    ...(options.authToken === undefined ? {} : { requirepass: options.authToken }),
    'protected-mode': 'no',
    'rename-command': [...hiddenNames].map(([name, hidden]) => `${name} ${hidden}`),
  };
  const { server } = options;
  const shared = { server, ...(options.tls === undefined ? {} : { tls: options.tls }) };
  if (options.clusterEnabled !== true) {
    const password = options.authToken === undefined ? 'nopass' : `>${options.authToken}`;
    const user = [`default on ${password} ~* &* +@all ${denied.join(' ')}`];
    return { node: await startServer({ ...shared, config: { ...config, user } }), cluster: undefined };
  }
  const cluster = await startCluster({ ...shared, config, primaries: options.numNodeGroups ?? 1 });
  // Only now: to form a cluster takes what its clients may not do.
  for (const primary of cluster.primaries) {
    await primary.client().call('ACL', 'SETUSER', 'default', ...denied);
  }
  const [node] = cluster.primaries;
  if (node === undefined) throw new Error('a cluster without a primary');
  return { node, cluster };
}

/** Reads `name:value` lines as INFO prints them. */
export function parseInfo(text: string): Map<string, string> {
  const lines = text.split('\r\n').filter((line) => line.includes(':'));
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]));
}

function hiddenName(): string {
  return `hidden-${randomBytes(12).toString('hex')}`;
}
