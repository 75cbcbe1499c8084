import { expect, it, vi } from 'vitest';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { startSync } from '../sync/sync-run.ts';
import { expectSame } from './expect-same.ts';

const KEYS = 2_000;

it('copies every type with its expiry, follows what changes, and leaves nothing of its own at the source', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await writeEveryType(source);
  await using sync = await startSync({ source, target, route: 'scan' });
  const { percent, keys } = await sync.until(({ stage }) => stage === 'live');
  expect({ percent, isCounted: keys >= KEYS }).toEqual({ percent: 100, isCounted: true });
  await sync.caughtUp();
  await expectSame(source, target);
  await changeEveryType(source);
  await sync.caughtUp();
  await expectSame(source, target);
  expect(await source.client().exists('__valkey-migrate__')).toBe(0);
  expect(sync.log.join()).not.toContain('lost keys without an event');
  await sync.stop();
});

async function startSource(): Promise<RunningServer> {
  const config = { 'notify-keyspace-events': 'EA' };
  return startServer({ server: await sourceServer(), config });
}

async function writeEveryType(source: RunningServer): Promise<void> {
  for (const db of [0, 5]) {
    const pipeline = source.client(db).pipeline();
    for (let index = 0; index < KEYS / 4; index++) {
      pipeline.set(`string:${index}`, `value ${index}`);
      pipeline.set(`expiring:${index}`, 'x'.repeat(index), 'PX', 3_600_000 + index);
      pipeline.rpush(`list:${index}`, 'a', 'b', index);
      pipeline.hset(`hash:${index}`, 'f', index, 'g', 'x'.repeat(100));
      pipeline.sadd(`set:${index % 50}`, `member ${index}`);
      pipeline.zadd(`zset:${index % 50}`, index / 3, `member ${index}`);
      pipeline.xadd(`stream:${index % 50}`, '*', 'f', index);
    }
    pipeline.set('empty', '');
    pipeline.set('large string', Buffer.alloc(3_000_000, 'large '));
    pipeline.rpush(
      'large list',
      ...Array.from({ length: 30_000 }, (_, index) => `element ${index}`.repeat(5)),
    );
    pipeline.sadd('large set', ...Array.from({ length: 30_000 }, (_, index) => `element ${index}`.repeat(5)));
    const pairs = Array.from({ length: 30_000 }, (_, index) => [`field ${index}`.repeat(3), index]).flat();
    pipeline.hset('large hash', ...pairs);
    const scores = Array.from({ length: 30_000 }, (_, index) => [
      index / 7,
      `member ${index}`.repeat(3),
    ]).flat();
    pipeline.zadd('large zset', ...scores);
    pipeline.expire('large zset', 7200);
    await pipeline.exec();
  }
}

async function changeEveryType(source: RunningServer): Promise<void> {
  const client = source.client();
  const pipeline = client.pipeline();
  for (let index = 0; index < 200; index++) {
    pipeline.append(`string:${index}`, ' and more');
    pipeline.persist(`expiring:${index}`);
    pipeline.pexpire(`expiring:${index + 200}`, 1);
    pipeline.lpop(`list:${index}`, 3);
    pipeline.hincrby(`hash:${index}`, 'f', 1);
    pipeline.rename(`string:${index + 200}`, `renamed:${index}`);
    pipeline.move(`hash:${index + 200}`, 7);
    pipeline.del(`list:${index + 200}`);
    pipeline.set(`new:${index}`, index);
  }
  pipeline.rename('large hash', 'large hash, renamed');
  pipeline.sadd('large set', 'one more');
  pipeline.del('large list');
  pipeline.zunionstore('zset:stored', 2, 'zset:1', 'zset:2');
  await pipeline.exec();
  // Expired keys have an event when they are found.
  await vi.waitFor(async () => expect(await client.exists('expiring:200')).toBe(0));
}
