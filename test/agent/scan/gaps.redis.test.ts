import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { type SyncRun, startSync } from '../sync/sync-run.ts';
import { expectSame } from './expect-same.ts';

const KEYS = 20_000;

it('goes over everything again when its subscription is killed, beside writers', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  await writeKeys(source.client(), KEYS);
  await using sync = await startSync({ source, target, route: 'scan' });
  await sync.until(({ stage }) => stage === 'live');
  const writer = startWriter(source);
  const client = source.client();
  for (let round = 0; round < 3; round++) {
    await sync.until(({ stage }) => stage === 'live');
    await client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    // Nobody hears of these.
    await client.del('key:1', 'key:2');
    await client.set('key:3', `round ${round}`);
    await goingOver(sync, round + 1);
  }
  await writer.stop();
  await sync.until(({ stage }) => stage === 'live');
  await sync.caughtUp();
  await expectSame(source, target);
  const report = await sync.stop();
  expect(report.reconnects).toBeGreaterThanOrEqual(3);
});

it('goes on when connections to either side are lost, which may have taken what was on its way along', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  await writeKeys(source.client(), KEYS);
  await using sync = await startSync({ source, target, route: 'scan' });
  await sync.until(({ stage }) => stage === 'live');
  const writer = startWriter(source);
  for (const [round, server] of [source, target, source, target].entries()) {
    await sync.until(({ stage }) => stage === 'live');
    await server.client().call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await goingOver(sync, round + 1);
  }
  await sync.until(({ stage }) => stage === 'live');
  await writer.stop();
  await sync.caughtUp();
  await expectSame(source, target);
});

it('scans on from its cursor when only the connection of the scan is lost, and has what changed meanwhile', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  const client = source.client();
  await writeKeys(client, KEYS);
  await using sync = await startSync({ source, target, route: 'scan', sourceBytesPerSecondMax: 300_000 });
  for (let kills = 1; kills <= 3; kills++) {
    const { keys } = await sync.until(
      ({ stage, keys: scanned }) => stage === 'copying' && scanned > kills * 2_000,
    );
    expect(keys).toBeLessThan(KEYS);
    const clients = String(await client.client('LIST')).split('\n');
    const [, id] = /id=(\d+) /.exec(clients.find((line) => / cmd=scan /.test(line)) ?? '') ?? [];
    await client.call('CLIENT', 'KILL', 'ID', id ?? '');
    for (let index = 0; index < 500; index++) await client.set(`key:${index}`, `after ${kills}`);
    await client.del(`key:${kills}`, `key:${KEYS - kills}`);
    await sync.until(() => resumed(sync) === kills);
  }
  await sync.until(({ stage }) => stage === 'live');
  await sync.caughtUp();
  await expectSame(source, target);
  const report = await sync.stop();
  // One pass: nothing was gone over again.
  expect(report).toMatchObject({ reconnects: 3 });
  expect(report.reconciles).toBeUndefined();
});

it('scans anew when the source is another process than the one whose cursor it has', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  await writeKeys(source.client(), KEYS);
  await source.client().save();
  await using sync = await startSync({ source, target, route: 'scan', sourceBytesPerSecondMax: 1_000_000 });
  await sync.until(({ stage, keys }) => stage === 'copying' && keys > 2_000);
  await source.restart('SIGKILL');
  await goingOver(sync, 1);
  await sync.until(({ stage }) => stage === 'live');
  await sync.caughtUp();
  await expectSame(source, target);
  expect(resumed(sync)).toBe(0);
});

it('goes over everything again when the source has cut it off for an overflowing buffer', async () => {
  await using pair = await startPair({ 'client-output-buffer-limit': 'pubsub 64kb 0 0' });
  const { source, target } = pair;
  await writeKeys(source.client(), KEYS);
  await using sync = await startSync({ source, target, route: 'scan' });
  await sync.until(({ stage }) => stage === 'live');
  // One command, so that all its events come up before any of them is sent.
  const pairs = Array.from({ length: 5_000 }, (_, index) => [`burst:${index}`, index]).flat();
  await source.client().mset(...pairs);
  await goingOver(sync, 1);
  await sync.until(({ stage }) => stage === 'live');
  await sync.caughtUp();
  await expectSame(source, target);
  expect(await target.client().exists('burst:4999')).toBe(1);
  expect(sync.log.join()).toContain('source-unreachable');
});

it('finds FLUSHDB, FLUSHALL and SWAPDB out, also in the middle of the copy', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  const client = source.client();
  await writeKeys(client, KEYS);
  await writeKeys(source.client(5), 500);
  await using sync = await startSync({ source, target, route: 'scan', sourceBytesPerSecondMax: 1_000_000 });
  await sync.until(({ stage, keys }) => stage === 'copying' && keys > 1_000);
  await client.flushdb();
  await client.set('after', 'the flush');
  await sync.until(({ stage }) => stage === 'live');
  await sync.caughtUp();
  await expectSame(source, target);
  await client.call('SWAPDB', '0', '5');
  await sync.caughtUp();
  await expectSame(source, target);
  await client.flushall();
  await sync.caughtUp();
  expect(await target.client().dbsize()).toBe(1);
  await expectSame(source, target);
  expect(sync.log.join()).toMatch(/FLUSHDB was run.*SWAPDB was run.*FLUSHALL was run/);
});

it('keeps more changed keys than its memory takes on disk, and loses none', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  await writeKeys(source.client(), KEYS);
  await using sync = await startSync({ source, target, route: 'scan', targetCommandsPerSecondMax: 20_000 });
  await sync.until(({ stage }) => stage === 'live');
  for (let round = 0; round < 3; round++) {
    await writeKeys(source.client(), KEYS);
    await writeKeys(source.client(4), KEYS);
  }
  await sync.caughtUp();
  await expectSame(source, target);
});

it('started again after -9 removes what the source has no more', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-scan-'));
  try {
    await writeKeys(source.client(), 2_000);
    {
      await using first = await startSync({ source, target, route: 'scan', directory });
      await first.until(({ stage }) => stage === 'live');
    }
    await source.client().del('key:1', 'key:2');
    await source.client(8).set('new', '1');
    await target.client(11).set('foreign', '1');
    await using second = await startSync({ source, target, route: 'scan', directory });
    const { notes } = await second.until(({ stage }) => stage === 'live');
    expect(notes.join()).toContain('everything is written over');
    await second.caughtUp();
    await expectSame(source, target);
    expect((await second.stop()).removedKeys).toBe(3);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

it('ends when the notifications are switched off, and when the target is emptied by somebody', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  await writeKeys(source.client(), 100);
  {
    await using sync = await startSync({ source, target, route: 'scan' });
    await sync.until(({ stage }) => stage === 'live');
    await source.client().config('SET', 'notify-keyspace-events', 'E$');
    await expect(sync.ended).rejects.toMatchObject({ code: 'notifications-missing' });
    await source.client().config('SET', 'notify-keyspace-events', 'EA');
  }
  await using sync = await startSync({ source, target, route: 'scan' });
  await sync.until(({ stage }) => stage === 'live');
  await target.client().flushall();
  await expect(sync.ended).rejects.toMatchObject({ code: 'claim-lost' });
});

type Config = Record<string, string | readonly string[]>;

async function startPair(
  config: Config = {},
): Promise<AsyncDisposable & { source: RunningServer; target: RunningServer }> {
  const server = await sourceServer();
  const source = await startServer({ server, config: { 'notify-keyspace-events': 'EA', ...config } });
  const target = await startServer({ server: await targetServer() });
  const dispose = async () => {
    await source[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
  };
  return { source, target, [Symbol.asyncDispose]: dispose };
}

async function writeKeys(client: Redis, count: number): Promise<void> {
  const pipeline = client.pipeline();
  for (let index = 0; index < count; index++) pipeline.set(`key:${index}`, `${Math.random()}`.repeat(5));
  await pipeline.exec();
}

function startWriter(source: RunningServer): { stop(): Promise<void> } {
  const client = source.client();
  let isStopping = false;
  const writing = (async () => {
    for (let round = 0; !isStopping; round++) {
      const pipeline = client.pipeline();
      for (let index = 0; index < 50; index++) {
        const key = `live:${(round * 50 + index) % 3_000}`;
        if (index % 10 === 0) pipeline.del(key);
        else pipeline.hset(key, 'round', round, `f${index}`, 'x'.repeat(round % 90));
      }
      await pipeline.exec();
    }
  })();
  return {
    stop: async () => {
      isStopping = true;
      await writing;
    },
  };
}

/** How often a scan went on from its cursor. */
function resumed(sync: SyncRun): number {
  return sync.log.filter((line) => line.startsWith('the scan goes on where it was')).length;
}

/** By the log: on a busy machine the stage may be over before anybody looks. */
async function goingOver(sync: SyncRun, times: number): Promise<void> {
  const happened = () =>
    sync.log.filter((line) => /^(reconnecting after|going over everything again)/.test(line)).length;
  await sync.until(() => happened() >= times);
}
