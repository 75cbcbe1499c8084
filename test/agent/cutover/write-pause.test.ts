import { describe, expect, it } from 'vitest';
import {
  startWritePause,
  untilAborted,
  type WritePauseMeasures,
} from '../../../src/agent/cutover/write-pause.ts';
import type { Clock } from '../../../src/core/clock.ts';

/** A clock that stands still until its one sleeper is woken. */
function heldClock() {
  let nowMs = 0;
  let wake = () => {};
  const clock: Clock = {
    nowMs: () => nowMs,
    sleep: (durationMs, signal) =>
      new Promise((resolve, reject) => {
        wake = () => {
          nowMs += durationMs;
          resolve();
        };
        signal.addEventListener('abort', () => reject(signal.reason));
      }),
  };
  return { clock, wake: () => wake() };
}

const never = new AbortController().signal;

function start(measures: WritePauseMeasures, signal = never) {
  const { clock, wake } = heldClock();
  const pause = startWritePause({ maxWritePauseMs: 30_000, measures, clock, signal });
  return { pause, wake };
}

const aborted = (signal: AbortSignal) =>
  new Promise<unknown>((resolve) => signal.addEventListener('abort', () => resolve(signal.reason)));

describe('the budget of a write pause', () => {
  it.each([
    [{ lagBytes: 2048 }, 'the drain was not done after 30.0 s, with 2.0 KiB of lag left'],
    [{}, 'the drain was not done after 30.0 s, with an unknown lag left'],
    [{ lagBytes: 0, drainedAtMs: 400 }, 'the drain took 400 ms, and the proof was not done after 29.6 s'],
  ])('says what was measured when it is used up: %j', async (measures, said) => {
    const { pause, wake } = start({ fence: '', fencedAtMs: 0, ...measures });
    const reason = aborted(pause.signal);
    wake();
    expect(await reason).toMatchObject({
      code: 'write-pause-exceeded',
      message: `Writes may be fenced for 30.0 s: ${said}.`,
    });
  });

  it('ends with the job, for its reason', async () => {
    const job = new AbortController();
    const { pause } = start({ fence: '', fencedAtMs: 0 }, job.signal);
    job.abort('stopped');
    expect(pause.signal.reason).toBe('stopped');
  });

  it('does not end what is done in time', async () => {
    const { pause, wake } = start({ fence: '', fencedAtMs: 0 });
    pause[Symbol.dispose]();
    wake();
    await Promise.resolve();
    expect(pause.signal.aborted).toBe(false);
  });
});

describe('work until an abort', () => {
  it('is the work when that ends first', async () => {
    expect(await untilAborted(Promise.resolve('done'), never)).toBe('done');
    await expect(untilAborted(Promise.reject(new Error('broken')), never)).rejects.toThrow('broken');
  });

  it('is left when the signal is aborted, before or after', async () => {
    const endless = new Promise<never>(() => {});
    const controller = new AbortController();
    const waiting = untilAborted(endless, controller.signal);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(untilAborted(endless, controller.signal)).rejects.toThrow('enough');
  });
});
