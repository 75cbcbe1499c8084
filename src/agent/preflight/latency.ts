import { performance } from 'node:perf_hooks';
import type { RoundTrips } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import type { Client } from '../redis/client.ts';

/**
 * Measures the round-trip time of `count` PINGs, one after the other.
 *
 * @throws the codes of {@link Client.call}
 */
export async function measureLatency(client: Client, count: number): Promise<RoundTrips> {
  const timesMs: number[] = [];
  for (let done = 0; done < count; done += 1) timesMs.push(await timeRequest(() => client.call('PING')));
  return summarizeRoundTrips(timesMs);
}

/** How many requests are measured, and for how long at most. */
export type RequestBounds = {
  readonly count: number;
  readonly budgetMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** Measures a request again and again, one after the other: at least once, until one of the bounds is reached. */
export async function measureRequests(
  request: () => Promise<unknown>,
  { count, budgetMs, clock, signal }: RequestBounds,
): Promise<RoundTrips> {
  const timesMs: number[] = [];
  const untilMs = clock.nowMs() + budgetMs;
  do {
    signal.throwIfAborted();
    timesMs.push(await timeRequest(request));
  } while (timesMs.length < count && clock.nowMs() < untilMs);
  return summarizeRoundTrips(timesMs);
}

/** Sends one request and says how many milliseconds its answer took. */
export async function timeRequest(request: () => Promise<unknown>): Promise<number> {
  const sentAt = performance.now();
  await request();
  return performance.now() - sentAt;
}

/** Sums up times in milliseconds by their nearest ranks; of no times everything is 0. */
export function summarizeRoundTrips(timesMs: readonly number[]): RoundTrips {
  const sorted = timesMs.toSorted((a, b) => a - b);
  const at = (percent: number) => sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0;
  return { count: sorted.length, medianMs: at(50), p95Ms: at(95), p99Ms: at(99), maxMs: at(100) };
}
