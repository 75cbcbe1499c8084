import { systemClock } from '../../src/core/clock.ts';

/** Does something again and again until the signal; rejects when the action fails before. */
export async function repeat(
  action: () => Promise<unknown>,
  { intervalMs, signal }: { readonly intervalMs: number; readonly signal: AbortSignal },
): Promise<void> {
  while (!signal.aborted) {
    try {
      await action();
      await systemClock.sleep(intervalMs, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

/** The middle value, or the mean of the two; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}

/** Median and greatest of samples; undefined when there are none. */
export function summarize(samples: readonly number[]): { median: number; max: number } | undefined {
  if (samples.length === 0) return undefined;
  return { median: median(samples), max: samples.reduce((most, one) => Math.max(most, one), 0) };
}

/** Never resolves; rejects with the signal's reason. */
export function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
