import { isMigrationError } from '../../../core/errors.ts';
import { encodeClaim, readClaim } from '../../redis/checkpoint.ts';
import { type Client, openClient } from '../../redis/client.ts';
import { keySlot } from '../../redis/cluster/slots.ts';
import { type ClusterNode, readTopology, soleTopology, type Topology } from '../../redis/cluster/topology.ts';
import { CLAIM_KEYS, type ClaimKeys, RESERVED_KEY } from '../../redis/reserved-key.ts';
import { countKeys, readServerInfo } from '../../redis/server-info.ts';
import { endEarlierWriters } from '../../redis/writers.ts';
import { claimForCopy, claimForReconcile, type Holder, type TargetContent } from '../claim.ts';

/** The primaries of a target in cluster mode, or the server that is one without slots, each with a connection for everything but the data path. */
export type ClusterTarget = AsyncDisposable & {
  /** Under what the claim and the checkpoints of the sync lie. */
  readonly keys: ClaimKeys;
  readonly topology: Topology;
  /** By the index of the node. */
  readonly clients: readonly Client[];
  /** The client of the primary that holds the claim. */
  readonly holder: Client;
  /** The client of the primary that owns a slot. */
  clientOf(slot: number): Client;
};

/** How long a primary may take to bring what it has to a replica, before it is gone on without. */
const REPLICA_WAIT_MS = 1_000;

/** The slot of the claim. */
export const CLAIM_SLOT = keySlot(RESERVED_KEY, 0, RESERVED_KEY.length);

/**
 * Connects to every primary of the cluster that a client belongs to; a server that is no cluster stands for one that
 * owns all slots.
 *
 * @throws the codes of {@link readTopology} and {@link openClient}
 */
export async function openClusterTarget(
  client: Client,
  { isCluster = true, keys = CLAIM_KEYS }: { isCluster?: boolean; keys?: ClaimKeys } = {},
): Promise<ClusterTarget> {
  const topology = isCluster ? await readTopology(client) : soleTopology(client.access);
  const clients: Client[] = [];
  const dispose = async () => {
    for (const opened of clients) await opened[Symbol.asyncDispose]();
  };
  try {
    for (const { access } of topology.nodes) clients.push(await openClient(access));
    const clientOf = (slot: number) => clientAt(clients, topology.nodeOf(slot).index);
    const holder = clientOf(CLAIM_SLOT);
    return { keys, topology, clients, holder, clientOf, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function clientAt(clients: readonly Client[], index: number): Client {
  const client = clients[index];
  if (client === undefined) throw new Error(`there is no node ${index}`);
  return client;
}

/** What all primaries hold together. @throws migration-conflict, and the codes of {@link Client.call} */
export async function readClusterContent({ clients, holder }: ClusterTarget): Promise<TargetContent> {
  const claim = await readClaim(holder);
  let keys = 0;
  let functionLibraries = 0;
  for (const client of clients) {
    const { fields } = await readServerInfo(client);
    keys += countKeys(fields);
    functionLibraries = Math.max(functionLibraries, Number(fields.get('number_of_libraries') ?? 0));
  }
  return { claim, keys, functionLibraries };
}

/**
 * Ends the connections of earlier syncs on every primary, of one shard of the source or of all; undefined when the user
 * may not, see endEarlierWriters.
 */
export async function endClusterWriters(
  { clients }: ClusterTarget,
  migrationId: string,
  shard?: number,
): Promise<number | undefined> {
  let ended = 0;
  for (const client of clients) {
    const count = await endEarlierWriters(client, migrationId, shard);
    if (count === undefined) return undefined;
    ended += count;
  }
  return ended;
}

/**
 * Takes the cluster for a copy: the claim first, and with it the primary that holds it, then all others.
 *
 * @throws migration-conflict, and the codes of {@link Client.call}
 */
export async function claimClusterForCopy(
  { clients, holder: claimHolder }: ClusterTarget,
  { holder, mustFlush, hasFunctions }: { holder: Holder; mustFlush: boolean; hasFunctions: boolean },
): Promise<void> {
  await claimForCopy(claimHolder, { holder, mustFlush, hasFunctions });
  if (!mustFlush) return;
  for (const client of clients) {
    if (client === claimHolder) continue;
    await client.call('FLUSHALL');
    if (hasFunctions) await client.call('FUNCTION', 'FLUSH');
  }
}

/**
 * The same for a copy over what the cluster holds; the checkpoints go, which stand for nothing any more.
 *
 * @throws migration-conflict, and the codes of {@link Client.call}
 */
export async function claimClusterForReconcile(
  { keys, clients, clientOf, holder: claimHolder }: ClusterTarget,
  claiming: { holder: Holder; hasFunctions: boolean; sourceShards?: readonly string[] },
): Promise<void> {
  const before = (await readClaim(claimHolder, keys.claim))?.cluster;
  await claimForReconcile(claimHolder, { ...claiming, key: keys.claim });
  for (const client of clients) {
    if (client !== claimHolder && claiming.hasFunctions) await client.call('FUNCTION', 'FLUSH');
  }
  for (const { checkpointSlot } of before?.parts ?? []) {
    await clientOf(checkpointSlot).call('DEL', keys.checkpoint(checkpointSlot));
  }
}

/**
 * Takes back that the data is that of the checkpoints, as markForReconcile does: the next sync reconciles it.
 *
 * @throws the codes of {@link Client.call}
 */
export async function markClusterForReconcile({ holder, keys }: ClusterTarget): Promise<void> {
  const claim = await readClaim(holder, keys.claim);
  if (claim?.state !== 'live') return;
  const { checkpoint: _, ...rest } = claim;
  await holder.call('SET', keys.claim, encodeClaim({ ...rest, state: 'reconciling' }), 'XX');
}

/**
 * Waits until a replica of the primary has what this connection has written to it, so that a failover does not take it
 * back. Where no replica is in step it goes on: what a failover then takes back is found out by its checkpoint.
 *
 * Returns false when the user may not wait.
 *
 * @throws the codes of {@link Client.call}
 */
export async function waitForReplica(client: Client, { replicas }: ClusterNode): Promise<boolean> {
  if (replicas.length === 0) return true;
  try {
    await client.call(...WAIT_FOR_REPLICA);
    return true;
  } catch (error) {
    if (isMigrationError(error) && error.code === 'target-permission-denied') return false;
    throw error;
  }
}

/** See {@link waitForReplica}; for the connection that has written. */
export const WAIT_FOR_REPLICA = ['WAIT', 1, REPLICA_WAIT_MS] as const;
