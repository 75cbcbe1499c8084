import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import type { Clock } from '../../src/core/clock.ts';
import { systemClock } from '../../src/core/clock.ts';
import { backoffDelaysMs, retry } from '../../src/core/retry.ts';
import { Secret } from '../../src/core/secret.ts';
import { formatBytes, formatCount, formatDuration } from '../../src/core/units.ts';
import { VERSION } from '../../src/core/version.ts';

const { signal } = new AbortController();

/** A clock on which every pause is over at once, and which remembers them. */
function recordingClock(): Clock & { slept: number[] } {
  const slept: number[] = [];
  return {
    slept,
    nowMs: () => slept.reduce((sum, ms) => sum + ms, 0),
    sleep: async (durationMs) => {
      slept.push(durationMs);
    },
  };
}

describe('retry', () => {
  it('pauses as the policy says and returns the first success', async () => {
    const clock = recordingClock();
    let attempts = 0;
    const attempt = async () => {
      attempts += 1;
      if (attempts < 3) throw new Error('not yet');
      return attempts;
    };
    const policy = {
      delaysMs: backoffDelaysMs({ firstMs: 10, maximumMs: 30, count: 4 }),
      shouldRetry: () => true,
    };
    expect(await retry(attempt, { policy, clock, signal })).toBe(3);
    expect(clock.slept).toEqual([10, 20]);
    expect(policy.delaysMs).toEqual([10, 20, 30, 30]);
  });

  it('throws the last error when the pauses are used up, and the first one that is not worth it', async () => {
    const clock = recordingClock();
    const attempt = () => Promise.reject(new Error('always'));
    const policy = { delaysMs: [1, 1], shouldRetry: () => true };
    await expect(retry(attempt, { policy, clock, signal })).rejects.toThrow('always');
    expect(clock.slept).toHaveLength(2);
    const never = { delaysMs: [1, 1], shouldRetry: () => false };
    await expect(retry(attempt, { policy: never, clock, signal })).rejects.toThrow('always');
    expect(clock.slept).toHaveLength(2);
  });
});

describe('systemClock', () => {
  it('ends a sleep with the reason of the signal, before or while it sleeps', async () => {
    const controller = new AbortController();
    const sleeping = systemClock.sleep(60_000, controller.signal);
    controller.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    await expect(systemClock.sleep(60_000, controller.signal)).rejects.toThrow('enough');
  });
});

describe('Secret', () => {
  it('shows itself nowhere but where it is asked for', () => {
    const secret = new Secret('hunter2');
    const shown = [`${secret}`, JSON.stringify({ secret }), inspect({ secret }), String(secret)];
    expect(shown.join()).not.toContain('hunter2');
    expect(secret.reveal()).toBe('hunter2');
  });
});

describe('units', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [241_172_480, '230 MiB'],
    [1024 ** 4, '1.0 TiB'],
  ])('shows %d bytes as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it.each([
    [340, '340 ms'],
    [4200, '4.2 s'],
    [59_940, '59.9 s'],
    [59_960, '1 min 0 s'],
    [200_000, '3 min 20 s'],
    [7_500_000, '2 h 5 min'],
  ])('shows %d milliseconds as %s', (durationMs, text) => {
    expect(formatDuration(durationMs)).toBe(text);
  });

  it('groups thousands', () => {
    expect(formatCount(1_234_567)).toBe('1,234,567');
  });
});

describe('VERSION', () => {
  it('is the version of the package', () => {
    expect(VERSION).toBe(packageJson.version);
  });
});
