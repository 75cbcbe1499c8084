import { describe, expect, it } from 'vitest';
import type { Clock } from '../../src/core/clock.ts';
import { RateLimit } from '../../src/core/rate-limit.ts';

/** A clock on which only sleeping takes time. */
function sleepingClock(): Clock & { pass(durationMs: number): void; sleeps: number } {
  let nowMs = 1_000_000;
  const clock = {
    sleeps: 0,
    nowMs: () => nowMs,
    pass: (durationMs: number) => {
      nowMs += durationMs;
    },
    sleep: async (durationMs: number, signal: AbortSignal) => {
      signal.throwIfAborted();
      clock.sleeps += 1;
      nowMs += durationMs;
    },
  };
  return clock;
}

const never = new AbortController().signal;

describe('a limited rate', () => {
  it.each([
    [1_000_000, 64 * 1024],
    [1_000_000, 1_000_000],
    [100, 1],
    [333, 7],
  ])('of %i a second, taken by %i, is exact over time', async (perSecond, amount) => {
    const clock = sleepingClock();
    const limit = new RateLimit({ perSecond, clock });
    const startedAtMs = clock.nowMs();
    let taken = 0;
    while (clock.nowMs() - startedAtMs < 100_000) {
      limit.take(amount);
      taken += amount;
      await limit.ready(never);
    }
    const seconds = (clock.nowMs() - startedAtMs) / 1000;
    expect(taken).toBeGreaterThanOrEqual(0.98 * perSecond * seconds);
    expect(taken).toBeLessThanOrEqual(perSecond * seconds + perSecond / 10 + amount);
  });

  it('does not give what was left unused but for a burst', () => {
    const clock = sleepingClock();
    const limit = new RateLimit({ perSecond: 1000, clock });
    clock.pass(3_600_000);
    limit.take(99);
    expect(limit.isExhausted).toBe(false);
    limit.take(1);
    expect(limit.isExhausted).toBe(true);
  });

  it('lets who takes little at a time wait seldom', async () => {
    const clock = sleepingClock();
    const limit = new RateLimit({ perSecond: 1000, clock });
    for (let taken = 0; taken < 1000; taken++) {
      limit.take(1);
      if (limit.isExhausted) await limit.ready(never);
    }
    expect(clock.sleeps).toBeLessThan(25);
  });

  it('says how long it made others wait, and gives nothing for a clock that is set back', async () => {
    const clock = sleepingClock();
    const limit = new RateLimit({ perSecond: 1000, clock });
    limit.take(1050);
    await limit.ready(never);
    expect(limit.heldMs).toBe(1000);
    limit.take(50);
    clock.pass(-60_000);
    expect(limit.isExhausted).toBe(true);
    await limit.ready(never);
    expect(limit.isExhausted).toBe(false);
  });

  it('ends a wait with its signal', async () => {
    const limit = new RateLimit({ perSecond: 1, clock: sleepingClock() });
    limit.take(1000);
    await expect(limit.ready(AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
  });
});
