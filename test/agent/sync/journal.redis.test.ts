import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { expect, it, vi } from 'vitest';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { countersOf, expectEqual, fullSyncsOf, kill, logged, startChild, startWriters } from './fault-run.ts';
import { startProxy } from './switching-proxy.ts';
import { type ServerPlace, startSync } from './sync-run.ts';

/** What the source still gives to a replica that comes back. */
const BACKLOG = '1mb';
const FILLER = Buffer.alloc(50_000, 'incompressible?'.repeat(7));
const ROUNDS = 30;
/** Nothing listens here. */
const NO_PORT = 1;

it('goes on from its journal when the target fails over, however much the source has written meanwhile', async () => {
  await using source = await startSource();
  await using first = await startServer({ server: await targetServer() });
  await using second = await startServer({ server: await targetServer() });
  await using between = await startProxy(first.port);
  await second.client().call('REPLICAOF', between.host, String(between.port));
  await vi.waitUntil(async () => /master_link_status:up/.test(await second.client().info()), {
    timeout: 30_000,
  });
  await using proxy = await startProxy(first.port);
  let current = first;
  const target: ServerPlace = { ...proxy, client: (db) => current.client(db) };
  const writers = startWriters(source);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS);
  // What the first has committed from here on is lost with it.
  between.pointTo(NO_PORT);
  await writers.rounds(ROUNDS);
  await first.stop('SIGKILL');
  await fill(source.client(), 200);
  await writers.rounds(ROUNDS);
  await second.client().call('REPLICAOF', 'NO', 'ONE');
  current = second;
  proxy.pointTo(second.port);
  await logged(sync, 'went on from the journal', 1);
  await writers.rounds(ROUNDS);
  const acknowledged = await writers.stop();
  await sync.caughtUp();
  expect(await countersOf(second)).toEqual(acknowledged);
  await expectEqual(source, second);
  expect(await fullSyncsOf(source)).toBe(1);
});

it('goes on from its journal when the target is killed and comes back', async () => {
  await using source = await startSource();
  const config = { appendonly: 'yes', appendfsync: 'no' };
  await using target = await startServer({ server: await targetServer(), config });
  const writers = startWriters(source);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  for (let death = 1; death <= 3; death++) {
    await writers.rounds(ROUNDS);
    const restarted = target.restart('SIGKILL');
    await fill(source.client(), 100);
    await restarted;
    await logged(sync, 'went on from the journal', death);
  }
  const acknowledged = await writers.stop();
  await sync.caughtUp();
  expect(await countersOf(target)).toEqual(acknowledged);
  await expectEqual(source, target);
  expect(await fullSyncsOf(source)).toBe(1);
});

it('asks the source only for what it has not received, while the target is megabytes behind', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await using proxy = await startProxy(source.port);
  const writers = startWriters(source);
  await using sync = await startSync({ source: { ...proxy, client: source.client }, target });
  await sync.until(({ stage }) => stage === 'live');
  process.kill(target.pid, 'SIGSTOP');
  try {
    for (let cut = 1; cut <= 3; cut++) {
      await fill(source.client(), 200);
      await writers.rounds(ROUNDS);
      await sync.until(({ lagBytes }) => (lagBytes ?? 0) > cut * 200 * FILLER.length);
      proxy.cut();
      await logged(sync, 'resumed at offset', cut);
    }
  } finally {
    process.kill(target.pid, 'SIGCONT');
  }
  const acknowledged = await writers.stop();
  await sync.caughtUp();
  expect(await countersOf(target)).toEqual(acknowledged);
  await expectEqual(source, target);
  expect(await fullSyncsOf(source)).toBe(1);
  expect((await sync.stop()).reconnects).toBe(3);
});

it('finishes a copy whose RDB had come whole before the source was lost', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await using proxy = await startProxy(source.port);
  await using folder = await makeFolder();
  const { directory } = folder;
  const client = source.client(2);
  // More than the target's connection and the memory of the journal take.
  for (let key = 0; key < 900; key++) await client.set(`random:${key}`, randomBytes(50_000));
  const thaw = () => process.kill(target.pid, 'SIGCONT');
  // Microseconds: long enough for the target to be frozen near the beginning.
  await source.client().config('SET', 'rdb-key-save-delay', '4000');
  await using sync = await startSync({ source: { ...proxy, client: source.client }, target, directory });
  await sync.until(({ stage }) => stage === 'copying');
  process.kill(target.pid, 'SIGSTOP');
  try {
    await vi.waitUntil(async () => /state=online/.test(await source.client().info('replication')), {
      timeout: 30_000,
    });
    await client.incr('behind the RDB');
    await atRest(path.join(directory, 'spool'));
    proxy.cut();
    await client.incr('behind the RDB');
  } finally {
    thaw();
  }
  await sync.until(({ stage }) => stage === 'live');
  await logged(sync, 'resumed at offset', 1);
  await sync.caughtUp();
  await expectEqual(source, target);
  expect(await fullSyncsOf(source)).toBe(1);
});

it('takes up what an agent that was killed by -9 has left on disk', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await using folder = await makeFolder();
  const { directory } = folder;
  const writers = startWriters(source);
  const child = await startChild(source, target, { directory });
  await writers.rounds(ROUNDS);
  process.kill(target.pid, 'SIGSTOP');
  try {
    await fill(source.client(), 600);
    await writers.stop();
    await spooled(path.join(directory, 'spool'), source);
    await kill(child);
  } finally {
    process.kill(target.pid, 'SIGCONT');
  }
  expect(await readdir(path.join(directory, 'spool'))).not.toEqual([]);
  await using sync = await startSync({ source, target, directory });
  await sync.until(({ stage }) => stage === 'live');
  expect(sync.log.join()).toMatch(/took up \d{8,} bytes from the disk/);
  const further = startWriters(source);
  await further.rounds(ROUNDS);
  await further.stop();
  await sync.caughtUp();
  expect(await countersOf(target)).toEqual(await countersOf(source));
  await expectEqual(source, target);
  expect(await fullSyncsOf(source)).toBe(1);
  await sync.stop();
  expect(await readdir(directory)).toEqual([]);
});

async function startSource(): Promise<RunningServer> {
  const config = { 'repl-diskless-sync-delay': '0', 'repl-backlog-size': BACKLOG };
  return startServer({ server: await sourceServer(), config });
}

/** Writes so many values of 50 kB, one after the other: twenty of them are more than the backlog. */
async function fill(client: Redis, values: number): Promise<void> {
  for (let value = 0; value < values; value++) await client.set(`filler:${value % 40}`, FILLER);
  client.disconnect();
}

/** Resolves when the segments of a spool reach up to where the source is: what is in between is in no backlog. */
async function spooled(directory: string, source: RunningServer): Promise<void> {
  const client = source.client();
  const offset = Number(/^master_repl_offset:(\d+)/m.exec(await client.info('replication'))?.[1]);
  client.disconnect();
  await vi.waitUntil(
    async () => {
      const names = await readdir(directory).catch(() => []);
      const ends = names.map(
        async (name) => Number(name.split('_')[1]) + (await stat(path.join(directory, name))).size,
      );
      return Math.max(0, ...(await Promise.all(ends))) >= offset;
    },
    { timeout: 30_000 },
  );
}

const CANARIES_BYTES_MAX = 10_000;

/** Resolves when the segments of a spool have stopped growing, but for the canaries that come every second. */
async function atRest(directory: string): Promise<void> {
  let before = Number.NEGATIVE_INFINITY;
  await vi.waitUntil(
    async () => {
      const names = await readdir(directory).catch(() => []);
      const sizes = await Promise.all(
        names.map(async (name) => (await stat(path.join(directory, name))).size),
      );
      const bytes = sizes.reduce((sum, size) => sum + size, 0);
      const isAtRest = bytes > 0 && bytes - before < CANARIES_BYTES_MAX;
      before = bytes;
      return isAtRest;
    },
    { timeout: 30_000, interval: 1_000 },
  );
}

async function makeFolder() {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-folder-'));
  return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}
