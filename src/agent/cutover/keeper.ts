import type { CutoverReport, KeeperReport } from '../../contract/reports.ts';
import { errorText, isMigrationError } from '../../core/errors.ts';
import { type Job, type JobContext, NO_PROGRESS } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { areFencesStanding, fencesRecordedAtMs, liftFences } from './fences.ts';
import { handOver, restoreSettings } from './hand-over.ts';
import { decideLift, forgetCutover, readCutoverStep, readDecision } from './state.ts';

type Request = Parameters<Job<'keeper'>>[0];

const POLL_MS = 100;
/** A cutover lifts its own fence when its time is over; one that has not by then hangs. */
const GRACE_MS = 2_000;
/** How long the action may take to decide after the proof on the native route. */
const PROMOTION_LEASE_MS = 120_000;
/** Pauses between attempts at a server that does not answer. */
const RETRY_MS = 1_000;

/**
 * The dead-man's switch of a cutover, in a process of its own: a cutover that is gone, or hangs beyond its time, leaves
 * a source that takes writes again, unless the hand-over is decided, which is then brought to its end.
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
  if (decision?.decision === 'hand-over') return isRunning ? undefined : goOn(request, context);
  const fencedAtMs = fencesRecordedAtMs(directory);
  if (fencedAtMs === undefined) return isRunning ? undefined : 'ended';
  if (isWithinTime(request, context, { fencedAtMs, isRunning })) return undefined;
  if (!decideLift(directory, context.clock.nowMs())) return undefined;
  return liftFor(request, context, isRunning);
}

function isWithinTime(
  { cutover }: Request,
  { directory, clock }: JobContext,
  { fencedAtMs, isRunning }: { fencedAtMs: number; isRunning: boolean },
): boolean {
  const nowMs = clock.nowMs();
  const step = readCutoverStep(directory, cutover);
  if (step?.step === 'proved') {
    const provedAtMs = step.report.fencedAtMs + step.report.writePauseMs;
    return nowMs - provedAtMs < PROMOTION_LEASE_MS;
  }
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

/** The target takes over: that is decided, and its cutover is gone. On the native route the rest is the action's. */
async function goOn(
  { cutover: request }: Request,
  context: JobContext,
): Promise<KeeperReport['outcome'] | undefined> {
  const step = readCutoverStep(context.directory, request);
  if (request.route === 'native' || step?.step !== 'handing-over') return 'ended';
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
  // A source that was restarted has lost its fence: what to do then is not for a process to decide.
  if (!(await areFencesStanding(source, context))) return 'ended';
  const cutover = { request, context, source, target };
  await handOver(cutover, proved);
  await restoreSettings(cutover);
  context.log('Went on with the hand-over of a cutover that was gone.');
  return 'handed-over';
}
