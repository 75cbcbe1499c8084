import type { Progress } from '../../contract/job-state.ts';
import type { JobRequestOf } from '../../contract/jobs.ts';
import type { CutoverReport, VerifyReport } from '../../contract/reports.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { retry } from '../../core/retry.ts';
import { type Job, type JobContext, NO_PROGRESS } from '../job/context.ts';
import { type Access, resolveAccess } from '../redis/access.ts';
import { readClaim, removeClaim } from '../redis/checkpoint.ts';
import { openClient } from '../redis/client.ts';
import { removeCheckpoints } from '../redis/cluster/checkpoints.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';
import { describeRestored, restoreSource } from '../tune/restore.ts';
import { compareAll } from '../verify/compare.ts';
import { compareDelta } from '../verify/delta.ts';
import { correctExpiries } from './correct-expiries.ts';
import { drain } from './drain.ts';
import { assertFenceHeld, FENCE_NAME, isFenceStanding, liftFence, setFence } from './fence.ts';
import { assertMayCutOver, assertNothingSkipped } from './preconditions.ts';
import { settleTarget } from './settle.ts';
import { forgetCutover, readCutoverStep, writeCutoverStep } from './state.ts';
import { startWritePause, untilAborted, type WritePauseMeasures } from './write-pause.ts';

/** Pauses between the attempts to lift a fence: the source must not stay fenced for one broken connection. */
const LIFT_DELAYS_MS = [200, 1000, 3000];

/**
 * Fence, drain, prove, hand over; run again after any end, it goes on or starts over as the kept step says.
 *
 * Until the proof is complete every failure lifts the fence and leaves the sync running. From then on the fence
 * stays, whatever happens, until a rollback. On the native route the promotion itself is the action's.
 *
 * @throws verification-missing, verification-stale, verification-different, data-skipped, sync-not-running, sync-behind,
 * fence-denied, write-pause-exceeded, and the codes of connections to both sides
 */
export const runCutover: Job<'cutover'> = async (request, context) => {
  const { directory } = context;
  const earlier = readCutoverStep(directory, request);
  const cutover: Cutover = {
    request,
    context,
    source: await resolveAccess('source', request.source, context.resolveSecret),
    target: await resolveAccess('target', request.target, context.resolveSecret),
  };
  if (earlier !== undefined && 'report' in earlier) {
    if (await isFenced(cutover)) {
      const report = earlier.step === 'completed' ? earlier.report : await handOver(cutover, earlier.report);
      await restoreSettings(cutover);
      return report;
    }
    if (earlier.step === 'completed') throw fenceLost(cutover.source, earlier.report);
  }
  await startOver(cutover);
  const report = await proveBehindFence(cutover);
  writeCutoverStep(directory, request, { step: 'handing-over', report });
  const handedOver = await handOver(cutover, report);
  await restoreSettings(cutover);
  return handedOver;
};

type Cutover = {
  readonly request: JobRequestOf<'cutover'>;
  readonly context: JobContext;
  readonly source: Access;
  readonly target: Access;
};

async function isFenced({ source, context }: Cutover): Promise<boolean> {
  await using client = await openClient(source);
  return await isFenceStanding(client, context.directory);
}

/** The target was released behind a fence that has fallen since: nobody knows what the source took meanwhile. */
function fenceLost({ address }: Access, { fencedAtMs }: CutoverReport): MigrationError {
  return new MigrationError(
    'fence-lost',
    `The target was handed over behind the fence of ${new Date(fencedAtMs).toISOString()}, but the source ${address} takes writes again.`,
  );
}

/** Undoes what a run that died may have left, then looks whether a cutover may begin. */
async function startOver({ request, context, source, target }: Cutover): Promise<void> {
  await using sourceClient = await openClient(source);
  if (await liftFence(sourceClient, context.directory)) {
    context.log(`Lifted the fence that an earlier cutover left at the source ${source.address}.`);
  }
  forgetCutover(context.directory);
  await using targetClient = await openClient(target);
  await assertMayCutOver({ request, context, target: targetClient });
}

async function proveBehindFence(cutover: Cutover): Promise<CutoverReport> {
  const { request, context } = cutover;
  const measures: WritePauseMeasures = { fencedAtMs: context.clock.nowMs() };
  const { clock, signal } = context;
  const { maxWritePauseMs } = request;
  using pause = startWritePause({ maxWritePauseMs, measures, clock, signal });
  try {
    enter(cutover, 'fencing');
    await using sourceClient = await openClient(cutover.source);
    await setFence(sourceClient, context);
    context.log(`Writes at the source ${cutover.source.address} are fenced: ${FENCE_NAME}.`);
    return await untilAborted(drainAndProve(cutover, measures, pause.signal), pause.signal);
  } catch (error) {
    await liftAfter(cutover, error);
    throw error;
  }
}

async function drainAndProve(
  cutover: Cutover,
  measures: WritePauseMeasures,
  signal: AbortSignal,
): Promise<CutoverReport> {
  const { request, context, source, target } = cutover;
  enter(cutover, 'draining');
  await using sourceClient = await openClient(source);
  await using primaries = await openPrimaries(target);
  const drained = await drain(request.route, {
    source: sourceClient,
    target: primaries.home,
    siblings: context.siblings,
    clock: context.clock,
    signal,
    reportLag: (lagBytes) => {
      measures.lagBytes = lagBytes;
      context.report({ ...NO_PROGRESS, stage: 'draining', lagBytes });
    },
  });
  const drainedAtMs = context.clock.nowMs();
  measures.drainedAtMs = drainedAtMs;
  let correctedAtMs = drainedAtMs;
  if (request.route === 'replica') {
    await correctExpiries({ source, target, signal });
    correctedAtMs = context.clock.nowMs();
  }
  enter(cutover, 'proving');
  const verification = await prove(cutover, signal);
  signal.throwIfAborted();
  const provedAtMs = context.clock.nowMs();
  const report: CutoverReport = {
    kind: 'cutover',
    route: request.route,
    fencedAtMs: measures.fencedAtMs,
    fence: FENCE_NAME,
    sourceReplid: drained.source.replid,
    sourceOffset: drained.source.offset,
    targetOffset: drained.targetOffset,
    drainDurationMs: drainedAtMs - measures.fencedAtMs,
    proofDurationMs: provedAtMs - correctedAtMs,
    settleDurationMs: correctedAtMs - drainedAtMs,
    writePauseMs: provedAtMs - measures.fencedAtMs,
    verification,
  };
  if (!verification.passed) {
    context.leaveReport(report);
    throw proofFailed(verification);
  }
  try {
    assertNothingSkipped(verification.skipped, request, 'Behind the fence the verification');
  } catch (error) {
    context.leaveReport(report);
    throw error;
  }
  await assertFenceHeld(sourceClient);
  return report;
}

/**
 * Compares what has changed since the last full verification, when that is all known and recent, else everything.
 *
 * Before Redis 7.0 the full verification could not compare expiry times exactly, so they all are compared here. What
 * somebody else has written to the target shows, behind the fence, in the numbers of keys.
 */
async function prove(
  { request, context, source, target }: Cutover,
  signal: AbortSignal,
): Promise<VerifyReport> {
  const options = {
    ...request,
    source,
    target,
    areExpiriesCorrected: true,
    migrationId: context.migrationId,
    clock: context.clock,
    signal,
    directory: context.directory,
    siblings: context.siblings,
    report: (progress: Progress) => context.report({ ...progress, stage: 'proving' }),
  };
  if (request.route !== 'replica') return compareAll(options);
  const { maxVerificationAgeMs: maxBaseAgeMs } = request;
  const found = await compareDelta({ ...options, maxBaseAgeMs, isProof: true });
  if ('kind' in found) return found;
  context.log(`The proof compares all keys: ${found.reason}.`);
  return { ...(await compareAll(options)), fullReason: found.reason };
}

/**
 * Ends the sync, restores exact expiry times and takes our keys out of the target. Every part may be repeated.
 *
 * The times come after the proof, which compares them with their pad: until here a cutover that fails leaves a target
 * that a sync can go on with, and on which no key expires by itself while the sync lags.
 */
async function handOver(
  { request, context, target }: Cutover,
  proved: CutoverReport,
): Promise<CutoverReport> {
  // On the native route the target stays a replica until the action promotes it: until then this step is the last.
  if (request.route === 'native') return proved;
  context.report({ ...NO_PROGRESS, stage: 'handing-over' });
  await context.siblings.stop('sync');
  await using primaries = await openPrimaries(target);
  const beganAtMs = context.clock.nowMs();
  const claim = await readClaim(primaries.home);
  if (claim !== undefined) await settleTarget(primaries, claim, context);
  // The claim last: as long as it is there a run that died here is gone on with.
  await removeCheckpoints(target, context.signal);
  await removeClaim(primaries.home);
  const settledAtMs = context.clock.nowMs();
  const report = {
    ...proved,
    settleDurationMs: proved.settleDurationMs + settledAtMs - beganAtMs,
    writePauseMs: settledAtMs - proved.fencedAtMs,
  };
  writeCutoverStep(context.directory, request, { step: 'completed', report });
  context.log(`The target ${target.address} has taken over.`);
  return report;
}

/**
 * Restores what a sync that died could not: one that was stopped has done it itself. The target has taken over by now,
 * so a source that is gone does not make the cutover fail; `status` shows what is left, and cleanup tries again.
 */
async function restoreSettings({ request, context }: Cutover): Promise<void> {
  try {
    const restored = await restoreSource({ ...context, source: request.source });
    if (restored !== undefined) context.log(`source settings ${describeRestored(restored)}`);
  } catch (error) {
    context.log(errorText(error));
  }
}

function enter({ request, context }: Cutover, step: 'fencing' | 'draining' | 'proving'): void {
  writeCutoverStep(context.directory, request, { step });
  context.report({ ...NO_PROGRESS, stage: step });
}

/** Lifts the fence over a connection of its own: the one that failed may be the reason why. */
async function liftAfter({ context, source }: Cutover, failure: unknown): Promise<void> {
  const { clock, directory } = context;
  const lift = async () => {
    await using client = await openClient(source);
    if (await liftFence(client, directory)) context.log('Lifted the fence: the cutover did not succeed.');
    forgetCutover(directory);
  };
  // Not the job's signal: a job that is stopped must lift its fence as well.
  const signal = new AbortController().signal;
  try {
    await retry(lift, { policy: { delaysMs: LIFT_DELAYS_MS, shouldRetry: () => true }, clock, signal });
  } catch (error) {
    throw new MigrationError(
      'fence-denied',
      `The fence at the source ${source.address} could not be lifted (${errorText(error)}), after: ${errorText(failure)}`,
      { remedy: 'The source still refuses writes. Run rollback, which lifts the fence.', cause: failure },
    );
  }
}

function proofFailed({ differences, maxDifferences }: VerifyReport): MigrationError {
  const kinds = differences.byKind.map(({ kind, count }) => `${kind} ${count}`).join(', ');
  return new MigrationError(
    'verification-different',
    `Behind the fence ${differences.total} differences were found (${kinds}), more than ${maxDifferences}; the fence was lifted.`,
  );
}
