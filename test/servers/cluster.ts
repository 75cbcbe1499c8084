import { setTimeout as delay } from 'node:timers/promises';
import { Cluster, type Redis } from 'ioredis';
import { keySlot, SLOT_COUNT } from '../../src/agent/redis/cluster/slots.ts';
import type { ServerBinary } from './server-binary.ts';
import { type RunningServer, startServer } from './start.ts';
import type { TlsFiles } from './tls.ts';

/** How to start a cluster. */
export type ClusterOptions = {
  readonly server: ServerBinary;
  /** 3 by default. */
  readonly primaries?: number;
  /** Replicas of each primary; 0 by default. */
  readonly replicas?: number;
  /** For every node, as for {@link startServer}. */
  readonly config?: Readonly<Record<string, string | readonly string[]>>;
  readonly tls?: TlsFiles;
};

/** A cluster on the loopback; its first primary stands for its configuration endpoint. */
export type RunningCluster = AsyncDisposable & {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly tlsPort: number | undefined;
  readonly primaries: readonly RunningServer[];
  /** The replicas of each primary, in the order of the primaries. */
  readonly replicas: readonly (readonly RunningServer[])[];
  /** A client that routes by slot; it ends with the cluster. */
  client(): Cluster;
  /** The server that owns the slot of a key now. */
  ownerOf(key: string): Promise<RunningServer>;
  /** Moves a slot and its keys to another primary, as `--cluster reshard` does. */
  moveSlot(slot: number, to: RunningServer): Promise<void>;
};

const NODE_TIMEOUT_MS = '2000';
const FORM_LIMIT_MS = 60_000;
const POLL_MS = 50;

/** Starts a cluster of which the primaries share the slots evenly; resolves when every node takes it for whole. */
export async function startCluster(options: ClusterOptions): Promise<RunningCluster> {
  const { primaries: primaryCount = 3, replicas: replicaCount = 0 } = options;
  await using stack = new AsyncDisposableStack();
  // At once, since no node takes the cluster for whole in the first two seconds of its life.
  const starts = await Promise.allSettled(
    Array.from({ length: primaryCount * (1 + replicaCount) }, () => startNode(options)),
  );
  const nodes = starts.flatMap((start) => (start.status === 'fulfilled' ? [stack.use(start.value)] : []));
  for (const start of starts) if (start.status === 'rejected') throw start.reason;
  const primaries = nodes.slice(0, primaryCount);
  const replicas = primaries.map((_, index) =>
    nodes.slice(primaryCount + index * replicaCount, primaryCount + (index + 1) * replicaCount),
  );
  await joinNodes(nodes, primaries);
  for (const [index, primary] of primaries.entries()) {
    const id = String(await primary.client().call('CLUSTER', 'MYID'));
    for (const replica of replicas[index] ?? []) {
      await until(`a replica of primary ${index}`, async () => {
        const reply = await replica
          .client()
          .call('CLUSTER', 'REPLICATE', id)
          .catch(() => undefined);
        return reply === 'OK';
      });
    }
  }
  await until('replicas in step', async () => {
    const infos = await Promise.all(replicas.flat().map((replica) => replica.client().info('replication')));
    return infos.every((info) => info.includes('master_link_status:up'));
  });
  await until('a cluster that knows all of its nodes', async () => {
    const replies = await Promise.all(nodes.map((node) => node.client().call('CLUSTER', 'SLOTS')));
    return replies.every((reply) => countServers(reply) === nodes.length);
  });
  const first = primaries[0];
  if (first === undefined) throw new Error('a cluster needs a primary');
  const servers = stack.move();
  const clients: Cluster[] = [];
  return {
    host: first.host,
    port: first.port,
    tlsPort: first.tlsPort,
    primaries,
    replicas,
    client: () => {
      const client = openClusterClient(nodes, options.config?.requirepass);
      clients.push(client);
      return client;
    },
    ownerOf: async (key) => findOwner(nodes, keySlot(Buffer.from(key), 0, Buffer.byteLength(key))),
    moveSlot: async (slot, to) => moveSlot({ nodes, slot, to }),
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) client.disconnect();
      await servers.disposeAsync();
    },
  };
}

/** The node that stands for a cluster where one is asked for. */
export function firstOf({ primaries }: RunningCluster): RunningServer {
  const [first] = primaries;
  if (first === undefined) throw new Error('the cluster has no primary');
  return first;
}

function startNode({ server, config, tls }: ClusterOptions): Promise<RunningServer> {
  return startServer({
    server,
    cluster: true,
    config: {
      'cluster-node-timeout': NODE_TIMEOUT_MS,
      'cluster-require-full-coverage': 'no',
      'repl-diskless-sync-delay': '0',
      // CLUSTER SLOTS leaves out a replica that has received nothing yet; by default the first PING comes after ten seconds.
      'repl-ping-replica-period': '1',
      ...config,
    },
    ...(tls === undefined ? {} : { tls }),
  });
}

async function joinNodes(
  nodes: readonly RunningServer[],
  primaries: readonly RunningServer[],
): Promise<void> {
  for (const [index, node] of nodes.entries()) {
    await node.client().call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
  }
  for (const [index, primary] of primaries.entries()) {
    const from = Math.floor((index * SLOT_COUNT) / primaries.length);
    const to = Math.floor(((index + 1) * SLOT_COUNT) / primaries.length);
    const slots = Array.from({ length: to - from }, (_, offset) => from + offset);
    await primary.client().call('CLUSTER', 'ADDSLOTS', ...slots);
  }
  const [first, ...others] = nodes;
  for (const other of others) await first?.client().call('CLUSTER', 'MEET', other.host, other.port);
  await until('a cluster that is whole', async () => {
    const infos = await Promise.all(
      nodes.map(async (node) => String(await node.client().call('CLUSTER', 'INFO'))),
    );
    return infos.every(
      (info) => info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${nodes.length}\r`),
    );
  });
}

function countServers(reply: unknown): number {
  const ports = new Set<unknown>();
  for (const range of reply as unknown[][]) {
    for (const server of range.slice(2) as unknown[][]) ports.add(server[1]);
  }
  return ports.size;
}

async function findOwner(nodes: readonly RunningServer[], slot: number): Promise<RunningServer> {
  const [owner] = await namedOwners(nodes, slot);
  if (owner === undefined) throw new Error(`nobody owns the slot ${slot}`);
  return owner;
}

/** Whom each node that answers takes for the owner of the slot. */
async function namedOwners(nodes: readonly RunningServer[], slot: number): Promise<RunningServer[]> {
  const owners = await Promise.all(
    nodes.map(async (asked) => {
      const reply = await askQuickly(asked.client());
      const range = reply?.find(([first, last]) => Number(first) <= slot && slot <= Number(last));
      const port = (range?.[2] as unknown[] | undefined)?.[1];
      return nodes.find((node) => node.port === port || node.tlsPort === port);
    }),
  );
  return owners.filter((owner) => owner !== undefined);
}

/** A node that a test has stopped says nothing. */
async function askQuickly(client: Redis): Promise<unknown[][] | undefined> {
  const reply = client.call('CLUSTER', 'SLOTS').catch(() => undefined);
  return (await Promise.race([reply, delay(500, undefined, { ref: false })])) as unknown[][] | undefined;
}

type Move = { nodes: readonly RunningServer[]; slot: number; to: RunningServer };

async function moveSlot({ nodes, slot, to }: Move): Promise<void> {
  const from = await findOwner(nodes, slot);
  if (from === to) return;
  const [fromId, toId] = await Promise.all(
    [from, to].map(async (node) => String(await node.client().call('CLUSTER', 'MYID'))),
  );
  const [giver, taker] = [from.client(), to.client()];
  await taker.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', String(fromId));
  await giver.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', String(toId));
  for (;;) {
    const keys = (await giver.callBuffer('CLUSTER', 'GETKEYSINSLOT', slot, 100)) as Buffer[];
    if (keys.length === 0) break;
    await giver.call('MIGRATE', to.host, to.port, '', 0, 10_000, 'KEYS', ...keys);
  }
  await taker.call('CLUSTER', 'SETSLOT', slot, 'NODE', String(toId));
  await giver.call('CLUSTER', 'SETSLOT', slot, 'NODE', String(toId));
  await until('a slot that has moved', async () => {
    const owners = await namedOwners(nodes, slot);
    return owners.length > 0 && owners.every((owner) => owner === to);
  });
}

function openClusterClient(
  nodes: readonly RunningServer[],
  password: string | readonly string[] | undefined,
): Cluster {
  const client = new Cluster(
    nodes.map(({ host, port }) => ({ host, port })),
    {
      redisOptions: typeof password === 'string' ? { password } : {},
      clusterRetryStrategy: () => 50,
      retryDelayOnFailover: 100,
      maxRedirections: 100,
    },
  );
  client.on('error', () => {});
  return client;
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + FORM_LIMIT_MS;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`${what} was waited for in vain`);
    await delay(POLL_MS);
  }
}
