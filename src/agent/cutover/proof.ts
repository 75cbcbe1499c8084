import type { Progress } from '../../contract/job-state.ts';
import type { CutoverReport, VerifyReport } from '../../contract/reports.ts';
import { MigrationError } from '../../core/errors.ts';
import { formatCount } from '../../core/units.ts';
import { NO_PROGRESS } from '../job/context.ts';
import { openPrimaries, type Primaries } from '../redis/cluster/primaries.ts';
import { createMender } from '../repair/mender.ts';
import { compareAll } from '../verify/compare.ts';
import { advanceBase, compareDelta, type DeltaOptions, type ScopedOptions } from '../verify/delta.ts';
import { countTouched } from '../verify/touched-batches.ts';
import { correctExpiries, tellsAbsoluteTimes } from './correct-expiries.ts';
import { type Cutover, enter } from './cutover.ts';
import { type DrainContext, drain } from './drain.ts';
import { drainShards } from './drain-shards.ts';
import { ExpiringKeys } from './expiring-keys.ts';
import { assertFencesHeld, extendFences } from './fences.ts';
import { assertNothingSkipped } from './preconditions.ts';
import { assertOldFenceHeld } from './way-back.ts';
import type { WritePauseMeasures } from './write-pause.ts';

/**
 * Waits until the target has all that the fenced source has, and proves the two sides equal.
 *
 * @throws sync-not-running, sync-lost, verification-different, data-skipped, fence-denied, the codes of connections to
 *   both sides, or the signal's reason
 */
export async function drainAndProve(
  cutover: Cutover,
  measures: WritePauseMeasures,
  signal: AbortSignal,
): Promise<CutoverReport> {
  const { request, context, source, target } = cutover;
  enter(cutover, 'draining');
  await using sourcePrimaries = await openPrimaries(source);
  await using primaries = await openPrimaries(target);
  const drained = await drainSource(cutover, sourcePrimaries, {
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
    fence: measures.fence,
    ...drained,
    drainDurationMs: drainedAtMs - measures.fencedAtMs,
    proofDurationMs: provedAtMs - correctedAtMs,
    settleDurationMs: correctedAtMs - drainedAtMs,
    writePauseMs: provedAtMs - measures.fencedAtMs,
    ...(measures.clients === undefined ? {} : { clients: measures.clients }),
    verification,
  };
  if (!verification.passed) {
    context.leaveReport(report);
    throw differenceFound('Behind the fence', verification);
  }
  try {
    assertNothingSkipped(verification.skipped, request, 'Behind the fence the verification');
  } catch (error) {
    context.leaveReport(report);
    throw error;
  }
  await assertFencesHeld(source, context);
  await extendFences(source, context, HAND_OVER_PAUSE_MS);
  await assertOldFenceHeld(context);
  return report;
}

/** How long a fence that is a pause lasts from the proof on: whoever goes on with a hand-over makes it last. */
const HAND_OVER_PAUSE_MS = 60_000;

type Drained = Pick<CutoverReport, 'sourceReplid' | 'sourceOffset' | 'targetOffset' | 'sourceShards'>;

/** Waits until the target has everything; of a source in cluster mode the places are those of all shards together. */
async function drainSource(
  { request }: Cutover,
  { home, all, topology }: Primaries,
  context: Omit<DrainContext, 'source'>,
): Promise<Drained> {
  // A scan has one place for all primaries: a moment.
  if (topology === undefined || request.route === 'scan') {
    const { source, targetOffset } = await drain(request.route, { ...context, source: home });
    return { sourceReplid: source.replid, sourceOffset: source.offset, targetOffset };
  }
  const shards = await drainShards({ all, topology }, context);
  return {
    sourceReplid: shards.map(({ source }) => source.replid).join(' '),
    sourceOffset: shards.reduce((sum, { source }) => sum + source.offset, 0),
    targetOffset: shards.reduce((sum, { targetOffset }) => sum + targetOffset, 0),
    sourceShards: shards.map(({ slots, sourceAddress, source, targetOffset }) => ({
      slots,
      sourceAddress,
      sourceReplid: source.replid,
      sourceOffset: source.offset,
      targetOffset,
    })),
  };
}

/**
 * Compares what has changed since the last full verification, when that is all known and recent, else everything.
 *
 * Before Redis 7.0 the full verification could not compare expiry times exactly, so they all are compared here. What
 * somebody else has written to the target shows, behind the fence, in the numbers of keys.
 */
async function prove(cutover: Cutover, signal: AbortSignal): Promise<VerifyReport> {
  const { request, context } = cutover;
  const options = { ...compareOptions(cutover, { signal, stage: 'proving' }), ...menderOf(cutover, signal) };
  if (request.route === 'native') return compareAll(options);
  const { maxVerificationAgeMs: maxBaseAgeMs } = request;
  const found = await compareDelta({ ...options, maxBaseAgeMs, isProof: true });
  if ('kind' in found) return found;
  context.log(`The proof compares all keys: ${found.reason}.`);
  return { ...(await compareAll(options)), fullReason: found.reason };
}

/** Compares everything behind a fence that was set again, of a target that was released before. */
export function compareReleased(cutover: Cutover, signal: AbortSignal): Promise<VerifyReport> {
  return compareAll(compareOptions(cutover, { signal, stage: 'proving' }));
}

/**
 * What no event tells of (XACK and its kin, functions) a sync by scanning may have missed: what the proof finds is
 * written anew, and then compared again. Nothing else writes to the target behind the fence.
 */
function menderOf({ request, context, target }: Cutover, signal: AbortSignal): Pick<ScopedOptions, 'mender'> {
  if (request.route !== 'scan') return {};
  const { hashFieldTtl } = request;
  const mode = 'differences-and-extras';
  return { mender: createMender({ mode, hashFieldTtl, target, clock: context.clock, signal }) };
}

/** Keys that have changed meanwhile, of which so many are compared and settled in a moment. */
const FEW_KEYS = 20_000;
/** A source that changes keys faster than they are compared is waited for no longer. */
const ROUNDS_MAX = 5;

/**
 * Does before the fence, while the source is written to, what would otherwise be done behind it: compares what has
 * changed since the last full verification, until that is little, and notes what expires.
 *
 * Undefined where there is nothing to note, or it cannot be relied on.
 *
 * @throws verification-different, the codes of connections to both sides, or the signal's reason
 */
export async function prepareProof(cutover: Cutover): Promise<ExpiringKeys | undefined> {
  const { request, context, source, target } = cutover;
  if (request.route === 'native') return undefined;
  context.report({ ...NO_PROGRESS, stage: 'preparing' });
  await compareTouched(cutover, undefined);
  // Its expiry times are exact all along.
  if (request.route === 'scan') return undefined;
  if (!(await tellsAbsoluteTimes(source, context.signal))) {
    // What is noted now would be written over what is corrected then.
    context.log('Expiry times are corrected behind the fence, and restored by going over all keys.');
    return undefined;
  }
  const expiring = await ExpiringKeys.note({ target, ...context });
  if ('reason' in expiring) {
    context.log(`Expiry times are restored by going over all keys: ${expiring.reason}.`);
    return undefined;
  }
  try {
    await compareTouched(cutover, expiring);
    return expiring;
  } catch (error) {
    expiring[Symbol.dispose]();
    throw error;
  }
}

async function compareTouched(cutover: Cutover, expiring: ExpiringKeys | undefined): Promise<void> {
  const { request, context } = cutover;
  const options: DeltaOptions = {
    ...compareOptions(cutover, { signal: context.signal, stage: 'preparing' }),
    maxBaseAgeMs: request.maxVerificationAgeMs,
  };
  for (let round = 1; round <= ROUNDS_MAX; round++) {
    if (countTouched(context.directory, FEW_KEYS) < FEW_KEYS) return;
    const found = await advanceBase(options);
    if ('reason' in found) return context.log(`All keys are compared behind the fence: ${found.reason}.`);
    if (!found.passed) throw differenceFound('Before the fence', found);
    context.log(`Compared ${formatCount(found.keysCompared)} keys that have changed.`);
    expiring?.follow();
  }
}

function compareOptions(
  { request, context, source, target }: Cutover,
  { signal, stage }: { signal: AbortSignal; stage: string },
): ScopedOptions {
  return {
    ...request,
    source,
    target,
    areExpiriesCorrected: stage === 'proving',
    migrationId: context.migrationId,
    clock: context.clock,
    signal,
    directory: context.directory,
    siblings: context.siblings,
    report: (progress: Progress) => context.report({ ...progress, stage }),
  };
}

function differenceFound(where: string, { differences, maxDifferences }: VerifyReport): MigrationError {
  const kinds = differences.byKind.map(({ kind, count }) => `${kind} ${count}`).join(', ');
  return new MigrationError(
    'verification-different',
    `${where} ${differences.total} differences were found (${kinds}), more than ${maxDifferences}; the source takes writes.`,
  );
}
