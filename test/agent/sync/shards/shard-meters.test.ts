import { expect, it } from 'vitest';
import { Meter } from '../../../../src/agent/sync/meter.ts';
import { CopyTurn, CopyTurns } from '../../../../src/agent/sync/shards/copy-turn.ts';
import { ShardMeters } from '../../../../src/agent/sync/shards/shard-meters.ts';
import { progressSchema } from '../../../../src/contract/job-state.ts';
import { HASH_FIELD_TTL } from '../../../../src/contract/skipped.ts';
import { systemClock } from '../../../../src/core/clock.ts';

const REPLID = 'r'.repeat(40);

function metersOf(count: number) {
  const shards = Array.from({ length: count }, (_, index) => ({
    slots: String(index),
    meter: new Meter(systemClock),
  }));
  const meters = new ShardMeters();
  meters.show(shards);
  return { meters, all: shards.map(({ meter }) => meter) };
}

function stream(meter: Meter, lagBytes: number): void {
  meter.startStream({ replid: REPLID, offset: 100, db: 0 });
  meter.sourceOffset = 100 + lagBytes;
}

it('is live when every shard is, and behind by what all of them are', () => {
  const { meters, all } = metersOf(3);
  const [first, second, third] = all;
  if (first === undefined || second === undefined || third === undefined) throw new Error('too few');
  expect(meters.progress()).toMatchObject({ stage: 'connecting', percent: 0 });
  stream(first, 10);
  second.startCopy({ rdbBytes: 1_000, expectedKeys: 10 });
  second.copiedKeys = 4;
  third.stage = 'waiting';
  const copying = meters.progress();
  expect(copying).toMatchObject({ stage: 'copying', keys: 4 });
  expect(copying.lagBytes).toBeUndefined();
  stream(second, 20);
  expect(meters.progress().stage).toBe('waiting');
  stream(third, 200_000);
  expect(meters.progress()).toMatchObject({ stage: 'catching-up', lagBytes: 200_030, percent: 100 });
  expect(meters.areCaughtUp).toBe(false);
  third.checkpoint = { replid: REPLID, offset: 200_100, db: 0 };
  expect(meters.progress()).toMatchObject({ stage: 'live', lagBytes: 30 });
  expect(meters.areCaughtUp).toBe(true);
});

it('adds up what was left out, and stays within what a progress may hold', () => {
  const { meters, all } = metersOf(32);
  for (const [index, meter] of all.entries()) {
    const row = (reason: string) => ({ what: 'keys' as const, reason, count: 2, sample: ['a', 'b', 'c'] });
    const agreed = index === 31 ? [row(HASH_FIELD_TTL)] : [];
    const rows = [row('module vectorset'), row(`module ${index}`), ...agreed];
    meter.skips = { brief: () => rows, report: () => rows };
    for (let note = 0; note < 12; note++) meter.note('x'.repeat(400));
  }
  for (let note = 0; note < 12; note++) meters.note('of the whole sync');
  const progress = progressSchema.parse(meters.progress());
  expect(progress.skipped?.[0]).toMatchObject({ reason: 'module vectorset', count: 64 });
  expect(progress.skipped?.filter(({ reason }) => reason === HASH_FIELD_TTL)).toMatchObject([{ count: 2 }]);
  const total = (rows: readonly { count: number }[] = []) => rows.reduce((sum, { count }) => sum + count, 0);
  expect(total(progress.skipped)).toBe(130);
  expect(total(meters.report().skipped)).toBe(130);
});

it('gives one shard after the other its turn, and none to one that is stopped meanwhile', async () => {
  const turns = new CopyTurns();
  const order: string[] = [];
  const take = async (name: string, signal = new AbortController().signal) => {
    const turn = new CopyTurn(turns);
    await turn.take(signal);
    await turn.take(signal);
    order.push(name);
    return turn;
  };
  const first = await take('first');
  const stopping = new AbortController();
  const stopped = take('stopped', stopping.signal);
  const second = take('second');
  stopping.abort(new Error('asked to stop'));
  await expect(stopped).rejects.toThrow('asked to stop');
  expect(order).toEqual(['first']);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
  (await take('third'))[Symbol.dispose]();
  expect(order).toEqual(['first', 'second', 'third']);
});
