import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findServer, targetServer } from '../../servers/start.ts';
import { differenceLines, startPair, type VerifyPair, verifyPair } from './verify-pair.ts';

/** More than is read at once, so that such a list is gone through page by page. */
const LONG = 60_000;
const RING = 15_000;

/** Each is moved on all the time, by a command that leaves its length as it is. */
const LISTS = {
  ring: { length: RING, move: [['RPOPLPUSH', 'ring', 'ring']] },
  'ring:back': { length: RING, move: [['LMOVE', 'ring:back', 'ring:back', 'LEFT', 'RIGHT']] },
  'ring:long': { length: LONG, move: [['RPOPLPUSH', 'ring:long', 'ring:long']] },
  queue: {
    length: LONG,
    move: [
      ['RPUSH', 'queue', 'job %'],
      ['LPOP', 'queue'],
    ],
  },
  log: {
    length: 3000,
    move: [
      ['LPUSH', 'log', 'line %'],
      ['LTRIM', 'log', '0', '2999'],
    ],
  },
  /** Of few different elements in an order that repeats itself, so that any part of it looks like any other. */
  bits: { length: 5000, move: [['RPOPLPUSH', 'bits', 'bits']] },
} as const;

let pair: VerifyPair;

beforeAll(async () => {
  pair = await startPair(await findServer({ kind: 'redis', version: '7.0' }), await targetServer());
  const source = pair.source.client();
  await source.config('SET', 'repl-diskless-sync-delay', '0');
  const target = pair.target.client();
  await target.config('SET', 'replica-read-only', 'no');
  await target.call('REPLICAOF', pair.source.host, String(pair.source.port));
  while (!(await target.info('replication')).includes('master_link_status:up')) await target.ping();
});

afterAll(() => pair[Symbol.asyncDispose]());

/** Both sides alike again. */
beforeEach(async () => {
  const source = pair.source.client();
  for (const key of Object.keys(LISTS)) await fill(source, key as keyof typeof LISTS);
  await source.set('filled', String(Date.now()));
  while ((await pair.target.client().get('filled')) !== (await source.get('filled'))) await source.ping();
});

describe('lists that move all the time', () => {
  it('are proven equal, in pages too', async () => {
    await using _ = startMoving(pair.source.client());
    const report = await verifyPair(pair);
    expect(differenceLines(report)).toEqual([]);
    expect(report.skipped).toEqual([]);
  });

  it.each([
    ['ring', 10_000],
    ['ring:back', 14_000],
    ['ring:long', 40_000],
    ['queue', 59_000],
    ['bits', 2500],
  ] as const)('one wrong element is found in %s', async (key, index) => {
    await using _ = startMoving(pair.source.client());
    await pair.target.client().lset(key, index, 'wrong');
    const lines = differenceLines(await verifyPair(pair));
    expect(lines).toEqual([expect.stringMatching(new RegExp(`^0 ${key} list value: `))]);
  });

  it('one element too many is found', async () => {
    await using _ = startMoving(pair.source.client());
    const target = pair.target.client();
    await target.linsert('ring', 'BEFORE', (await target.lindex('ring', 12_000)) ?? '', 'one more');
    const lines = differenceLines(await verifyPair(pair));
    expect(lines).toEqual([expect.stringMatching(/^0 ring list value: /)]);
  });
});

async function fill(client: Redis, key: keyof typeof LISTS): Promise<void> {
  const { length } = LISTS[key];
  await client.del(key);
  for (let from = 0; from < length; from += 5000) {
    const elements = Array.from({ length: Math.min(5000, length - from) }, (_, index) =>
      key === 'bits' ? String(((from + index) * 2_654_435_761) % 7 < 3 ? 0 : 1) : `${key} ${from + index}`,
    );
    await client.rpush(key, ...elements);
  }
}

function startMoving(client: Redis): AsyncDisposable {
  let isStopped = false;
  const move = async () => {
    for (let round = 0; !isStopped; round++) {
      const pipeline = client.pipeline();
      for (const { move: commands } of Object.values(LISTS)) {
        for (const [command, ...args] of commands) {
          pipeline.call(command, ...args.map((arg) => arg.replace('%', String(round))));
        }
      }
      for (const [error] of (await pipeline.exec()) ?? []) if (error !== null) throw error;
    }
  };
  const moving = move();
  // Looked at when it is disposed of; a failure before that is not unhandled.
  moving.catch(() => {});
  return {
    [Symbol.asyncDispose]: async () => {
      isStopped = true;
      await moving;
    },
  };
}
