import type { CutoverReport, KeeperReport } from '../../contract/reports.ts';
import { errorText, isMigrationError } from '../../core/errors.ts';
import { type Job, type JobContext, NO_PROGRESS } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { readServerInfo } from '../redis/server-info.ts';
import type { Cutover } from './cutover.ts';
import { areFencesStanding, fencesRecordedAtMs, liftFences } from './fences.ts';
import { handOver, isHandOverLost, restoreSettings } from './hand-over.ts';
import {
  decideLift,
  forgetCutover,
  leaseUntilMs,
  readCutoverStep,
  readDecision,
  readPromotion,
  withdrawHandOver,
} from './state.ts';

type Request = Parameters<Job<'keeper'>>[0];

const POLL_MS = 100;
/** A cutover lifts its own fence when its time is over; one that has not by then hangs. */
const GRACE_MS = 2_000;
/** Pauses between attempts at a server that does not answer. */
const RETRY_MS = 1_000;

/**
 * The dead-man's switch of a cutover, in a process of its own: a cutover that is gone, or hangs beyond its time, leaves
 * a source that takes writes again, unless the hand-over is decided, which is then brought to its end. On the native
 * route only the action can do that: when it is gone too, and the target not promoted, the hand-over is withdrawn.
 *
 * It ends when there is nothing left to do for it.
 *
 * @throws the codes of the hand-over, or the signal's reason
 */
export const runKeeper: Job<'keeper'> = async (request, context) => {
  context.report({ ...NO_PROGRESS, stage: 'watching' });
  for (;;) {
    context.signal.throwIfAborted();
    const outcome = await look(request, context);
    if (outcome !== undefined) return { kind: 'keeper', outcome };
    await context.clock.sleep(POLL_MS, context.signal);
  }
};

/** Does what is due; undefined as long as the cutover is in good hands. */
async function look(request: Request, context: JobContext): Promise<KeeperReport['outcome'] | undefined> {
  const { directory } = context;
  const state = await context.siblings.state('cutover');
  const isRunning = state?.status === 'running';
  const decision = readDecision(directory);
  if (decision?.decision === 'hand-over') {
    if (isRunning) return undefined;
    return request.cutover.route === 'native' ? awaitPromotion(request, context) : goOn(request, context);
  }
  const fencedAtMs = fencesRecordedAtMs(directory);
  if (fencedAtMs === undefined) return isRunning ? undefined : 'ended';
  if (isWithinTime(request, context, { fencedAtMs, isRunning })) return undefined;
  if (!decideLift(directory)) return undefined;
  return liftFor(request, context, isRunning);
}

function isWithinTime(
  { cutover }: Request,
  { directory, clock }: JobContext,
  { fencedAtMs, isRunning }: { fencedAtMs: number; isRunning: boolean },
): boolean {
  const nowMs = clock.nowMs();
  if (readCutoverStep(directory, cutover)?.step === 'proved') return nowMs < leaseUntilMs(directory);
  return isRunning && nowMs - fencedAtMs < cutover.maxWritePauseMs + GRACE_MS;
}

/** A cutover that hangs is ended first: it might set its fence again. */
async function liftFor(
  { cutover }: Request,
  context: JobContext,
  isRunning: boolean,
): Promise<KeeperReport['outcome']> {
  if (isRunning) await context.siblings.kill('cutover');
  context.report({ ...NO_PROGRESS, stage: 'lifting' });
  for (;;) {
    try {
      const access = await resolveAccess('source', cutover.source, context.resolveSecret);
      await liftFences(access, context.directory);
      break;
    } catch (error) {
      context.log(`The fence is not lifted yet: ${errorText(error)}`);
      await context.clock.sleep(RETRY_MS, context.signal);
    }
  }
  forgetCutover(context.directory);
  context.log(`Lifted the fence of a cutover that ${isRunning ? 'hung' : 'was gone'}.`);
  return 'lifted';
}

/**
 * The promotion is asked for from the runner. An action that lives says so now and then; behind one that is gone only the
 * target tells what became of it. One that does not answer tells nothing, and the fence stays until it does.
 */
async function awaitPromotion(
  request: Request,
  context: JobContext,
): Promise<KeeperReport['outcome'] | undefined> {
  const { directory, clock } = context;
  if (readPromotion(directory) === 'completed') return 'ended';
  if (clock.nowMs() < leaseUntilMs(directory)) return undefined;
  try {
    const target = await resolveAccess('target', request.cutover.target, context.resolveSecret);
    await using client = await openClient(target);
    if ((await readServerInfo(client)).fields.get('role') === 'master') {
      context.log('The target is promoted, and nobody has marked the migration complete: the fence stays.');
      return 'ended';
    }
  } catch (error) {
    context.log(`Whether the target is promoted is not known: ${errorText(error)}`);
    await clock.sleep(RETRY_MS, context.signal);
    return undefined;
  }
  return withdrawHandOver(directory) ? liftFor(request, context, false) : undefined;
}

/** The target takes over: that is decided, and its cutover is gone. */
async function goOn(
  { cutover: request }: Request,
  context: JobContext,
): Promise<KeeperReport['outcome'] | undefined> {
  const step = readCutoverStep(context.directory, request);
  if (step?.step !== 'handing-over') return 'ended';
  try {
    return await handOverFor(request, step.report, context);
  } catch (error) {
    if (!isMigrationError(error) || !error.retryable) throw error;
    context.log(`The hand-over is not complete yet: ${errorText(error)}`);
    await context.clock.sleep(RETRY_MS, context.signal);
    return undefined;
  }
}

async function handOverFor(
  request: Request['cutover'],
  proved: CutoverReport,
  context: JobContext,
): Promise<KeeperReport['outcome']> {
  const source = await resolveAccess('source', request.source, context.resolveSecret);
  const target = await resolveAccess('target', request.target, context.resolveSecret);
  const cutover = { request, context, source, target };
  if (!(await isHandedOver(cutover, proved))) {
    // The source takes writes, and nobody was told of the target yet.
    await liftFences(source, context.directory);
    forgetCutover(context.directory);
    context.log('The fence, or data, was lost before the hand-over was complete: nothing is handed over.');
    return 'lifted';
  }
  await restoreSettings(cutover);
  context.log('Went on with the hand-over of a cutover that was gone.');
  return 'handed-over';
}

/** False when the source has lost its fence (it was restarted, or a pause has ended), or the target some of the data. */
async function isHandedOver(cutover: Cutover, proved: CutoverReport): Promise<boolean> {
  if (!(await areFencesStanding(cutover.source, cutover.context))) return false;
  try {
    await handOver(cutover, proved);
    return true;
  } catch (error) {
    if (isHandOverLost(error)) return false;
    throw error;
  }
}
