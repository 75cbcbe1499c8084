import type { Progress } from '../../contract/job-state.ts';
import type { KeyDisplay } from '../../contract/jobs.ts';
import type { HashFieldTtl } from '../../contract/skipped.ts';
import type { Clock } from '../../core/clock.ts';
import type { Access } from '../redis/access.ts';
import type { Pair } from './key-comparison.ts';
import type { Mark } from './lag.ts';
import type { Mender } from './mender.ts';
import type { startMeter, VerifyStage } from './meter.ts';
import { settleSuspects } from './settle-suspects.ts';
import { Suspects } from './suspects.ts';
import type { Tally } from './tally.ts';
import type { TouchedBatch } from './touched-batches.ts';

/** What to compare and how to tell of it. */
export type VerifyOptions = {
  readonly source: Access;
  readonly target: Access;
  readonly migrationId: string;
  readonly maxDifferences: number;
  /** How far the expiry times of a key or field may be apart. */
  readonly ttlToleranceMs: number;
  /** Whether the expiry times that the source had sent relative to its clock have been corrected on the target. */
  readonly areExpiriesCorrected?: boolean;
  readonly keyDisplay: KeyDisplay;
  /** With `keep-values`, fields that expire at the source only are skipped; default `refuse`. */
  readonly hashFieldTtl?: HashFieldTtl | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The folder of the migration on the host, for files of the verification. */
  readonly directory: string;
  /** What the target must have applied before the comparison begins. */
  readonly after?: Mark | undefined;
  /** Compare only these keys and the functions: called when the target has applied what the source has done until now. */
  readonly touched?: ((mark: Mark | undefined) => AsyncIterable<TouchedBatch>) | undefined;
  report(progress: Progress): void;
  /** Writes anew what differs; without it nothing is changed. */
  readonly mender?: Mender | undefined;
};

/** One verification while it runs. */
export type VerifyRun = Disposable & {
  readonly options: VerifyOptions;
  readonly pair: Pair;
  readonly tally: Tally;
  readonly meter: ReturnType<typeof startMeter>;
  /** Keys that are looked at again when the scans are over, or when there is no room for more. */
  suspects: Suspects;
  /** Those that are being looked at again, and those that have been proved in flight or different. */
  suspectsOpen: number;
  suspectsSettled: number;
  /** Keys that were found different, for the mender. */
  differing: Suspects;
  keysExpected: number;
};

/** Keeps keys to be looked at again; at once, when there is no room for more. Throws the codes of `settleSuspects`. */
export async function addSuspects(run: VerifyRun, db: number, keys: readonly Buffer[]): Promise<void> {
  for (const key of keys) run.suspects.add({ db, key });
  if (run.suspects.isFull) await drainSuspects(run);
}

/** Looks at the suspects until each is equal, in flight or different. Throws the codes of `settleSuspects`. */
export async function drainSuspects(run: VerifyRun): Promise<void> {
  using suspects = run.suspects;
  run.suspects = new Suspects(run.options.directory);
  if (suspects.count === 0) return;
  run.suspectsOpen += suspects.count;
  let open = suspects.count;
  tell(run, 'rechecking');
  for await (const verdicts of settleSuspects(run.pair, suspects, run.options)) {
    for (const verdict of verdicts) {
      run.tally.addVerdict(verdict);
      if (run.options.mender !== undefined && verdict.differences.length > 0) run.differing.add(verdict);
    }
    run.suspectsSettled += verdicts.length;
    run.suspectsOpen -= verdicts.length;
    open -= verdicts.length;
    tell(run, 'rechecking');
  }
  // What was found twice is settled once.
  run.suspectsOpen -= open;
}

/** Tells how far the verification is. */
export function tell(run: VerifyRun, stage: VerifyStage): void {
  const { tally, pair, suspects, suspectsSettled, keysExpected } = run;
  run.options.report(
    run.meter({
      stage,
      keysExpected,
      keysScanned: tally.keysScanned,
      bytes: pair.source.bytesRead() + pair.target.bytesRead(),
      suspectsOpen: suspects.count + run.suspectsOpen,
      suspectsSettled,
      differences: tally.differences,
    }),
  );
}
