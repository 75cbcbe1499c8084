import type { Pair } from './key-comparison.ts';
import { markSource, waitForMark } from './lag.ts';
import { recheckStanding, recheckSuspects, type Verdict } from './recheck.ts';
import { SLOW_LOOKS_MS } from './settle-watches.ts';
import { groupsOf, SUSPECTS_IN_MEMORY_MAX, Suspects } from './suspects.ts';
import type { WatchOptions } from './watch.ts';

/** What settling needs besides the two servers; `directory` is where suspects are kept when there are many. */
export type SettleOptions = WatchOptions & { readonly directory: string };

/** Suspects that are followed together, by number and by the bytes of their names. */
const GROUP_MAX = { keys: 2048, bytes: 4 * 1024 * 1024 };
const FEW_MAX = { keys: SUSPECTS_IN_MEMORY_MAX, bytes: GROUP_MAX.bytes };

/**
 * Proves each suspect in flight or different, in the order in which that gets known.
 *
 * Few are looked at one beside the other, see {@link recheckSuspects}. Many share their waits, so that a million of real
 * differences take minutes and not an hour:
 *
 * 1. all wait as long as the few do, and until the target has passed a mark behind the scans;
 * 2. in groups they are compared again: whoever is equal now was in flight, the others are followed in a burst after
 *    another mark: whoever stands still in all of it is different;
 * 3. whoever moved is treated as one of few, with all the patience there is.
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
  await waitForMark(pair, await markSource(pair, options.clock), options);
  using moving = new Suspects(options.directory);
  for (const group of groupsOf(suspects.unique(), GROUP_MAX)) {
    const standing = await recheckStanding(pair, group, options);
    yield standing.verdicts;
    for (const suspect of standing.moving) moving.add(suspect);
  }
  for (const group of groupsOf(moving.unique(), FEW_MAX)) yield await recheckSuspects(pair, group, options);
}
