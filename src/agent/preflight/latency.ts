import { performance } from 'node:perf_hooks';
import type { Client } from '../redis/client.ts';

/** Round-trip times of PING, in milliseconds with fractions. */
export type Latency = {
  readonly count: number;
  readonly minMs: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
};

/**
 * Measures the round-trip time of `count` PINGs, one after the other.
 *
 * @throws the codes of {@link Client.call}
 */
export async function measureLatency(client: Client, count: number): Promise<Latency> {
  const timesMs: number[] = [];
  for (let done = 0; done < count; done += 1) {
    const startedAt = performance.now();
    await client.call('PING');
    timesMs.push(performance.now() - startedAt);
  }
  timesMs.sort((a, b) => a - b);
  const at = (share: number) =>
    timesMs[Math.min(timesMs.length - 1, Math.floor(timesMs.length * share))] ?? 0;
  return { count, minMs: at(0), medianMs: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}
