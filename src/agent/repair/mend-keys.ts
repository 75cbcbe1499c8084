import type { RepairMode } from '../../contract/jobs.ts';
import { isMigrationError } from '../../core/errors.ts';
import { keySlot } from '../redis/cluster/slots.ts';
import { padExpiry } from '../redis/expiry-pad.ts';
import type { Command } from '../redis/raw-connection.ts';
import { ErrorReply } from '../redis/reply-parser.ts';
import { type TargetForm, toTargetPayload } from '../sync/payload.ts';
import { type Expiry, expiryCommands, readExpiries } from '../verify/expiry.ts';
import type { Pair } from '../verify/key-comparison.ts';
import type { Mended } from '../verify/mender.ts';
import { forEachConcurrently } from '../verify/pool.ts';
import { batchesOf, groupsOf, type Suspect } from '../verify/suspects.ts';
import { type Outcome, type Place, writeGuarded } from './guarded-write.ts';
import type { Lane } from './lanes.ts';
import { canMendInPieces, mendInPieces } from './mend-in-pieces.ts';

/** What keys are mended with. */
export type KeyMender = {
  readonly pair: Pair;
  readonly mode: RepairMode;
  readonly lanes: readonly Lane[];
  readonly form: TargetForm;
};

/** Keys that are known by name at a time. */
const GROUP_MAX = { keys: 4096, bytes: 4 * 1024 * 1024 };
/** Keys of one transaction, and the bytes of their values, as far as these are known. */
const KEYS_MAX = 500;
const BYTES_MAX = 8 * 1024 * 1024;
/** A larger value of a type that has pieces is written in pieces, another one up to here at once. */
const WHOLE_BYTES_MAX = 8 * 1024 * 1024;
const PIECELESS_BYTES_MAX = 32 * 1024 * 1024;
/** Refusals of a payload that other commands may get around: a target that is older than the payload. */
const PAYLOAD_REFUSED = /payload|data format/i;

/**
 * Writes keys anew on the target, each as the source has it, and removes those that the source has not, when told to.
 *
 * @throws the codes of {@link writeGuarded}
 */
export async function mendKeys(mender: KeyMender, suspects: Iterable<Suspect>): Promise<Mended> {
  const sum = { rewritten: 0, removed: 0, failures: new Map<string, number>() };
  const idle = [...mender.lanes];
  const count: Count = (what, reason) => {
    if (what !== 'failed') sum[what] += 1;
    else sum.failures.set(reason ?? '', (sum.failures.get(reason ?? '') ?? 0) + 1);
  };
  for (const group of groupsOf(suspects, GROUP_MAX)) {
    const batches = await batchBySize(mender, group);
    await forEachConcurrently(batches, mender.lanes.length, async (batch) => {
      const lane = idle.pop();
      if (lane === undefined) throw new Error('more batches than lanes');
      try {
        await mendBatch(mender, { ...batch, lane, count });
      } finally {
        idle.push(lane);
      }
    });
  }
  return sum;
}

type Count = (what: 'rewritten' | 'removed' | 'failed', reason?: string) => void;
type Sized = Suspect & { readonly type: string; readonly bytes: number };
type Batch = { readonly db: number; readonly items: readonly Sized[] };

/** Groups keys by database, of a cluster by slot, and by how much they are. */
async function batchBySize({ pair, lanes }: KeyMender, group: readonly Suspect[]): Promise<readonly Batch[]> {
  const batches: Batch[] = [];
  const isCluster = lanes[0]?.isCluster === true;
  for (const { db, batch } of batchesOf(group, KEYS_MAX)) {
    const sized = await readSizes(pair, db, batch);
    const bySlot = new Map<number, Sized[]>();
    for (const item of sized) {
      const slot = isCluster ? keySlot(item.key, 0, item.key.length) : 0;
      bySlot.set(slot, [...(bySlot.get(slot) ?? []), item]);
    }
    for (const items of bySlot.values()) batches.push(...bySum(db, items));
  }
  return batches;
}

function* bySum(db: number, items: readonly Sized[]): Generator<Batch> {
  let open: Sized[] = [];
  let bytes = 0;
  for (const item of items) {
    if (open.length > 0 && bytes + item.bytes > BYTES_MAX) {
      yield { db, items: open };
      open = [];
      bytes = 0;
    }
    open.push(item);
    bytes += item.bytes;
  }
  if (open.length > 0) yield { db, items: open };
}

/** Sizes as the source estimates them; where it does not, everything is taken for small. */
async function readSizes(pair: Pair, db: number, batch: readonly Suspect[]): Promise<readonly Sized[]> {
  const { source } = pair;
  const isKnown = source.capabilities.memoryUsage;
  const replies = await source.ask(
    db,
    batch.flatMap(({ key }): Command[] => [
      ['TYPE', key],
      isKnown ? ['MEMORY', 'USAGE', key] : ['STRLEN', key],
    ]),
  );
  return batch.map((suspect, index) => {
    const bytes = replies[2 * index + 1];
    return {
      ...suspect,
      type: String(replies[2 * index]),
      bytes: typeof bytes === 'number' ? bytes : 0,
    };
  });
}

type Work = Batch & { readonly lane: Lane; readonly count: Count };

async function mendBatch(mender: KeyMender, work: Work): Promise<void> {
  const [first] = work.items;
  if (first === undefined) return;
  if (work.items.length === 1 && first.bytes > WHOLE_BYTES_MAX) return mendLarge(mender, work, first);
  const keys = work.items.map(({ key }) => key);
  const place: Place = { lane: work.lane, db: work.db, keys };
  const plans: Plan[] = [];
  const outcomes = await writeGuarded(mender.pair, place, async () => {
    plans.push(...(await planWrites(mender, work.db, keys)));
    return plans.map(({ commands }) => commands);
  });
  // One key that moved, or that the target did not even queue, has stopped all of them.
  const [stopped] = outcomes;
  const areAllStopped = stopped !== 'written' && outcomes.every((outcome) => outcome === stopped);
  if (areAllStopped && work.items.length > 1) {
    const middle = Math.ceil(work.items.length / 2);
    await mendBatch(mender, { ...work, items: work.items.slice(0, middle) });
    await mendBatch(mender, { ...work, items: work.items.slice(middle) });
    return;
  }
  for (const [index, item] of work.items.entries()) {
    await conclude(mender, work, { item, outcome: outcomes[index] ?? 'moved', plan: plans[index] });
  }
}

async function conclude(
  mender: KeyMender,
  { lane, count }: Work,
  { item, outcome, plan }: { item: Sized; outcome: Outcome; plan: Plan | undefined },
): Promise<void> {
  if (outcome instanceof ErrorReply) {
    if (!PAYLOAD_REFUSED.test(outcome.message) || !canMendInPieces(item.type)) {
      return count('failed', `the target refused: ${outcome.message}`);
    }
    const inPieces = await mendInPieces(mender, lane, item);
    return inPieces === undefined ? count('rewritten') : count('failed', inPieces);
  }
  if (outcome === 'moved') return count('failed', 'it was written to meanwhile');
  if (plan?.failure !== undefined) return count('failed', plan.failure);
  if (plan?.does !== undefined) count(plan.does);
}

async function mendLarge(mender: KeyMender, { lane, count, ...work }: Work, item: Sized): Promise<void> {
  if (!canMendInPieces(item.type)) {
    if (item.bytes > PIECELESS_BYTES_MAX) return count('failed', `a ${item.type} of this size is not mended`);
    return mendBatch(mender, { ...work, lane, count, items: [{ ...item, bytes: 0 }] });
  }
  const failure = await mendInPieces(mender, lane, item);
  return failure === undefined ? count('rewritten') : count('failed', failure);
}

/** What is written for a key: nothing with a failure, and nothing at all where both sides have nothing. */
type Plan = {
  readonly commands: readonly Command[];
  readonly does?: 'rewritten' | 'removed';
  readonly failure?: string;
};

async function planWrites(
  { pair, mode, form }: KeyMender,
  db: number,
  keys: readonly Buffer[],
): Promise<readonly Plan[]> {
  const { source, target } = pair;
  const replies = await source.ask(db, [
    ...keys.map((key): Command => ['DUMP', key]),
    ...expiryCommands(keys, source.capabilities),
  ]);
  const expiries = readExpiries(replies.slice(keys.length), source.capabilities);
  return keys.map((key, index) => {
    const payload = replies[index];
    if (payload instanceof ErrorReply) {
      return { commands: [], failure: `the source refused: ${payload.message}` };
    }
    if (!Buffer.isBuffer(payload)) {
      return mode === 'differences'
        ? { commands: [], failure: 'the source has no such key, and extra keys are kept' }
        : { commands: [['DEL', key]], does: 'removed' };
    }
    try {
      const value = toTargetPayload(payload, form);
      const atMs = expiryAt(expiries[index], target.capabilities.paddedExpiry);
      return { commands: [['RESTORE', key, atMs, value, 'REPLACE', 'ABSTTL']], does: 'rewritten' };
    } catch (error) {
      if (!isMigrationError(error)) throw error;
      return { commands: [], failure: error.message };
    }
  });
}

/** For RESTORE, to which 0 is never. */
export function expiryAt(expiry: Expiry | undefined, isPadded: boolean): number {
  if (expiry === undefined || expiry.atMs < 0) return 0;
  return isPadded ? padExpiry(expiry.atMs) : Math.max(1, expiry.atMs);
}
