import type { Redis } from 'ioredis';
import { expect, it, vi } from 'vitest';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { expectEqual } from './fault-run.ts';
import { startSync } from './sync-run.ts';

vi.setConfig({ testTimeout: 90_000 });

const VALUE = 'x'.repeat(3_000);
const KEYS_UNDER_EVICTION = 40_000;
const EVICTED_MIN = 2_000;
const STORM_KEYS = 20_000;
const RENEWED = 500;

it('takes away what the source evicts under load, in the copy and in the stream', async () => {
  await using source = await startSource({
    'repl-backlog-size': '4mb',
    maxmemory: '40mb',
    'maxmemory-policy': 'allkeys-lru',
    'rdb-key-save-delay': '100',
  });
  await using target = await startServer({ server: await targetServer() });
  const client = source.client();
  await untilEvicted(client, EVICTED_MIN);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'copying');
  await untilEvicted(client, EVICTED_MIN);
  await sync.until(({ stage }) => stage === 'live');
  await untilEvicted(client, EVICTED_MIN);
  await client.config('SET', 'maxmemory', '0');
  await sync.caughtUp();
  await expectEqual(source, target);
});

it('takes away what expires within a second, in the copy and in the stream, and keeps what is renewed', async () => {
  await using source = await startSource({ 'rdb-key-save-delay': '100' });
  await using target = await startServer({ server: await targetServer() });
  const client = source.client();
  await writeStorm(client, 'copied', 2_000);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'copying');
  await renew(client, 'copied');
  await sync.until(({ stage }) => stage === 'live');
  await writeStorm(client, 'streamed', 2_000);
  await renew(client, 'streamed');
  await vi.waitFor(async () => expect(await client.dbsize()).toBe(2 * RENEWED), { timeout: 60_000 });
  await sync.caughtUp();
  // With the claim, and nothing that only a SCAN would not show.
  expect(await target.client().dbsize()).toBe(2 * RENEWED + 1);
  await expectEqual(source, target);
});

/** Writes until the source has evicted so many more. */
async function untilEvicted(client: Redis, count: number): Promise<void> {
  const goal = (await evictedBy(client)) + count;
  for (let key = 0; (await evictedBy(client)) < goal; ) {
    const pipeline = client.pipeline();
    for (let index = 0; index < 200; index++) {
      key = (key + 7919) % KEYS_UNDER_EVICTION;
      if (index % 10 === 0) pipeline.hset(`hash:${key}`, 'a', VALUE, `f${index}`, '1');
      else if (index % 10 === 1) pipeline.append(`string:${key}`, VALUE);
      else pipeline.set(`string:${key}`, VALUE);
    }
    // Some are refused while the source makes room.
    await pipeline.exec();
  }
}

async function evictedBy(client: Redis): Promise<number> {
  return Number(/^evicted_keys:(\d+)/m.exec(await client.info('stats'))?.[1]);
}

/** All expire within the second after so many milliseconds. */
async function writeStorm(client: Redis, prefix: string, afterMs: number): Promise<void> {
  const pipeline = client.pipeline();
  for (let key = 0; key < STORM_KEYS; key++)
    pipeline.set(`${prefix}:${key}`, '1', 'PX', afterMs + (key % 1_000));
  await pipeline.exec();
}

async function renew(client: Redis, prefix: string): Promise<void> {
  const pipeline = client.pipeline();
  for (let key = 0; key < RENEWED; key++) {
    const name = `${prefix}:${STORM_KEYS - 1 - key}`;
    if (key % 2 === 0) pipeline.persist(name);
    else pipeline.pexpire(name, 600_000);
    // On a slow machine it may be gone by now, and is then written anew.
    pipeline.set(name, '2', 'KEEPTTL');
  }
  await pipeline.exec();
}

async function startSource(config: Record<string, string>): Promise<RunningServer> {
  return startServer({
    server: await sourceServer(),
    config: { 'repl-diskless-sync-delay': '0', 'repl-backlog-size': '64mb', ...config },
  });
}
