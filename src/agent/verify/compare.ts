import { randomUUID } from 'node:crypto';
import type { Progress } from '../../contract/job-state.ts';
import type { KeyDisplay } from '../../contract/jobs.ts';
import type { Difference, VerifyReport } from '../../contract/reports.ts';
import type { HashFieldTtl } from '../../contract/skipped.ts';
import type { Clock } from '../../core/clock.ts';
import type { Access } from '../redis/access.ts';
import type { Command } from '../redis/raw-connection.ts';
import { type BatchOptions, compareBatch, compareExpiries } from './compare-batch.ts';
import { compareFunctions } from './functions.ts';
import type { Pair } from './key-comparison.ts';
import { type Mark, markSource, waitForMark } from './lag.ts';
import { startMeter, type VerifyStage } from './meter.ts';
import { forEachConcurrently } from './pool.ts';
import { recheckSuspects, type Suspect } from './recheck.ts';
import { scanCount, scanKeys } from './scan.ts';
import { openSession, type Session } from './session.ts';
import { holdsNothingElse, readMoment } from './stillness.ts';
import { createTally, type Tally } from './tally.ts';
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
};

/** Batches that are compared side by side, so that no side waits for the other. */
const BATCHES_AT_ONCE = 3;
/** Suspects that wait until the end of the scans; beyond, they are looked at again at once. */
const SUSPECTS_MAX = 2048;
const SUSPECT_BYTES_MAX = 8 * 1024 * 1024;
/** Functions change rarely: looked at again after these pauses, before they count as different. */
const FUNCTION_PAUSES_MS = [200, 800, 2000];

/**
 * Compares all keys of all databases of both servers and their functions, in both directions, and tells what differs.
 *
 * The source may be written to meanwhile: what differs only because it is on its way is told apart by looking again
 * ({@link recheckSuspects}). Reads only, without Lua and CONFIG; memory is bounded whatever the data.
 *
 * @throws {side}-unreachable, {side}-auth-failed, {side}-tls-failed, {side}-not-ready, {side}-permission-denied,
 * {side}-protocol-error, target-databases-too-few, sync-behind, verification-incomplete, or the signal's reason
 */
export async function compareAll(options: VerifyOptions): Promise<VerifyReport> {
  const { clock, keyDisplay, maxDifferences } = options;
  const startedAtMs = clock.nowMs();
  await using source = await openSession(options.source, options);
  await using target = await openSession(options.target, options);
  const tally = createTally(keyDisplay);
  const run: Run = {
    options,
    pair: {
      source,
      target,
      ttlToleranceMs: toleranceFor(source, target, options),
      hashFieldTtl: options.hashFieldTtl ?? 'refuse',
    },
    tally,
    meter: startMeter(clock),
    suspects: [],
    suspectBytes: 0,
    keysExpected: 0,
  };
  if (options.touched === undefined) await compareEverything(run);
  else await compareTouched(run, options.touched);
  await drainSuspects(run);
  tell(run, 'functions');
  for (const difference of await settleFunctions(run)) tally.addDifference(difference);
  const counts = tally.toReport();
  return {
    kind: 'verify',
    verificationId: randomUUID(),
    migrationId: options.migrationId,
    scope: options.touched === undefined ? 'full' : 'delta',
    passed: counts.differences.total <= maxDifferences,
    startedAtMs,
    finishedAtMs: clock.nowMs(),
    sourceAddress: options.source.address,
    targetAddress: options.target.address,
    ...counts,
    maxDifferences,
  };
}

/**
 * A sync knows expiries that Redis up to 6.2 sends relative only as late as they arrive: until the cutover has corrected
 * them, whether there is one is all that can be compared.
 */
function toleranceFor(source: Session, target: Session, options: VerifyOptions): number {
  const areEstimated = target.capabilities.paddedExpiry && !source.capabilities.absoluteExpiry;
  const isExact = !areEstimated || options.areExpiriesCorrected === true;
  return isExact ? options.ttlToleranceMs : Number.POSITIVE_INFINITY;
}

/** One verification while it runs. */
type Run = {
  readonly options: VerifyOptions;
  readonly pair: Pair;
  readonly tally: Tally;
  readonly meter: ReturnType<typeof startMeter>;
  suspects: Suspect[];
  suspectBytes: number;
  keysExpected: number;
};

async function compareEverything(run: Run): Promise<void> {
  await waitForMark(run.pair, run.options.after, run.options);
  await compareDatabases(run);
}

/** What the source has done until now is what the verification is about; what comes later is for the next one. */
async function compareTouched(run: Run, touched: NonNullable<VerifyOptions['touched']>): Promise<void> {
  const { pair, tally, options } = run;
  const mark = await markSource(pair.source);
  await waitForMark(pair, mark, options);
  await forEachConcurrently(touched(mark), BATCHES_AT_ONCE, async ({ db, keys }) => {
    options.signal.throwIfAborted();
    tally.addScanned(db, 'target', keys.length);
    await compareKeys(run, { db, keys });
  });
}

/** Databases may come up while others are compared, so they are listed again until none is new. */
async function compareDatabases(run: Run): Promise<void> {
  const { source, target } = run.pair;
  const done = new Set<number>();
  for (;;) {
    const [atSource, atTarget] = await Promise.all([source.databases(), target.databases()]);
    run.keysExpected = [...atSource.values(), ...atTarget.values()].reduce((sum, { keys }) => sum + keys, 0);
    const fresh = [...new Set([...atSource.keys(), ...atTarget.keys()])].filter((db) => !done.has(db));
    if (fresh.length === 0) return;
    for (const db of fresh.sort((a, b) => a - b)) {
      const before = await readMoment(run.pair);
      const { keys, equal } = await compareSourceKeys(run, db);
      if (keys === equal && (await holdsNothingElse(run.pair, { db, keys, before }))) {
        run.tally.addScanned(db, 'target', keys);
        tell(run, 'scanning-target');
      } else {
        await findExtraKeys(run, db);
      }
      done.add(db);
    }
  }
}

/**
 * In a database that holds no key that expires, at either side, no key is asked when it does. Whoever got a time while
 * its values were compared is found at the end, when some key has one: then all are asked for it after all.
 */
async function compareSourceKeys(run: Run, db: number): Promise<{ keys: number; equal: number }> {
  const { pair } = run;
  const counts = { keys: 0, equal: 0 };
  const guess = { stringBatches: 0, bytesPerString: 0 };
  const expiry = (await holdsExpiring(pair, db)) ? 'each' : 'none';
  const scan = scanKeys(pair.source, db, () => scanCount(guess));
  await forEachConcurrently(scan, BATCHES_AT_ONCE, async (keys) => {
    run.options.signal.throwIfAborted();
    counts.keys += keys.length;
    counts.equal += await compareKeys(run, { db, keys, how: { expiry, guess } });
  });
  if (expiry === 'each' || !(await holdsExpiring(pair, db))) return counts;
  await forEachConcurrently(scanKeys(pair.source, db), BATCHES_AT_ONCE, async (keys) => {
    run.options.signal.throwIfAborted();
    const suspects = await compareExpiries(pair, db, keys);
    counts.equal -= suspects.length;
    await addSuspects(run, db, suspects);
  });
  return counts;
}

async function holdsExpiring({ source, target }: Pair, db: number): Promise<boolean> {
  const sides = await Promise.all([source.databases(), target.databases()]);
  return sides.some((databases) => (databases.get(db)?.expires ?? 0) > 0);
}

type Keys = { readonly db: number; readonly keys: readonly Buffer[]; readonly how?: BatchOptions };

/** Compares keys that the source may hold; returns how many were found equal at once. */
async function compareKeys(run: Run, { db, keys, how }: Keys): Promise<number> {
  const { pair, tally } = run;
  const { typeCounts, suspects, skipped } = await compareBatch(pair, db, keys, how);
  let equal = 0;
  tally.addScanned(db, 'source', keys.length);
  for (const [type, count] of typeCounts) {
    tally.addCompared(type, count);
    equal += count;
  }
  for (const { key, reason } of skipped) tally.addSkipped(db, key, reason);
  await addSuspects(run, db, suspects);
  tell(run, 'scanning-source');
  return equal - suspects.length - skipped.length;
}

/** The other direction: keys of the target that the source lacks. Needs no memory of what the source had. */
async function findExtraKeys(run: Run, db: number): Promise<void> {
  const { pair, tally } = run;
  await forEachConcurrently(scanKeys(pair.target, db), BATCHES_AT_ONCE, async (keys) => {
    run.options.signal.throwIfAborted();
    const [existing] = await pair.source.ask(db, [['EXISTS', ...keys]]);
    tally.addScanned(db, 'target', keys.length);
    if (existing !== keys.length) {
      const replies = await pair.source.ask(
        db,
        keys.map((key): Command => ['EXISTS', key]),
      );
      await addSuspects(
        run,
        db,
        keys.filter((_, index) => replies[index] !== 1),
      );
    }
    tell(run, 'scanning-target');
  });
}

async function addSuspects(run: Run, db: number, keys: readonly Buffer[]): Promise<void> {
  for (const key of keys) {
    // A copy: the key is a view into a chunk many times its size.
    run.suspects.push({ db, key: Buffer.from(key) });
    run.suspectBytes += key.length;
  }
  if (run.suspects.length >= SUSPECTS_MAX || run.suspectBytes >= SUSPECT_BYTES_MAX) await drainSuspects(run);
}

async function drainSuspects(run: Run): Promise<void> {
  const { suspects, options, pair, tally } = run;
  if (suspects.length === 0) return;
  tell(run, 'rechecking');
  run.suspects = [];
  run.suspectBytes = 0;
  for (const verdict of await recheckSuspects(pair, suspects, options)) tally.addVerdict(verdict);
}

/** Functions that differ every time, also after the target had the time to catch up. */
async function settleFunctions({ pair, options }: Run): Promise<readonly Difference[]> {
  let differences = await compareFunctions(pair, options.keyDisplay);
  for (const pauseMs of FUNCTION_PAUSES_MS) {
    if (differences.length === 0) break;
    await options.clock.sleep(pauseMs, options.signal);
    await waitForMark(pair, await markSource(pair.source), options);
    const again = await compareFunctions(pair, options.keyDisplay);
    differences = again.filter((now) =>
      differences.some(({ key, detail }) => key === now.key && detail === now.detail),
    );
  }
  return differences;
}

function tell(run: Run, stage: VerifyStage): void {
  const { tally, pair, suspects, keysExpected } = run;
  run.options.report(
    run.meter({
      stage,
      keysExpected,
      keysScanned: tally.keysScanned,
      bytes: pair.source.bytesRead() + pair.target.bytesRead(),
      suspectsOpen: suspects.length,
      differences: tally.differences,
    }),
  );
}
