import { randomUUID } from 'node:crypto';
import type { Progress } from '../../contract/job-state.ts';
import type { KeyDisplay } from '../../contract/jobs.ts';
import type { Difference, RepairReport, VerifyReport } from '../../contract/reports.ts';
import type { HashFieldTtl } from '../../contract/skipped.ts';
import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import type { Command } from '../redis/raw-connection.ts';
import { type BatchOptions, compareBatch, compareExpiries } from './compare-batch.ts';
import { DifferenceList } from './difference-list.ts';
import { compareFunctions } from './functions.ts';
import type { Pair } from './key-comparison.ts';
import { type Mark, markSource, waitForMark } from './lag.ts';
import { type Mended, type Mender, repairInRounds } from './mender.ts';
import { startMeter, type VerifyStage } from './meter.ts';
import { forEachConcurrently } from './pool.ts';
import { scanCount, scanKeys } from './scan.ts';
import { openSession, type Session } from './session.ts';
import { settleSuspects } from './settle-suspects.ts';
import { holdsNothingElse, readMoment } from './stillness.ts';
import { Suspects } from './suspects.ts';
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
  /** Writes anew what differs; without it nothing is changed. */
  readonly mender?: Mender | undefined;
};

/** Batches that are compared side by side, so that no side waits for the other. */
const BATCHES_AT_ONCE = 5;
/** Functions change rarely: looked at again after these pauses, before they count as different. */
const FUNCTION_PAUSES_MS = [200, 800, 2000];

/**
 * Compares all keys of all databases of both servers and their functions, in both directions, and tells what differs.
 *
 * The source may be written to meanwhile: what differs only because it is on its way is told apart by looking again
 * ({@link settleSuspects}). Reads only, without Lua and CONFIG; memory is bounded whatever the data.
 *
 * @throws {side}-unreachable, {side}-auth-failed, {side}-tls-failed, {side}-not-ready, {side}-permission-denied,
 * {side}-protocol-error, target-databases-too-few, sync-behind, verification-incomplete, or the signal's reason
 */
export async function compareAll(options: VerifyOptions): Promise<VerifyReport> {
  const { clock, keyDisplay, maxDifferences } = options;
  const startedAtMs = clock.nowMs();
  await using source = await openSession(options.source, options);
  await using target = await openSession(options.target, options);
  const verificationId = randomUUID();
  using list = new DifferenceList({ directory: options.directory, verificationId, keyDisplay });
  const tally = createTally(keyDisplay, list);
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
    suspects: new Suspects(options.directory),
    suspectsOpen: 0,
    suspectsSettled: 0,
    keysExpected: 0,
    differing: new Suspects(options.directory),
    [Symbol.dispose]: () => {
      run.suspects[Symbol.dispose]();
      run.differing[Symbol.dispose]();
    },
  };
  using _ = run;
  if (options.touched === undefined) await compareEverything(run);
  else await compareTouched(run, options.touched);
  await drainSuspects(run);
  await addFunctionDifferences(run);
  const repair = await repairDifferences(run, list);
  const listFile = list.finish();
  const counts = tally.toReport();
  return {
    kind: 'verify',
    verificationId,
    migrationId: options.migrationId,
    scope: options.touched === undefined ? 'full' : 'delta',
    passed: counts.differences.total <= maxDifferences,
    startedAtMs,
    finishedAtMs: clock.nowMs(),
    sourceAddress: options.source.address,
    targetAddress: options.target.address,
    ...counts,
    maxDifferences,
    ...(listFile === undefined ? {} : { list: listFile }),
    ...(repair === undefined ? {} : { repair }),
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
type Run = Disposable & {
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
    tally.addScanned(db, 'source', keys.length);
    await compareKeys(run, { db, keys });
  });
}

/** Databases may come up while others are compared, so they are listed again until none is new. */
async function compareDatabases(run: Run): Promise<void> {
  const { source, target } = run.pair;
  const done = new Set<number>();
  const swaps = await readSwaps(run.pair);
  for (;;) {
    const [atSource, atTarget] = await Promise.all([source.databases(), target.databases()]);
    run.keysExpected = [...atSource.values(), ...atTarget.values()].reduce((sum, { keys }) => sum + keys, 0);
    const fresh = [...new Set([...atSource.keys(), ...atTarget.keys()])].filter((db) => !done.has(db));
    if (fresh.length === 0) break;
    for (const db of fresh.sort((a, b) => a - b)) {
      const before = await readMoment(run.pair);
      const { keys, equal } = await compareTargetKeys(run, db);
      if (keys === equal && (await holdsNothingElse(run.pair, { db, keys, before }))) {
        run.tally.addScanned(db, 'source', keys);
        tell(run, 'scanning-source');
      } else {
        await findMissingKeys(run, db);
      }
      done.add(db);
    }
  }
  if ((await readSwaps(run.pair)) === swaps) return;
  throw new MigrationError(
    'verification-incomplete',
    'Databases were swapped (SWAPDB) during the verification, so that keys may have been passed over.',
  );
}

/** How often each server has swapped databases: keys that change places with those compared before are never seen. */
async function readSwaps({ source, target }: Pair): Promise<string> {
  const replies = await Promise.all(
    [source, target].map((session) => session.askEvery(['INFO', 'commandstats'])),
  );
  return replies
    .flat()
    .map((reply) => /^cmdstat_swapdb:calls=(\d+)/m.exec(String(reply))?.[1] ?? '0')
    .join();
}

/**
 * The target is scanned and not the source, which is the one that serves clients.
 *
 * In a database that holds no key that expires, at either side, no key is asked when it does. Whoever got a time while
 * its values were compared is found at the end, when some key has one: then all are asked for it after all.
 */
async function compareTargetKeys(run: Run, db: number): Promise<{ keys: number; equal: number }> {
  const { pair } = run;
  const counts = { keys: 0, equal: 0 };
  const guess = { stringBatches: 0, bytesPerString: 0, portionsAlone: 0 };
  const expiry = (await holdsExpiring(pair, db)) ? 'each' : 'none';
  const scan = scanKeys(pair.target, db, () => scanCount(guess));
  await forEachConcurrently(scan, BATCHES_AT_ONCE, async (keys) => {
    run.options.signal.throwIfAborted();
    counts.keys += keys.length;
    // Not in one statement: the sum would be read before the batches beside it have added to it.
    const equal = await compareKeys(run, { db, keys, how: { expiry, guess } });
    counts.equal += equal;
  });
  if (expiry === 'each' || !(await holdsExpiring(pair, db))) return counts;
  await forEachConcurrently(scanKeys(pair.target, db), BATCHES_AT_ONCE, async (keys) => {
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

/** Compares keys that either side may hold; returns how many were found equal at once. */
async function compareKeys(run: Run, { db, keys, how }: Keys): Promise<number> {
  const { pair, tally } = run;
  const { typeCounts, suspects, skipped } = await compareBatch(pair, db, keys, how);
  let equal = 0;
  tally.addScanned(db, 'target', keys.length);
  for (const [type, count] of typeCounts) {
    tally.addCompared(type, count);
    equal += count;
  }
  for (const { key, reason } of skipped) tally.addSkipped(db, key, reason);
  await addSuspects(run, db, suspects);
  tell(run, 'scanning-target');
  return equal - suspects.length - skipped.length;
}

/** The other direction: keys of the source that the target lacks. Needs no memory of what the target had. */
async function findMissingKeys(run: Run, db: number): Promise<void> {
  const { pair, tally } = run;
  await forEachConcurrently(scanKeys(pair.source, db), BATCHES_AT_ONCE, async (keys) => {
    run.options.signal.throwIfAborted();
    const [existing] = await pair.target.ask(db, [['EXISTS', ...keys]]);
    tally.addScanned(db, 'source', keys.length);
    if (existing !== keys.length) await addMissing(run, db, keys);
    tell(run, 'scanning-source');
  });
}

async function addMissing(run: Run, db: number, keys: readonly Buffer[]): Promise<void> {
  const { source, target } = run.pair;
  const found = await target.ask(
    db,
    keys.map((key): Command => ['EXISTS', key]),
  );
  const missing = keys.filter((_, index) => found[index] !== 1);
  const types = await source.ask(
    db,
    missing.map((key): Command => ['TYPE', key]),
  );
  for (const type of types) if (type !== 'none') run.tally.addCompared(String(type), 1);
  await addSuspects(run, db, missing);
}

async function addSuspects(run: Run, db: number, keys: readonly Buffer[]): Promise<void> {
  for (const key of keys) run.suspects.add({ db, key });
  if (run.suspects.isFull) await drainSuspects(run);
}

async function drainSuspects(run: Run): Promise<void> {
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

async function addFunctionDifferences(run: Run): Promise<void> {
  tell(run, 'functions');
  for (const difference of await settleFunctions(run)) run.tally.addDifference(difference);
}

async function repairDifferences(run: Run, list: DifferenceList): Promise<RepairReport | undefined> {
  const { options, pair, tally } = run;
  const { mender } = options;
  if (mender === undefined || tally.differences === 0) return undefined;
  const mend = async () => {
    tell(run, 'repairing');
    const isOfFunctions = tally.toReport().differences.byKind.some(({ kind }) => kind === 'function');
    const nothing: Mended = { rewritten: 0, removed: 0, failures: new Map() };
    const functions = isOfFunctions ? await mender.mendFunctions(pair) : nothing;
    const keys = await mender.mendKeys(pair, run.differing.unique());
    return {
      rewritten: keys.rewritten + functions.rewritten,
      removed: keys.removed + functions.removed,
      failures: new Map([...keys.failures, ...functions.failures]),
    };
  };
  const compareAgain = async () => {
    using mended = run.differing;
    run.differing = new Suspects(options.directory);
    for await (const verdicts of settleSuspects(pair, mended, options)) {
      for (const verdict of verdicts.filter(({ differences }) => differences.length > 0)) {
        // What is skipped of it was counted the first time.
        tally.addVerdict({ ...verdict, skipped: [] });
        run.differing.add(verdict);
      }
      tell(run, 'rechecking');
    }
    await addFunctionDifferences(run);
  };
  return await repairInRounds({ mode: mender.mode, tally, list, mend, compareAgain });
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
