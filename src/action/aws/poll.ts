import type { Clock } from '../../core/clock.ts';
import { isMigrationError } from '../../core/errors.ts';

/** How something is waited for. */
export type Waiting = {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Pauses between looks; the last one goes on for as long as it takes. */
  readonly pollDelaysMs: readonly number[];
};

/** Looks in a row that AWS may leave unanswered, each after the retries of the SDK. */
const LOOK_FAILURES_MAX = 5;

/**
 * Looks again and again until there is something to see, and returns that; undefined when `timeoutMs` is over.
 *
 * @throws what `look` throws (aws-throttled and aws-unavailable only when they last), and the signal's reason
 */
export async function pollUntil<Result>(
  look: () => Promise<Result | undefined>,
  { clock, signal, pollDelaysMs, timeoutMs }: Waiting & { timeoutMs: number },
): Promise<Result | undefined> {
  const deadlineMs = clock.nowMs() + timeoutMs;
  let failures = 0;
  for (let looks = 0; ; looks += 1) {
    signal.throwIfAborted();
    try {
      const seen = await look();
      if (seen !== undefined) return seen;
      failures = 0;
    } catch (error) {
      // What is waited for goes on, whether or not AWS answers this look.
      failures += 1;
      if (!isPassing(error) || failures > LOOK_FAILURES_MAX) throw error;
    }
    const remainingMs = deadlineMs - clock.nowMs();
    if (remainingMs <= 0) return undefined;
    await clock.sleep(Math.min(pollDelayMs(pollDelaysMs, looks), remainingMs), signal);
  }
}

function isPassing(error: unknown): boolean {
  return isMigrationError(error) && (error.code === 'aws-throttled' || error.code === 'aws-unavailable');
}

/** The pause after the look of this number, counted from 0. */
export function pollDelayMs(pollDelaysMs: readonly number[], looks: number): number {
  return pollDelaysMs[Math.min(looks, pollDelaysMs.length - 1)] ?? 1000;
}
