import { compareBatch } from './compare-batch.ts';
import type { Pair } from './key-comparison.ts';
import { markSource, waitForMark } from './lag.ts';
import { forEachConcurrently } from './pool.ts';
import { recheckStanding, recheckSuspects, type Verdict } from './recheck.ts';
import { batchesOf, groupsOf, SUSPECTS_IN_MEMORY_MAX, type Suspect, Suspects } from './suspects.ts';
import { SLOW_LOOKS_MS, type WatchOptions } from './watch.ts';

/** What settling needs besides the two servers; `directory` is where suspects are kept when there are many. */
export type SettleOptions = WatchOptions & { readonly directory: string };

/** Suspects that are compared again in one batch. */
const BATCH_KEYS = 200;
/** Suspects that are followed together, by number and by the bytes of their names. */
const GROUP_MAX = { keys: 4096, bytes: 4 * 1024 * 1024 };
const FEW_MAX = { keys: SUSPECTS_IN_MEMORY_MAX, bytes: GROUP_MAX.bytes };
const BATCHES_AT_ONCE = 3;
/** As long as a round clears at least this share of the suspects, the next one may clear more. */
const SHARE_WORTH_A_ROUND = 0.1;
const ROUNDS_MAX = 5;

/**
 * Proves each suspect in flight or different, in the order in which that gets known.
 *
 * Few are looked at one beside the other, see {@link recheckSuspects}. Many share their waits, so that a million of real
 * differences take minutes and not an hour:
 *
 * 1. all wait as long as the few do, and until the target has passed a mark behind the scans;
 * 2. rounds over all of them clear, by a plain comparison, what was in flight, as long as there is much of it;
 * 3. those that are left are followed in a burst, in groups, after another mark: whoever stands still is different;
 * 4. whoever moved is treated as one of few, with all the patience there is.
 *
 * @throws sync-behind, spool-full, spool-failed, and the codes of {@link Session.ask}
 */
export async function* settleSuspects(
  pair: Pair,
  suspects: Suspects,
  options: SettleOptions,
): AsyncGenerator<readonly Verdict[]> {
  if (suspects.count <= SUSPECTS_IN_MEMORY_MAX) {
    yield await recheckSuspects(pair, [...suspects.unique()], options);
    return;
  }
  await options.clock.sleep(SLOW_LOOKS_MS, options.signal);
  await waitForMark(pair, await markSource(pair.source), options);
  yield* settleMany({ pair, options, round: 1 }, suspects);
}

type Round = { readonly pair: Pair; readonly options: SettleOptions; readonly round: number };

async function* settleMany(
  { pair, options, round }: Round,
  suspects: Suspects,
): AsyncGenerator<readonly Verdict[]> {
  using left = new Suspects(options.directory);
  for (const group of groupsOf(suspects.unique(), GROUP_MAX)) yield await clearInFlight(pair, group, left);
  const isWorthAnother = left.count < suspects.count * (1 - SHARE_WORTH_A_ROUND);
  if (left.count <= SUSPECTS_IN_MEMORY_MAX) yield* settleSuspects(pair, left, options);
  else if (isWorthAnother && round < ROUNDS_MAX) yield* settleMany({ pair, options, round: round + 1 }, left);
  else yield* settleStill(pair, left, options);
}

/** Compares a group again; those that are not equal are left. */
async function clearInFlight(
  pair: Pair,
  group: readonly Suspect[],
  left: Suspects,
): Promise<readonly Verdict[]> {
  const verdicts: Verdict[] = [];
  await forEachConcurrently(batchesOf(group, BATCH_KEYS), BATCHES_AT_ONCE, async ({ db, batch }) => {
    const keys = batch.map(({ key }) => key);
    const { suspects, skipped } = await compareBatch(pair, db, keys);
    const done = new Map(batch.map(({ key }) => [key.toString('latin1'), key]));
    for (const key of suspects) {
      left.add({ db, key });
      done.delete(key.toString('latin1'));
    }
    const reasons = new Map(skipped.map(({ key, reason }) => [key.toString('latin1'), reason]));
    for (const [id, key] of done) {
      const reason = reasons.get(id);
      verdicts.push({ db, key, type: '', differences: [], skipped: reason === undefined ? [] : [reason] });
    }
  });
  return verdicts;
}

async function* settleStill(
  pair: Pair,
  suspects: Suspects,
  options: SettleOptions,
): AsyncGenerator<readonly Verdict[]> {
  using left = new Suspects(options.directory);
  for (const group of groupsOf(suspects.unique(), GROUP_MAX)) {
    const { verdicts, moving } = await recheckStanding(pair, group, options);
    yield verdicts;
    for (const suspect of moving) left.add(suspect);
  }
  for (const group of groupsOf(left.unique(), FEW_MAX)) yield await recheckSuspects(pair, group, options);
}
