import type { ClientList } from '../../contract/reports.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { retry } from '../../core/retry.ts';
import type { Cutover } from './cutover.ts';
import type { FenceWriter } from './fence-by-acl.ts';
import { liftFences, setFences } from './fences.ts';
import { decideLift, forgetCutover } from './state.ts';
import { makeWriter } from './way-back.ts';
import { startWritePause, untilAborted, type WritePauseMeasures } from './write-pause.ts';

/** Pauses between the attempts to lift a fence: the source must not stay fenced for one broken connection. */
const LIFT_DELAYS_MS = [200, 1000, 3000];
/** A fence that is a pause outlasts the budget by the moment in which it is made to last. */
const PAUSE_MARGIN_MS = 5_000;

/** What is done behind a fence. */
export type FencedWork<Result> = {
  /** Who was connected to the source before it. */
  readonly clients: ClientList | undefined;
  work(measures: WritePauseMeasures, signal: AbortSignal): Promise<Result>;
  /** What the result comes to; throws when it is too late for that. */
  decide(result: Result): void;
};

/**
 * Fences the source, does the work in the time that writes may be paused, and decides; whatever fails lifts the fence.
 *
 * @throws write-pause-exceeded, fence-denied, and what the work throws
 */
export async function behindFence<Result>(cutover: Cutover, fenced: FencedWork<Result>): Promise<Result> {
  const { request, context, source } = cutover;
  const { clock, signal } = context;
  const { maxWritePauseMs } = request;
  const measures: WritePauseMeasures = { fencedAtMs: clock.nowMs(), fence: '', clients: fenced.clients };
  using pause = startWritePause({ maxWritePauseMs, measures, clock, signal });
  try {
    measures.fence = await setFences(source, { ...context, ...fenceOf(cutover) });
    context.log(`Writes at the source ${source.address} are fenced: ${measures.fence}.`);
    const result = await untilAborted(fenced.work(measures, pause.signal), pause.signal);
    fenced.decide(result);
    return result;
  } catch (error) {
    await liftAfter(cutover, error);
    throw error;
  }
}

function fenceOf({ request, context }: Cutover): { pauseMs?: number; writer?: FenceWriter } {
  const { route, maxWritePauseMs, reverse } = request;
  if (reverse === true) return { writer: makeWriter(context.directory, context.migrationId) };
  return route === 'native' ? {} : { pauseMs: maxWritePauseMs + PAUSE_MARGIN_MS };
}

/** Lifts the fence over a connection of its own: the one that failed may be the reason why. */
export async function liftAfter({ context, source }: Cutover, failure: unknown): Promise<void> {
  const { clock, directory } = context;
  const lift = async () => {
    decideLift(directory);
    if (await liftFences(source, directory)) context.log('Lifted the fence: the cutover did not succeed.');
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
