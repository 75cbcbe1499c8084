import { isMigrationError } from '../../../core/errors.ts';
import { encodeClaim, readClaim } from '../../redis/checkpoint.ts';
import { type Client, openClient } from '../../redis/client.ts';
import { keySlot } from '../../redis/cluster/slots.ts';
import { type ClusterNode, readTopology, type Topology } from '../../redis/cluster/topology.ts';
import { checkpointKey, RESERVED_KEY } from '../../redis/reserved-key.ts';
import { countKeys, readServerInfo } from '../../redis/server-info.ts';
import { endEarlierWriters } from '../../redis/writers.ts';
import { claimForCopy, claimForReconcile, type Holder, type TargetContent } from '../claim.ts';

/** The primaries of a target in cluster mode, each with a connection for everything but the data path. */
export type ClusterTarget = AsyncDisposable & {
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
 * Connects to every primary of the cluster that a client belongs to.
 *
 * @throws the codes of {@link readTopology} and {@link openClient}
 */
export async function openClusterTarget(client: Client): Promise<ClusterTarget> {
  const topology = await readTopology(client);
  const clients: Client[] = [];
  const dispose = async () => {
    for (const opened of clients) await opened[Symbol.asyncDispose]();
  };
  try {
    for (const { access } of topology.nodes) clients.push(await openClient(access));
    const clientOf = (slot: number) => clientAt(clients, topology.nodeOf(slot).index);
    return { topology, clients, holder: clientOf(CLAIM_SLOT), clientOf, [Symbol.asyncDispose]: dispose };
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

/** Ends the connections of earlier syncs on every primary; undefined when the user may not, see endEarlierWriters. */
export async function endClusterWriters(
  { clients }: ClusterTarget,
  migrationId: string,
): Promise<number | undefined> {
  let ended = 0;
  for (const client of clients) {
    const count = await endEarlierWriters(client, migrationId);
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
  { clients, clientOf, holder: claimHolder }: ClusterTarget,
  { holder, hasFunctions }: { holder: Holder; hasFunctions: boolean },
): Promise<void> {
  const before = (await readClaim(claimHolder))?.cluster;
  await claimForReconcile(claimHolder, { holder, hasFunctions });
  for (const client of clients) {
    if (client !== claimHolder && hasFunctions) await client.call('FUNCTION', 'FLUSH');
  }
  for (const { checkpointSlot } of before?.parts ?? []) {
    await clientOf(checkpointSlot).call('DEL', checkpointKey(checkpointSlot));
  }
}

/**
 * Takes back that the data is that of the checkpoints, as markForReconcile does: the next sync reconciles it.
 *
 * @throws the codes of {@link Client.call}
 */
export async function markClusterForReconcile({ holder }: ClusterTarget): Promise<void> {
  const claim = await readClaim(holder);
  if (claim?.state !== 'live') return;
  const { checkpoint: _, ...rest } = claim;
  await holder.call('SET', RESERVED_KEY, encodeClaim({ ...rest, state: 'reconciling' }), 'XX');
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
