import { describe, expect, it } from 'vitest';
import { measureRequests, summarizeRoundTrips } from '../../../src/agent/preflight/latency.ts';
import type { Clock } from '../../../src/core/clock.ts';

describe('round-trip times', () => {
  it('are summed up by nearest ranks, in whatever order they came', () => {
    const timesMs = Array.from({ length: 200 }, (_, index) => 200 - index);
    expect(summarizeRoundTrips(timesMs)).toEqual({
      count: 200,
      medianMs: 100,
      p95Ms: 190,
      p99Ms: 198,
      maxMs: 200,
    });
  });

  it('of one request are all that of this one, and of none are nothing', () => {
    expect(summarizeRoundTrips([7])).toEqual({ count: 1, medianMs: 7, p95Ms: 7, p99Ms: 7, maxMs: 7 });
    expect(summarizeRoundTrips([])).toEqual({ count: 0, medianMs: 0, p95Ms: 0, p99Ms: 0, maxMs: 0 });
  });
});

describe('a measurement', () => {
  const signal = new AbortController().signal;

  it('ends with its number of requests', async () => {
    const { count } = await measureRequests(async () => {}, {
      count: 20,
      budgetMs: 1000,
      clock: steppingClock(0),
      signal,
    });
    expect(count).toBe(20);
  });

  it('ends when its time is over, after one request at least', async () => {
    const slow = (budgetMs: number) =>
      measureRequests(async () => {}, { count: 1000, budgetMs, clock: steppingClock(10), signal });
    expect((await slow(95)).count).toBe(10);
    expect((await slow(0)).count).toBe(1);
  });

  it('ends with the signal', async () => {
    const stopping = new AbortController();
    let sent = 0;
    const measuring = measureRequests(
      async () => {
        sent += 1;
        if (sent === 3) stopping.abort(new Error('stopped'));
      },
      { count: 1000, budgetMs: 1000, clock: steppingClock(0), signal: stopping.signal },
    );
    await expect(measuring).rejects.toThrow('stopped');
    expect(sent).toBe(3);
  });
});

/** A clock that goes on by so much with every look at it. */
function steppingClock(stepMs: number): Clock {
  let nowMs = -stepMs;
  return {
    nowMs: () => {
      nowMs += stepMs;
      return nowMs;
    },
    sleep: async () => {},
  };
}
