import { randomUUID } from 'node:crypto';
import type { Difference, RepairReport, VerifyReport } from '../../contract/reports.ts';
import { compareEverything, compareTouched } from './compare-databases.ts';
import { DifferenceList } from './difference-list.ts';
import { compareFunctions } from './functions.ts';
import { markSource, waitForMark } from './lag.ts';
import { type Mended, repairInRounds } from './mender.ts';
import { startMeter } from './meter.ts';
import { drainSuspects, tell, type VerifyOptions, type VerifyRun } from './run.ts';
import { openSession, type Session } from './session.ts';
import { settleSuspects } from './settle-suspects.ts';
import { Suspects } from './suspects.ts';
import { createTally } from './tally.ts';

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
  const run: VerifyRun = {
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

async function addFunctionDifferences(run: VerifyRun): Promise<void> {
  tell(run, 'functions');
  for (const difference of await settleFunctions(run)) run.tally.addDifference(difference);
}

async function repairDifferences(run: VerifyRun, list: DifferenceList): Promise<RepairReport | undefined> {
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
async function settleFunctions({ pair, options }: VerifyRun): Promise<readonly Difference[]> {
  let differences = await compareFunctions(pair, options.keyDisplay);
  for (const pauseMs of FUNCTION_PAUSES_MS) {
    if (differences.length === 0) break;
    await options.clock.sleep(pauseMs, options.signal);
    await waitForMark(pair, await markSource(pair, options.clock), options);
    const again = await compareFunctions(pair, options.keyDisplay);
    differences = again.filter((now) =>
      differences.some(({ key, detail }) => key === now.key && detail === now.detail),
    );
  }
  return differences;
}
