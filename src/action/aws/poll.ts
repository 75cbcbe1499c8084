import type { Clock } from '../../core/clock.ts';

/** How something is waited for. */
export type Waiting = {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Pauses between looks; the last one goes on for as long as it takes. */
  readonly pollDelaysMs: readonly number[];
};

/** Pauses between looks at ElastiCache: whose changes take minutes and whose calls are throttled per account. */
export const AWS_POLL_DELAYS_MS: readonly number[] = [1000, 2000, 4000, 8000, 15_000];

/**
 * Looks again and again until there is something to see, and returns that; undefined when `timeoutMs` is over.
 *
 * @throws what `look` throws, and the signal's reason
 */
export async function pollUntil<Result>(
  look: () => Promise<Result | undefined>,
  { clock, signal, pollDelaysMs, timeoutMs }: Waiting & { timeoutMs: number },
): Promise<Result | undefined> {
  const deadlineMs = clock.nowMs() + timeoutMs;
  for (let looks = 0; ; looks += 1) {
    signal.throwIfAborted();
    const seen = await look();
    if (seen !== undefined) return seen;
    const remainingMs = deadlineMs - clock.nowMs();
    if (remainingMs <= 0) return undefined;
    await clock.sleep(Math.min(pollDelayMs(pollDelaysMs, looks), remainingMs), signal);
  }
}

/** The pause after the look of this number, counted from 0. */
export function pollDelayMs(pollDelaysMs: readonly number[], looks: number): number {
  return pollDelaysMs[Math.min(looks, pollDelaysMs.length - 1)] ?? 1000;
}
