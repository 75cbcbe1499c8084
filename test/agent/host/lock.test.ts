import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withLock } from '../../../src/agent/host/lock.ts';
import { ownIdentity } from '../../../src/agent/job/process-identity.ts';
import { systemClock } from '../../../src/core/clock.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lock-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const waiting = { clock: systemClock, signal: new AbortController().signal };

describe('a lock', () => {
  it('lets one at a time through, and is gone afterwards', async () => {
    let inside = 0;
    let most = 0;
    const work = () =>
      withLock(join(directory, 'lock'), waiting, async () => {
        inside += 1;
        most = Math.max(most, inside);
        await systemClock.sleep(5, waiting.signal);
        inside -= 1;
      });
    await Promise.all([work(), work(), work()]);
    expect(most).toBe(1);
    expect(await readdir(directory)).toEqual([]);
  });

  it('is released when the work fails', async () => {
    const failing = withLock(join(directory, 'lock'), waiting, () => Promise.reject(new Error('failed')));
    await expect(failing).rejects.toThrow('failed');
    expect(await withLock(join(directory, 'lock'), waiting, async () => 'next')).toBe('next');
  });

  it.each([
    ['that is gone', { ...ownIdentity(), startTicks: '1' }],
    ['from before a reboot', { ...ownIdentity(), bootId: 'another' }],
  ])('is taken over from a holder %s', async (_, holder) => {
    await writeFile(join(directory, 'lock'), JSON.stringify(holder));
    expect(await withLock(join(directory, 'lock'), waiting, async () => 'taken')).toBe('taken');
  });

  it('is taken over when it is torn and old, and only then', async () => {
    await writeFile(join(directory, 'lock'), '');
    let nowMs = Date.now();
    const clock = {
      nowMs: () => nowMs,
      sleep: async () => {
        nowMs += 1000;
      },
    };
    const foundAtMs = nowMs;
    const taken = await withLock(join(directory, 'lock'), { ...waiting, clock }, async () => nowMs);
    expect(taken - foundAtMs).toBeGreaterThan(3000);
    expect(await readdir(directory)).toEqual([]);
  });

  it('is not taken from a holder that lives', async () => {
    await writeFile(join(directory, 'lock'), JSON.stringify(ownIdentity()));
    let nowMs = 0;
    const clock = {
      nowMs: () => nowMs,
      sleep: async (durationMs: number) => {
        nowMs += durationMs;
      },
    };
    await expect(
      withLock(join(directory, 'lock'), { ...waiting, clock }, async () => 'taken'),
    ).rejects.toMatchObject({
      code: 'command-timeout',
    });
  });
});
