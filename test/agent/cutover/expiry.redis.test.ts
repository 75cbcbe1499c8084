import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { runCutover } from '../../../src/agent/cutover/job.ts';
import { runRollback } from '../../../src/agent/cutover/rollback.ts';
import { settleTarget } from '../../../src/agent/cutover/settle.ts';
import { readClaim } from '../../../src/agent/redis/checkpoint.ts';
import { openClient } from '../../../src/agent/redis/client.ts';
import { openPrimaries } from '../../../src/agent/redis/cluster/primaries.ts';
import { EXPIRY_PAD_MS, isPadded } from '../../../src/agent/redis/expiry-pad.ts';
import { systemClock } from '../../../src/core/clock.ts';
import type { ServerBinary } from '../../servers/server-binary.ts';
import { findServer, startServer, targetServer } from '../../servers/start.ts';
import { type SyncRun, startSync } from '../sync/sync-run.ts';
import { compareDumps, readTypedDump } from '../sync/typed-dump.ts';
import { verifyStill } from '../verify/verify-pair.ts';
import {
  type CutoverPair,
  cutoverRequest,
  heldSiblings,
  passedVerification,
  syncState,
} from './cutover-pair.ts';
import { accessOf, endpointOf, jobContext } from './job-context.ts';

const SYNC_CHILD = path.resolve(import.meta.dirname, '../sync/sync-child.ts');
/** Long enough to be renewed in time on a machine under load, and well below what the sync stands still or copies. */
const SHORT_MS = 1_500;
const LONG_MS = 600_000;

type Route = { name: string; source: () => Promise<ServerBinary>; target: () => Promise<ServerBinary> };

const newestValkey = () => findServer({ kind: 'valkey', version: 'newest' });
const redis = (version: string) => () => findServer({ kind: 'redis', version });
const ROUTES: readonly Route[] = [
  { name: 'Redis 7.0 to the target of these tests', source: redis('7.0'), target: targetServer },
  { name: 'Redis 8.0 to the target of these tests', source: redis('8.0'), target: targetServer },
  { name: 'Redis 8.0 to the newest Valkey', source: redis('8.0'), target: newestValkey },
  { name: 'the newest Valkey to itself', source: newestValkey, target: newestValkey },
];

describe.each(ROUTES)('short expiry times from $name', (route) => {
  it('lose nothing while the sync stands still, and are exact after the cutover', async () => {
    await using pair = await startPair(route);
    const source = pair.source.client();
    const hasFields = await knowsFieldTtls(pair);
    await using child = await startChild(pair);
    const names = await writeShortLived(source, 'streamed');
    const fields = hasFields ? await writeShortLivedFields(source, 'streamed') : [];
    child.process.kill('SIGSTOP');
    await renew(source, 'streamed');
    if (hasFields) await renewFields(source, 'streamed');
    await untilGone(source, names);
    await untilFieldsGone(source, fields);
    child.process.kill('SIGCONT');
    await caughtUp(pair);
    expect(await dumpDifferences(pair)).toEqual([]);
    expect((await verifyStill(pair)).differences.listed).toEqual([]);

    const siblings = heldSiblings(passedVerification(pair), syncState('running', 'live'));
    siblings.onStop = () => child.stop();
    const context = jobContext({ directory: pair.source.directory, siblings });
    const report = await runCutover(cutoverRequest(pair, 'replica'), context);
    expect(report.verification.differences.total).toBe(0);
    expect(await readClaimOf(pair)).toBeUndefined();
    await expectExactTimes(pair);
  });

  it('lose nothing while a slow copy runs', async () => {
    await using pair = await startPair(route);
    const source = pair.source.client();
    const hasFields = await knowsFieldTtls(pair);
    await slowCopy(source);
    const names = await writeShortLived(source, 'copied');
    const fields = hasFields ? await writeShortLivedFields(source, 'copied') : [];
    await using sync = await startSync(pair);
    await sync.until(({ stage }) => stage === 'copying');
    await renew(source, 'copied');
    if (hasFields) await renewFields(source, 'copied');
    await untilGone(source, names);
    await untilFieldsGone(source, fields);
    expect(sync.progress()?.stage).toBe('copying');
    await sync.until(({ stage }) => stage === 'live');
    await sync.caughtUp();
    expect(await dumpDifferences(pair)).toEqual([]);
    await sync.stop();
    await settle(pair);
    await expectExactTimes(pair);
  });
});

describe('the expiry times of a target', () => {
  const route = { source: redis('7.0'), target: targetServer };

  it('keep their pad when a cutover fails its proof, so that nothing is lost afterwards', async () => {
    await using pair = await startPair(route);
    const source = pair.source.client();
    await source.set('key', '1', 'PX', LONG_MS);
    await using sync = await liveSync(pair);
    await pair.target.client().set('extra', '1');
    const siblings = heldSiblings(passedVerification(pair), syncState('running', 'live'));
    const context = jobContext({ directory: pair.source.directory, siblings });
    await expect(runCutover(cutoverRequest(pair, 'replica'), context)).rejects.toMatchObject({
      code: 'verification-different',
    });
    expect(isPadded(await expiryOf(pair.target.client(), 'key'))).toBe(true);
    expect(siblings.stopped).toEqual([]);
    await source.set('key', '2', 'KEEPTTL');
    await sync.caughtUp();
    expect(await pair.target.client().get('key')).toBe('2');
  });

  it('are corrected at the cutover where the source tells only the time that is left', async () => {
    // What Redis up to 6.2 is to a sync: without PEXPIRETIME, and with expiries that are as late as they arrive.
    await using pair = await startPair(route, { 'rename-command': 'PEXPIRETIME ""' });
    const source = pair.source.client();
    const names = Array.from({ length: 300 }, (_, index) => `key:${index}`);
    const writing = source.pipeline().set('never', '1').set('over', '1', 'PX', 500);
    const atMs = Date.now() + LONG_MS;
    for (const [index, name] of names.entries()) writing.call('SET', name, '1', 'PXAT', atMs + index);
    await writing.exec();
    await using sync = await liveSync(pair);
    const target = pair.target.client();
    const late = target.pipeline();
    for (const [index, name] of names.entries()) late.pexpireat(name, EXPIRY_PAD_MS + atMs + index + 5_000);
    await late.pexpireat('over', EXPIRY_PAD_MS + atMs).exec();
    expect((await verifyStill(pair)).differences.listed).toEqual([]);

    await untilGone(source, ['over']);
    const siblings = heldSiblings(passedVerification(pair), syncState('running', 'live'));
    siblings.onStop = async () => {
      await sync.stop();
    };
    const context = jobContext({ directory: pair.source.directory, siblings });
    const request = { ...cutoverRequest(pair, 'replica'), ttlToleranceMs: 1 };
    expect((await runCutover(request, context)).verification.differences.listed).toEqual([]);
    for (const [index, name] of names.entries()) {
      expect(Math.abs((await expiryOf(target, name)) - atMs - index)).toBeLessThanOrEqual(1);
    }
    expect(await target.exists('over')).toBe(0);
    expect(await target.pttl('never')).toBe(-1);
  });

  it('are settled to the end by another run, and no sync goes on meanwhile', async () => {
    await using pair = await startPair(route);
    const source = pair.source.client();
    const names = Array.from({ length: 3_000 }, (_, index) => `key:${index}`);
    const writing = source.pipeline();
    for (const name of names) writing.set(name, 'v', 'PX', LONG_MS);
    writing.set('over', 'v', 'PX', 50);
    await writing.exec();
    const sync = await liveSync(pair);
    await sync.stop();
    await expect(settle(pair, AbortSignal.abort(new Error('killed')))).rejects.toThrow('killed');
    expect(await readClaimOf(pair)).toMatchObject({ state: 'settling' });
    const target = pair.target.client();
    const exact = await readTimes(source);
    const half = target.pipeline();
    for (const name of names.slice(0, 1_500)) half.pexpireat(name, Number(exact.get(name)));
    await half.exec();
    await settle(pair);
    await settle(pair);
    expect(Object.fromEntries(await readTimes(target))).toEqual(Object.fromEntries(exact));
    expect(await target.exists('over')).toBe(0);

    await using again = await startSync(pair);
    await again.until(({ stage }) => stage === 'live');
    expect(again.log.join()).toMatch(/copied \d+ keys/);
    expect(isPadded(await expiryOf(pair.target.client(), 'key:0'))).toBe(true);
  });

  it('are those of the source after a rollback that leaves the keys', async () => {
    await using pair = await startPair(route);
    await pair.source.client().set('key', '1', 'PX', LONG_MS);
    await using sync = await liveSync(pair, { repository: 'example/shop' });
    const siblings = heldSiblings(undefined, syncState('running', 'live'));
    siblings.onStop = async () => {
      await sync.stop();
    };
    const context = jobContext({ directory: pair.source.directory, siblings });
    const endpoints = { source: endpointOf(pair.source), target: endpointOf(pair.target) };
    await runRollback({ kind: 'rollback', ...endpoints, route: 'replica', flushTarget: false }, context);
    expect(await expiryOf(pair.target.client(), 'key')).toBe(await expiryOf(pair.source.client(), 'key'));
    expect(await readClaimOf(pair)).toBeUndefined();
  });

  it('are carried as they are where they are too far away to need a pad, and later where they would look padded', async () => {
    await using pair = await startPair(route);
    const source = pair.source.client();
    const far = String(3 * EXPIRY_PAD_MS);
    await source.set('never', '1', 'PXAT', '9223372036854775807');
    await source.set('far', '1', 'PXAT', far);
    await source.set('ambiguous', '1', 'PXAT', String(1.5 * EXPIRY_PAD_MS));
    await using sync = await liveSync(pair);
    await source.set('streamed', '1', 'PXAT', '9223372036854775807');
    await source.call('PEXPIREAT', 'streamed', far, 'LT');
    await sync.caughtUp();
    await sync.stop();
    await settle(pair);
    const [atSource, atTarget] = [await readTimes(source), await readTimes(pair.target.client())];
    for (const key of ['never', 'far', 'streamed']) expect(atTarget.get(key)).toEqual(atSource.get(key));
    expect(atTarget.get('ambiguous')).toBe(2 * EXPIRY_PAD_MS);
  });
});

describe('a verification while the sync runs', () => {
  it('takes keys that have expired at an idle source, but whose DEL has not come, for no difference', async () => {
    await using pair = await startPair({ source: redis('7.0'), target: targetServer });
    const source = pair.source.client();
    await source.call('DEBUG', 'SET-ACTIVE-EXPIRE', '0');
    await source.set('over', '1', 'PX', 30);
    await source.set('stays', '1', 'PX', LONG_MS);
    await using sync = await liveSync(pair);
    await systemClock.sleep(40, new AbortController().signal);
    const report = await verifyStill(pair, { ttlToleranceMs: 0 });
    expect(report.differences.listed).toEqual([]);
    await sync.caughtUp();
    expect(await pair.target.client().exists('over')).toBe(0);
  });

  it('takes fields that have expired at an idle source, but whose HDEL has not come, for no difference', async () => {
    await using pair = await startPair({ source: newestValkey, target: newestValkey });
    const source = pair.source.client();
    await source.call('DEBUG', 'SET-ACTIVE-EXPIRE', '0');
    await source.hset('hash', 'over', '1', 'later', '1');
    await source.call('HPEXPIRE', 'hash', LONG_MS, 'FIELDS', 1, 'later');
    await source.call('HPEXPIRE', 'hash', 30, 'FIELDS', 1, 'over');
    await using _sync = await liveSync(pair);
    await systemClock.sleep(40, new AbortController().signal);
    expect(await pair.target.client().hlen('hash')).toBe(2);
    const report = await verifyStill(pair, { ttlToleranceMs: 0 });
    expect(report.differences.listed).toEqual([]);
    expect(report.inFlight).toBe(1);
  });

  it('finds a time that differs by more than the tolerance', async () => {
    await using pair = await startPair({ source: redis('7.0'), target: targetServer });
    await pair.source.client().set('key', '1', 'PX', LONG_MS);
    await using _sync = await liveSync(pair);
    const atMs = await expiryOf(pair.target.client(), 'key');
    await pair.target.client().call('PEXPIREAT', 'key', String(atMs + 500));
    const report = await verifyStill(pair);
    expect(report.differences.byKind).toEqual([{ kind: 'ttl', count: 1 }]);
    expect(report.differences.listed[0]?.detail).toContain('500 ms apart');
  });
});

async function startPair(
  route: Pick<Route, 'source' | 'target'>,
  sourceConfig: Readonly<Record<string, string>> = { 'enable-debug-command': 'yes' },
): Promise<CutoverPair & AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const config = { 'repl-diskless-sync-delay': '0', ...sourceConfig };
  const source = stack.use(await startServer({ server: await route.source(), config }));
  const target = stack.use(await startServer({ server: await route.target() }));
  return { source, target, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function liveSync(pair: CutoverPair, { repository = 'acme/shop' } = {}): Promise<SyncRun> {
  const sync = await startSync({ ...pair, repository });
  await sync.until(({ stage }) => stage === 'live');
  return sync;
}

/** A sync in a process of its own, which can be made to stand still. */
async function startChild({ source, target }: CutoverPair) {
  const args = [SYNC_CHILD, String(source.port), String(target.port)];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  await Promise.race([
    child.stdout === null ? undefined : once(child.stdout, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error('the sync ended'))),
  ]);
  return { process: child, stop, [Symbol.asyncDispose]: stop };
}

/** Slows the RDB down by so many small keys that a copy takes a few seconds. */
async function slowCopy(source: Redis): Promise<void> {
  const writing = source.pipeline();
  for (let number = 0; number < 1_500; number++) writing.set(`ballast:${number}`, 'x'.repeat(20_000));
  await writing.exec();
  await source.config('SET', 'rdb-key-save-delay', '2000');
}

/** Keys that live for a moment, of which `renew` saves some; returns those that go. */
async function writeShortLived(client: Redis, prefix: string): Promise<string[]> {
  const key = (name: string) => `${prefix}:${name}`;
  const writing = client.pipeline();
  for (const name of [
    'persist',
    'expire',
    'pexpireat',
    'keepttl',
    'getex',
    'append',
    'incr',
    'gone',
    'copy',
  ]) {
    writing.set(key(name), '1');
  }
  writing.set(key('rename'), '1').sadd(key('set1'), 'a', 'b').sadd(key('set2'), 'c');
  writing.rpush(key('list'), 'a', 'b').hset(key('hash'), 'f', '1').zadd(key('zset'), 1, 'm');
  writing.xadd(key('stream'), '1-1', 'f', 'v');
  const names = [
    'persist',
    'expire',
    'pexpireat',
    'keepttl',
    'getex',
    'append',
    'incr',
    'gone',
    'copy',
    'rename',
  ];
  for (const name of [...names, 'set1', 'set2', 'list', 'hash', 'zset', 'stream']) {
    writing.pexpire(key(name), SHORT_MS);
  }
  await writing.exec();
  return ['gone', 'copy', 'set1', 'set2'].map(key);
}

/** Everything that makes a key outlive its time, or its value, while the target has not heard of it. */
async function renew(client: Redis, prefix: string): Promise<void> {
  const key = (name: string) => `${prefix}:${name}`;
  const replies = await client
    .pipeline()
    .persist(key('persist'))
    .expire(key('expire'), LONG_MS / 1000)
    .call('PEXPIREAT', key('pexpireat'), Date.now() + LONG_MS, 'GT')
    .pexpire(key('keepttl'), LONG_MS)
    .set(key('keepttl'), '2', 'KEEPTTL')
    .getex(key('getex'), 'PX', LONG_MS)
    .append(key('append'), '2')
    .pexpire(key('append'), LONG_MS)
    .incr(key('incr'))
    .persist(key('incr'))
    .call('COPY', key('copy'), key('copied'))
    .persist(key('copied'))
    .rename(key('rename'), key('renamed'))
    .pexpire(key('renamed'), LONG_MS)
    .sunionstore(key('union'), key('set1'), key('set2'))
    .lset(key('list'), 0, 'z')
    .persist(key('list'))
    .hincrby(key('hash'), 'f', 5)
    .persist(key('hash'))
    .zincrby(key('zset'), 5, 'm')
    .expire(key('zset'), LONG_MS / 1000)
    .xadd(key('stream'), '1-2', 'f', 'v')
    .persist(key('stream'))
    .exec();
  const failed = replies?.find(([error, reply]) => error !== null || reply === 0);
  expect(failed, 'a key had gone before it was renewed').toBeUndefined();
}

async function knowsFieldTtls({ source, target }: CutoverPair): Promise<boolean> {
  const known = [source, target].map((server) => server.client().call('COMMAND', 'INFO', 'hpexpireat'));
  return (await Promise.all(known)).every((reply) => Array.isArray(reply) && reply[0] !== null);
}

/** Hash fields that live for a moment, of which `renewFields` saves some; returns the hash and how many it then has. */
async function writeShortLivedFields(client: Redis, prefix: string): Promise<[string, number][]> {
  const key = `${prefix}:fields`;
  const fields = ['gone', 'persist', 'later', 'stays'];
  await client.hset(key, Object.fromEntries(fields.map((field) => [field, '1'])));
  await client.call('HPEXPIRE', key, SHORT_MS, 'FIELDS', 3, 'gone', 'persist', 'later');
  return [[key, 4]];
}

async function renewFields(client: Redis, prefix: string): Promise<void> {
  const key = `${prefix}:fields`;
  expect(await client.call('HPERSIST', key, 'FIELDS', 1, 'persist')).toEqual([1]);
  expect(await client.call('HPEXPIRE', key, LONG_MS, 'GT', 'FIELDS', 1, 'later')).toEqual([1]);
  await client.call('HSETEX', key, 'PX', LONG_MS, 'FIELDS', 1, 'fresh', '1');
}

async function untilGone(client: Redis, names: readonly string[]): Promise<void> {
  const signal = AbortSignal.timeout(10_000);
  while ((await client.exists(...names)) > 0) await systemClock.sleep(20, signal);
}

/** By HLEN: a field that has expired is not shown any more, but the source has yet to tell the target. */
async function untilFieldsGone(client: Redis, fields: readonly [string, number][]): Promise<void> {
  const signal = AbortSignal.timeout(20_000);
  for (const [key, left] of fields) {
    while ((await client.hlen(key)) > left) await systemClock.sleep(20, signal);
  }
}

/** Waits until the claim in the target stands where the source is now. */
async function caughtUp(pair: CutoverPair): Promise<void> {
  const info = await pair.source.client().info('replication');
  const offset = Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1]);
  const signal = AbortSignal.timeout(20_000);
  while (((await readClaimOf(pair))?.checkpoint?.offset ?? 0) < offset) await systemClock.sleep(20, signal);
}

async function readClaimOf({ target }: CutoverPair) {
  await using client = await openClient(accessOf('target', target));
  return await readClaim(client);
}

async function settle(pair: CutoverPair, signal?: AbortSignal): Promise<void> {
  await using primaries = await openPrimaries(accessOf('target', pair.target));
  const claim = await readClaim(primaries.home);
  if (claim === undefined) throw new Error('the target has no claim');
  const context = jobContext({
    directory: pair.target.directory,
    ...(signal === undefined ? {} : { signal }),
  });
  await settleTarget(primaries, claim, context);
}

async function expiryOf(client: Redis, key: string): Promise<number> {
  return Number(await client.call('PEXPIRETIME', key));
}

async function dumpDifferences({ source, target }: CutoverPair): Promise<string[]> {
  const options = { isReadCounted: false };
  return compareDumps(
    await readTypedDump(source.client(), options),
    await readTypedDump(target.client(), options),
  );
}

/** Both sides show the same times to the millisecond, read plainly. */
async function expectExactTimes({ source, target }: CutoverPair): Promise<void> {
  const [atSource, atTarget] = await Promise.all([readTimes(source.client()), readTimes(target.client())]);
  expect(atSource.size).toBeGreaterThan(10);
  expect(Object.fromEntries(atTarget)).toEqual(Object.fromEntries(atSource));
}

async function readTimes(client: Redis): Promise<ReadonlyMap<string, unknown>> {
  const times = new Map<string, unknown>();
  const keys = (await client.keys('*')).filter((key) => !/^(__|ballast)/.test(key)).sort();
  const read = async (key: string) => times.set(key, await client.call('PEXPIRETIME', key));
  await Promise.all(keys.map(read));
  for (const key of keys.filter((name) => name.endsWith(':fields'))) {
    const fields = (await client.hkeys(key)).sort();
    times.set(`${key} ${fields}`, await client.call('HPEXPIRETIME', key, 'FIELDS', fields.length, ...fields));
  }
  return times;
}
