import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, vi } from 'vitest';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { countersOf, expectEqual, fullSyncsOf, kill, startChild, startWriters } from './fault-run.ts';
import { startProxy } from './switching-proxy.ts';
import { startSync } from './sync-run.ts';

const ROUNDS = 30;
const KEYS = 1_000;
const DATABASES = [0, 3, 7];
const LIBRARY = (name: string) =>
  `#!lua name=${name}\nredis.register_function('f_${name}', function() return 1 end)`;

it('reconciles several databases under load: what is gone goes, what stays is never missing', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await writeKeys(source);
  await source.client().call('FUNCTION', 'LOAD', LIBRARY('gone'));
  const writers = startWriters(source);
  await using first = await startSync({ source, target });
  await first.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS);
  await first.stop();
  const removed = await changeBehindTheSync(source, target);
  await writers.rounds(ROUNDS);
  const watched = watchKey(target, 'stays:1');
  await using second = await startSync({ source, target });
  const { notes } = await second.until(({ stage }) => stage === 'live');
  expect(notes.join()).toMatch(/reconciled: [\d,]+ keys rewritten, [\d,]+ removed/);
  await writers.rounds(ROUNDS);
  const acknowledged = await writers.stop();
  await second.caughtUp();
  expect(await watched.stop()).toEqual({ missing: 0 });
  expect(await countersOf(target)).toEqual(acknowledged);
  await expectEqual(source, target);
  const libraries = JSON.stringify(await target.client().call('FUNCTION', 'LIST'));
  expect(libraries).toContain('stays');
  expect(libraries).not.toContain('gone');
  const report = await second.stop();
  expect(report.reconciles).toBe(1);
  // Keys of the live writers may come and go besides.
  expect(report.removedKeys).toBeGreaterThanOrEqual(removed);
  expect(await target.client().info('commandstats')).not.toContain('cmdstat_flushall');
});

it('reconciles again what was interrupted by -9', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await using folder = await makeFolder();
  const { directory } = folder;
  await writeKeys(source);
  await using first = await startSync({ source, target });
  await first.until(({ stage }) => stage === 'live');
  await first.stop();
  const writers = startWriters(source);
  await changeBehindTheSync(source, target);
  await source.client().config('SET', 'rdb-key-save-delay', '1000');
  const child = await startChild(source, target, { directory, isAwaited: false });
  await vi.waitUntil(async () => (await claimOf(target))?.includes('"reconciling"'), { timeout: 30_000 });
  await kill(child);
  expect(await claimOf(target)).toContain('"reconciling"');
  await source.client().config('SET', 'rdb-key-save-delay', '0');
  await using second = await startSync({ source, target, directory });
  await second.until(({ stage }) => stage === 'live');
  expect(second.log.join()).toMatch(/reconciled: /);
  const acknowledged = await writers.stop();
  await second.caughtUp();
  expect(await countersOf(target)).toEqual(acknowledged);
  await expectEqual(source, target);
  expect(await target.client().info('commandstats')).not.toContain('cmdstat_flushall');
});

it('reconciles when the source comes back without what follows the journal', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await writeKeys(source);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await sync.caughtUp();
  await source.client().call('SAVE');
  await source.client().del('stays:1');
  await sync.caughtUp();
  // The new life knows nothing of the DEL, nor of the history before it.
  await source.restart('SIGKILL');
  await sync.until(({ notes }) => notes.some((note) => note.startsWith('reconciled')));
  await sync.caughtUp();
  expect(await target.client().exists('stays:1')).toBe(1);
  await expectEqual(source, target);
});

it('refuses to write a source that came back empty over the target, which keeps every key', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await writeKeys(source);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await sync.caughtUp();
  const keys = await target.client().dbsize();
  // Nothing was saved, so the new life has nothing.
  await source.restart('SIGKILL');
  await expect(sync.ended).rejects.toMatchObject({ code: 'source-shrunk' });
  expect(await source.client().dbsize()).toBe(0);
  expect(await target.client().dbsize()).toBe(keys);
  expect(keys).toBeGreaterThan(0);
}, 60_000);

it('copies anew when a connection is lost in the first copy', async () => {
  await using source = await startSource();
  const config = { appendonly: 'yes' };
  await using target = await startServer({ server: await targetServer(), config });
  await using proxy = await startProxy(source.port);
  await writeKeys(source);
  await source.client().config('SET', 'rdb-key-save-delay', '300');
  const writers = startWriters(source);
  await using sync = await startSync({ source: { ...proxy, client: source.client }, target });
  await sync.until(({ stage, keys }) => stage === 'copying' && keys > 100);
  proxy.cut();
  await vi.waitUntil(async () => (await fullSyncsOf(source)) === 2, { timeout: 30_000 });
  await sync.until(({ stage, keys }) => stage === 'copying' && keys > 100);
  await target.restart('SIGKILL');
  await sync.until(({ stage }) => stage === 'live');
  const acknowledged = await writers.stop();
  await sync.caughtUp();
  expect(await countersOf(target)).toEqual(acknowledged);
  await expectEqual(source, target);
  expect(await fullSyncsOf(source)).toBe(3);
});

it('gives up a source that drops its replica in every copy', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await using proxy = await startProxy(source.port);
  await writeKeys(source);
  proxy.cutAfter(100_000);
  await using sync = await startSync({ source: { ...proxy, client: source.client }, target });
  await expect(sync.ended).rejects.toMatchObject({
    code: 'sync-lost',
    message: expect.stringMatching(/3 full copies in a row .*connection closed/),
    remedy: expect.stringContaining('client-output-buffer-limit'),
  });
  expect(await claimOf(target)).toContain('"copying"');
});

async function startSource(): Promise<RunningServer> {
  const config = {
    'repl-diskless-sync-delay': '0',
    'repl-backlog-size': '1mb',
    'enable-debug-command': 'yes',
  };
  return startServer({ server: await sourceServer(), config });
}

async function writeKeys(source: RunningServer): Promise<void> {
  for (const db of DATABASES) {
    const pipeline = source.client(db).pipeline();
    for (let index = 0; index < KEYS; index++) {
      pipeline.set(`stays:${index}`, `value ${index}`.repeat(5));
      pipeline.hset(`goes:${index}`, 'field', 'x'.repeat(20));
    }
    await pipeline.exec();
  }
}

/** Makes both sides differ, in a way that no stream tells of; returns how many keys the target has too many. */
async function changeBehindTheSync(source: RunningServer, target: RunningServer): Promise<number> {
  const pipeline = source.client(3).pipeline();
  for (let index = 0; index < KEYS; index++) pipeline.del(`goes:${index}`);
  pipeline.rpush('goes:5', 'now a list');
  await pipeline.exec();
  await source.client(7).flushdb();
  await source.client(11).set('new', '1');
  await source.client().call('FUNCTION', 'LOAD', 'REPLACE', LIBRARY('stays'));
  await source
    .client()
    .call('FUNCTION', 'DELETE', 'gone')
    .catch(() => {
      // Not every test has it.
    });
  await target.client(12).set('of nobody', '1');
  await target.client(0).set('stays:7', 'changed by a stranger');
  await source.client().debug('CHANGE-REPL-ID');
  // Of the databases 3 and 7, and the stranger's.
  return KEYS - 1 + 2 * KEYS + 1;
}

async function claimOf(target: RunningServer): Promise<string | null> {
  const client = target.client();
  const claim = await client.get('__valkey-migrate__');
  client.disconnect();
  return claim;
}

/** Looks again and again whether a key is there. */
function watchKey(target: RunningServer, key: string) {
  const client = target.client();
  let isStopping = false;
  const seen = { missing: 0 };
  const watching = (async () => {
    while (!isStopping) if ((await client.exists(key)) === 0) seen.missing += 1;
  })();
  return {
    stop: async () => {
      isStopping = true;
      await watching;
      client.disconnect();
      return seen;
    },
  };
}

async function makeFolder() {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-folder-'));
  return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}
