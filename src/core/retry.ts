import type { Clock } from './clock.ts';

/** How often and with which pauses something is tried again. */
export type RetryPolicy = {
  /** Pauses between the attempts, in milliseconds: one more attempt than there are pauses. */
  readonly delaysMs: readonly number[];
  readonly shouldRetry: (error: unknown) => boolean;
};

/**
 * Runs `attempt` until it succeeds, the policy says no, the pauses are used up, or the signal is aborted.
 *
 * @throws what the last attempt threw, or the signal's reason.
 */
export async function retry<Result>(
  attempt: () => Promise<Result>,
  { policy, clock, signal }: { policy: RetryPolicy; clock: Clock; signal: AbortSignal },
): Promise<Result> {
  for (const delayMs of policy.delaysMs) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      if (!policy.shouldRetry(error)) throw error;
      await clock.sleep(delayMs, signal);
    }
  }
  signal.throwIfAborted();
  return await attempt();
}

/**
 * Pauses that double from `firstMs` up to `maximumMs`, `count` of them.
 *
 * Without jitter: the callers are one per migration, so there is no herd to spread.
 */
export function backoffDelaysMs(options: { firstMs: number; maximumMs: number; count: number }): number[] {
  return Array.from({ length: options.count }, (_, index) =>
    Math.min(options.firstMs * 2 ** index, options.maximumMs),
  );
}
