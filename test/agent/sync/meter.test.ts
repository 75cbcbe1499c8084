import { describe, expect, it } from 'vitest';
import { Meter } from '../../../src/agent/sync/meter.ts';
import type { Clock } from '../../../src/core/clock.ts';
import { RateLimit } from '../../../src/core/rate-limit.ts';

const REPLID = 'a'.repeat(40);

function makeMeter(): { meter: Meter; pass: (durationMs: number) => void } {
  let nowMs = 1_000;
  const clock: Clock = { nowMs: () => nowMs, sleep: () => Promise.resolve() };
  return {
    meter: new Meter(clock),
    pass: (durationMs) => {
      nowMs += durationMs;
    },
  };
}

describe('the progress of a sync', () => {
  it('goes by the bytes of the RDB where their number is known', () => {
    const { meter, pass } = makeMeter();
    meter.startCopy({ rdbBytes: 1_000, expectedKeys: 7 });
    pass(2_000);
    meter.copiedBytes = 250;
    meter.copiedKeys = 10;
    expect(meter.progress()).toMatchObject({
      stage: 'copying',
      percent: 25,
      etaMs: 6_000,
      keysPerSecond: 5,
      bytesPerSecond: 125,
    });
  });

  it('goes by the keys that the source counts where it is not', () => {
    const { meter } = makeMeter();
    meter.startCopy({ rdbBytes: undefined, expectedKeys: 40 });
    meter.copiedKeys = 10;
    meter.expectKeys(20);
    expect(meter.progress().percent).toBe(25);
  });

  it('names who is waited for', async () => {
    const { meter, pass } = makeMeter();
    meter.startCopy({ rdbBytes: 1, expectedKeys: 0 });
    const wait = async (side: 'waitForSource' | 'waitForTarget') => {
      let end = () => {};
      const waited = meter[side](
        new Promise<void>((resolve) => {
          end = resolve;
        }),
      );
      pass(900);
      end();
      await waited;
      pass(100);
    };
    await wait('waitForSource');
    expect(meter.progress().bottleneck).toBe('source');
    await wait('waitForTarget');
    expect(meter.progress().bottleneck).toBe('target');
    pass(1_000);
    expect(meter.progress().bottleneck).toBe('host');
  });

  it('is live once the target is close behind the source, with a lag in bytes and time', () => {
    const { meter, pass } = makeMeter();
    meter.startStream({ replid: REPLID, offset: 1_000, db: 0 });
    meter.sourceOffset = 200_000;
    meter.oldestPendingAtMs = 1_000;
    pass(300);
    expect(meter.progress()).toMatchObject({ stage: 'catching-up', lagBytes: 199_000, lagMs: 300 });
    meter.checkpoint = { replid: REPLID, offset: 200_000, db: 0 };
    meter.oldestPendingAtMs = undefined;
    expect(meter.progress()).toMatchObject({ stage: 'live', percent: 100, lagBytes: 0, lagMs: 0 });
  });

  it('never goes back, and is 100 percent only when all is copied', () => {
    const { meter } = makeMeter();
    meter.startCopy({ rdbBytes: undefined, expectedKeys: 10 });
    meter.copiedKeys = 5;
    expect(meter.progress().percent).toBe(50);
    meter.expectKeys(20);
    expect(meter.progress().percent).toBe(50);
    meter.copiedKeys = 30;
    expect(meter.progress().percent).toBeLessThan(100);
    meter.startStream({ replid: REPLID, offset: 1, db: 0 });
    expect(meter.progress().percent).toBe(100);
    meter.stage = 'connecting';
    expect(meter.progress().percent).toBe(100);
  });

  it('has the lag of a canary, unless it is behind by nothing and the canary is not in the stream', () => {
    const { meter, pass } = makeMeter();
    meter.startStream({ replid: REPLID, offset: 1_000, db: 0 });
    const { text, sentAtMs } = meter.canaries.message();
    meter.canaries.expect(sentAtMs);
    meter.sourceOffset = 2_000;
    pass(400);
    expect(meter.progress()).toMatchObject({ lagBytes: 1_000, lagMs: 400 });
    meter.checkpoint = { replid: REPLID, offset: 2_000, db: 0 };
    expect(meter.progress()).toMatchObject({ lagBytes: 0, lagMs: 0 });
    meter.canaries.seen(text, 2_000);
    meter.checkpoint = { replid: REPLID, offset: 2_000, db: 0 };
    expect(meter.progress()).toMatchObject({ lagBytes: 0, lagMs: 400 });
  });

  it('names the throttle where a limit makes the wait, and the side where it does not', async () => {
    let nowMs = 0;
    const clock: Clock = {
      nowMs: () => nowMs,
      sleep: async (durationMs) => {
        await Promise.resolve();
        nowMs += durationMs;
      },
    };
    const source = new RateLimit({ perSecond: 1_000_000, clock });
    const meter = new Meter(clock, { source });
    meter.startCopy({ rdbBytes: 10_000_000, expectedKeys: 0 });
    source.take(1_100_000);
    await meter.waitForSource(source.ready(new AbortController().signal));
    expect(meter.progress()).toMatchObject({
      bottleneck: 'throttle',
      notes: [expect.stringMatching(/at most .*B\/s/)],
    });
    await meter.waitForSource(clock.sleep(1000, new AbortController().signal));
    expect(meter.progress().bottleneck).toBe('source');
  });

  it('says when it will have caught up, as long as it does', () => {
    const { meter, pass } = makeMeter();
    meter.startStream({ replid: REPLID, offset: 1_000, db: 0 });
    meter.sourceOffset = 10_001_000;
    pass(1_000);
    expect(meter.progress()).not.toHaveProperty('etaMs');
    meter.checkpoint = { replid: REPLID, offset: 2_001_000, db: 0 };
    pass(1_000);
    expect(meter.progress()).toMatchObject({ stage: 'catching-up', lagBytes: 8_000_000, etaMs: 4_000 });
    meter.sourceOffset += 1_000_000;
    pass(1_000);
    expect(meter.progress()).not.toHaveProperty('etaMs');
  });

  it('keeps a bounded number of notes', () => {
    const { meter } = makeMeter();
    for (let count = 0; count < 100; count++) meter.note(`${count} ${'x'.repeat(400)}`);
    const { notes } = meter.progress();
    expect(notes).toHaveLength(10);
    expect(notes.at(-1)).toMatch(/^99 /);
    expect(Math.max(...notes.map((note) => note.length))).toBe(300);
  });
});
