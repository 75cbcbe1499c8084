import { describe, expect, it } from 'vitest';
import { Canaries } from '../../../src/agent/sync/canaries.ts';
import type { Clock } from '../../../src/core/clock.ts';

function makeCanaries(): { canaries: Canaries; pass: (durationMs: number) => void; send: () => string } {
  let nowMs = 5_000;
  const clock: Clock = { nowMs: () => nowMs, sleep: () => Promise.resolve() };
  const canaries = new Canaries(clock);
  return {
    canaries,
    pass: (durationMs) => {
      nowMs += durationMs;
    },
    send: () => {
      const { text, sentAtMs } = canaries.message();
      canaries.expect(sentAtMs);
      return text;
    },
  };
}

/** Sees it at the end of the stream, and commits that. */
function arrive(canaries: Canaries, text: string): void {
  canaries.seen(text, 100);
  canaries.committed(100);
}

describe('the lag by canaries', () => {
  it('is the time from sending one to committing it', () => {
    const { canaries, pass, send } = makeCanaries();
    const text = send();
    pass(40);
    arrive(canaries, text);
    pass(500);
    expect(canaries.lagMs).toBe(40);
    expect(canaries.arrivedLagMs).toBe(40);
  });

  it('grows with the age of the oldest that has not arrived', () => {
    const { canaries, pass, send } = makeCanaries();
    arrive(canaries, send());
    pass(1);
    const late = send();
    pass(1_000);
    send();
    pass(9_000);
    expect(canaries.lagMs).toBe(10_000);
    arrive(canaries, late);
    expect(canaries.lagMs).toBe(10_000);
    pass(500);
    expect(canaries.lagMs).toBe(10_000);
  });

  it('does not miss one that a later one has passed, nor one that arrived before the source had answered', () => {
    const { canaries, pass, send } = makeCanaries();
    send();
    pass(1_000);
    const { text, sentAtMs } = canaries.message();
    pass(7);
    arrive(canaries, text);
    canaries.expect(sentAtMs);
    pass(2_000);
    expect(canaries.lagMs).toBe(7);
  });

  it('is not known before the first one, after a silence, nor from a copy that began anew', () => {
    const { canaries, pass, send } = makeCanaries();
    expect(canaries.lagMs).toBeUndefined();
    arrive(canaries, send());
    expect(canaries.lagMs).toBe(0);
    pass(10_000);
    expect(canaries.lagMs).toBeUndefined();
    send();
    canaries.forget();
    pass(1_000);
    expect(canaries.lagMs).toBeUndefined();
  });

  it('takes no canary of another sync for its own', () => {
    const { canaries } = makeCanaries();
    expect(canaries.seen(makeCanaries().send(), 1)).toBe(false);
    expect(canaries.seen('hello', 2)).toBe(false);
    canaries.committed(3);
    expect(canaries.lagMs).toBeUndefined();
  });

  it('counts the oldest of those that are committed together, and none before its own offset', () => {
    const { canaries, pass, send } = makeCanaries();
    for (const offset of [100, 200, 300]) {
      canaries.seen(send(), offset);
      pass(1_000);
    }
    canaries.committed(99);
    expect(canaries.arrivedLagMs).toBeUndefined();
    canaries.committed(250);
    expect(canaries.arrivedLagMs).toBe(3_000);
    canaries.committed(300);
    expect(canaries.lagMs).toBe(1_000);
  });

  it('remembers a bounded number', () => {
    const { canaries, pass, send } = makeCanaries();
    for (let count = 0; count < 10_000; count++) {
      canaries.seen(send(), count);
      pass(1_000);
    }
    expect(canaries.lagMs).toBe(10_000_000);
    canaries.committed(10_000);
    expect(canaries.lagMs).toBe(10_000_000);
  });
});
