import type { RepairMode } from '../../contract/jobs.ts';
import { type DifferenceListFile, REPAIR_FAILURES_MAX, type RepairReport } from '../../contract/reports.ts';
import type { DifferenceList } from './difference-list.ts';
import type { Pair } from './key-comparison.ts';
import type { Suspect } from './suspects.ts';
import type { Tally } from './tally.ts';

/** Writes on the target anew what differs; whether that has helped, only the next comparison tells. */
export type Mender = {
  readonly mode: RepairMode;
  /** Keys that were found different, each once. */
  mendKeys(pair: Pair, suspects: Iterable<Suspect>): Promise<Mended>;
  mendFunctions(pair: Pair): Promise<Mended>;
};

/** What one go came to. */
export type Mended = {
  readonly rewritten: number;
  readonly removed: number;
  /** How many could not be written, by the reason in words. */
  readonly failures: ReadonlyMap<string, number>;
};

/** How often what differs is written anew: what moves may need more than one go, what cannot be mended gains nothing. */
const ROUNDS_MAX = 5;

/** What rounds of a repair work on; each function does it for what was found in the comparison before. */
export type RepairRounds = {
  readonly mode: RepairMode;
  readonly tally: Tally;
  readonly list: DifferenceList;
  mend(): Promise<Mended>;
  /** Compares what was mended again, with the tally begun anew. */
  compareAgain(): Promise<void>;
};

/** Mends and compares until nothing differs, nothing more can be done, or {@link ROUNDS_MAX} are over. */
export async function repairInRounds({
  mode,
  tally,
  list,
  mend,
  compareAgain,
}: RepairRounds): Promise<RepairReport> {
  const { total, byKind } = tally.toReport().differences;
  let listed: DifferenceListFile | undefined;
  const sum = { rewritten: 0, removed: 0 };
  let failures: RepairReport['failures'] = [];
  let rounds = 0;
  while (rounds < ROUNDS_MAX && tally.differences > 0) {
    const mended = await mend();
    rounds += 1;
    sum.rewritten += mended.rewritten;
    sum.removed += mended.removed;
    failures = Array.from(mended.failures, ([reason, count]) => ({ reason: reason.slice(0, 300), count }));
    if (mended.rewritten + mended.removed === 0) break;
    tally.forgetDifferences();
    if (rounds === 1) listed = list.setAside();
    else list.clear();
    await compareAgain();
  }
  const left = tally.differences === 0 ? [] : failures.slice(0, REPAIR_FAILURES_MAX);
  return {
    mode,
    rounds,
    ...sum,
    before: { total, byKind, ...(listed === undefined ? {} : { list: listed }) },
    failures: left,
  };
}
