import type { Checkpoint } from '../../../contract/reports.ts';
import { type Claim, type ClusterClaim, encodeClaim } from '../../redis/checkpoint.ts';
import type { Holder } from '../claim.ts';
import { CLAIM_SLOT, type ClusterTarget, waitForReplica } from './cluster-target.ts';
import {
  checkpointOf,
  checkpointSlotOf,
  firstCheckpoint,
  type Positions,
  readPositions,
} from './positions.ts';

/** What a session on a cluster begins with. */
export type Generation = {
  readonly number: number;
  /** Where the stream begins: what all slots have at least. */
  readonly start: Checkpoint;
  readonly positions: Positions;
  readonly claim: ClusterClaim;
  /** What stands in the checkpoint of each node, by its index. */
  readonly checkpoints: readonly string[];
  /** Whether the user may wait for replicas. */
  readonly canWait: boolean;
};

/** What a session takes over from the one before. */
export type Beginning = {
  readonly holder: Holder;
  readonly replid: string;
  readonly positions: Positions;
  /** What the claim said of the generation before; undefined after a copy. */
  readonly before: ClusterClaim | undefined;
};

/** Reads how far every slot is; undefined when the claim and the checkpoints do not fit together. */
export async function readClusterPositions(
  target: ClusterTarget,
  claim: ClusterClaim | undefined,
): Promise<Positions | undefined> {
  if (claim === undefined) return undefined;
  return readPositions(claim, (slot) => readCheckpoint(target, slot));
}

/**
 * Begins a generation: the first checkpoint of every primary, then the claim that makes them count, then what no primary
 * of this topology uses any more goes. Interrupted anywhere, the claim still fits the checkpoints that it names.
 *
 * @throws the codes of a connection to the target
 */
export async function beginGeneration(target: ClusterTarget, beginning: Beginning): Promise<Generation> {
  const { topology, clients, keys } = target;
  const { holder, replid, positions, before } = beginning;
  const number = (before?.generation ?? 0) + 1;
  const checkpoints: string[] = [];
  let canWait = true;
  for (const node of topology.nodes) {
    const slot = checkpointSlotOf(node.ranges);
    const found = before && checkpointOf(await readCheckpoint(target, slot), before.generation);
    const checkpoint = firstCheckpoint(number, found);
    const client = target.clientOf(slot);
    await client.call('SET', keys.checkpoint(slot), checkpoint);
    if (!(await waitForReplica(client, node))) canWait = false;
    checkpoints.push(checkpoint);
  }
  const claim: ClusterClaim = { generation: number, parts: positions.parts(topology) };
  const start = { replid, ...positions.lowest };
  const value: Claim = { ...holder, state: 'live', checkpoint: start, cluster: claim };
  await target.holder.call('SET', keys.claim, encodeClaim(value));
  await waitForReplica(target.holder, topology.nodeOf(CLAIM_SLOT));
  await removeRetired(target, before, claim);
  if (clients.length !== checkpoints.length) throw new Error('a primary has no checkpoint');
  return { number, start, positions, claim, checkpoints, canWait };
}

async function removeRetired(
  target: ClusterTarget,
  before: ClusterClaim | undefined,
  now: ClusterClaim,
): Promise<void> {
  const used = new Set(now.parts.map(({ checkpointSlot }) => checkpointSlot));
  const retired = new Set(before?.parts.map(({ checkpointSlot }) => checkpointSlot));
  for (const slot of retired) {
    if (!used.has(slot)) await target.clientOf(slot).call('DEL', target.keys.checkpoint(slot));
  }
}

function readCheckpoint(target: ClusterTarget, slot: number): Promise<string | undefined> {
  return target.clientOf(slot).callText('GET', target.keys.checkpoint(slot));
}
