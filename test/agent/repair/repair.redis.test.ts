import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SiblingJobs } from '../../../src/agent/job/context.ts';
import { newJobState } from '../../../src/agent/job/context.ts';
import { runVerifyAndRepair } from '../../../src/agent/repair/job.ts';
import type { RepairMode } from '../../../src/contract/jobs.ts';
import type { VerifyReport } from '../../../src/contract/reports.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { firstOf, type RunningCluster, startCluster } from '../../servers/cluster.ts';
import { findServer, sourceServer, targetServer } from '../../servers/start.ts';
import { endpointOf, jobContext, NO_SIBLINGS } from '../cutover/job-context.ts';
import {
  caughtUp,
  expectCounted,
  expectEqual,
  startShardWriters,
  startSource,
} from '../sync/shards/shard-source.ts';
import { startSync } from '../sync/sync-run.ts';
import { STILL_CLOCK, startPair, verifyStill } from '../verify/verify-pair.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'repair-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

type Place = { readonly host: '127.0.0.1'; readonly port: number };
type Argument = string | Buffer | number;

const COUNTERS = 40;
const WRITE_PAUSE_MS = 300;
const LATER_MS = Date.UTC(2100, 0, 1);

describe('a repair', () => {
  it('makes keys of every type, their expiry times and functions as at the source, and keeps what is extra', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const source = pair.source.client();
    await fillSource(source);
    await damageTarget(pair.target.client());
    const before = await changesOf(source);
    const report = await repair(pair, 'differences');
    expect(report.repair).toMatchObject({ mode: 'differences', removed: 0 });
    expect(report.repair?.before.byKind).toEqual(
      expect.arrayContaining([
        { kind: 'extra', count: 2 },
        { kind: 'missing', count: 5 },
      ]),
    );
    expect(report.differences.listed.map(({ key, kind }) => `${key} ${kind}`).sort()).toEqual([
      'extra extra',
      'extra:list extra',
    ]);
    expect(report.repair?.failures).toEqual([
      { reason: 'the source has no such key, and extra keys are kept', count: 2 },
    ]);
    expect(await changesOf(source)).toBe(before);
    const again = await verifyStill(pair);
    expect(again.differences.total).toBe(2);
  });

  it('removes extra keys and functions when told so', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await fillSource(pair.source.client());
    await damageTarget(pair.target.client());
    const report = await repair(pair, 'differences-and-extras');
    expect(report).toMatchObject({ passed: true, differences: { total: 0 }, repair: { removed: 2 } });
    expect(report.list).toBeUndefined();
    expect(report.repair?.before.list?.keys).toBe(await linesBefore(report));
    expect((await verifyStill(pair)).differences.total).toBe(0);
  });

  it('changes nothing where nothing differs, and says nothing of it', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.source.client().set('same', '1');
    await pair.target.client().set('same', '1');
    const report = await repair(pair, 'differences-and-extras');
    expect(report.passed).toBe(true);
    expect(report.repair).toBeUndefined();
    expect(await changesOf(pair.target.client())).toBe('1');
  });

  it('carries values larger than what may be in memory in pieces', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const source = pair.source.client();
    const target = pair.target.client();
    await source.set('string', Buffer.alloc(20 * 1024 * 1024, 'abcdefgh'));
    await target.set('string', Buffer.alloc(21 * 1024 * 1024, 'abcdefgh'));
    const fill = (client: Redis, statement: string, last: number) =>
      client.eval(`for i = 1, ${last} do ${statement} end`, 0);
    const value = "'value of some length that makes it large ' .. i";
    for (const [client, last] of [
      [source, 100_000],
      [target, 50_000],
    ] as const) {
      await fill(client, `redis.call('HSET', 'hash', 'f' .. i, ${value})`, last);
      await fill(client, `redis.call('SADD', 'set', ${value})`, last);
      await fill(client, `redis.call('ZADD', 'zset', i / 7, ${value})`, last);
    }
    await fill(source, `redis.call('RPUSH', 'list', ${value} .. string.rep('x', 60))`, 100_000);
    await fill(target, "redis.call('HSET', 'hash', 'only here ' .. i, i)", 500);
    await fill(target, "redis.call('SADD', 'set', 'only here ' .. i)", 500);
    await target.set('list', 'no list');
    await source.expireat('hash', 4_102_444_800);
    const report = await repair(pair, 'differences');
    expect(report.differences.listed).toEqual([]);
    expect(report.repair).toMatchObject({ rewritten: 5, failures: [] });
    expect((await verifyStill(pair)).differences.total).toBe(0);
  });

  it('keeps expiry times of hash fields as they are, where no sync pads them', async () => {
    await using pair = await startPair(
      await findServer({ kind: 'redis', version: '8.0' }),
      await findServer({ kind: 'valkey', version: '9' }),
    );
    await pair.source.client().hset('h', 'a', '1', 'b', '2');
    await pair.source.client().call('HPEXPIREAT', 'h', LATER_MS, 'FIELDS', 1, 'a');
    expect(await repair(pair, 'differences')).toMatchObject({ passed: true });
    const times = await pair.target.client().call('HPEXPIRETIME', 'h', 'FIELDS', 2, 'a', 'b');
    expect(times).toEqual([LATER_MS, -1]);
  });

  it('is routed to the primaries of a cluster', async () => {
    await using cluster: RunningCluster = await startCluster({ server: await targetServer(), primaries: 3 });
    await using pair = await startPair(await sourceServer(), await targetServer());
    const keys = Array.from({ length: 300 }, (_, index) => `key:${index}`);
    for (const key of keys) await pair.source.client().set(key, key);
    const [first] = cluster.primaries;
    if (first === undefined) throw new Error('a cluster without primaries');
    const clustered = { source: pair.source, target: first };
    const report = await repair(clustered, 'differences');
    expect(report).toMatchObject({ passed: true, repair: { rewritten: 300, rounds: 1 } });
    expect((await verifyStill(clustered)).differences.total).toBe(0);
  });
});

describe('a repair beside a sync', () => {
  it('does nothing twice and takes nothing back, however the keys are written to meanwhile', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const [source, target] = [pair.source.client(), pair.target.client()];
    await source.config('SET', 'repl-diskless-sync-delay', '0');
    const names = Array.from({ length: COUNTERS }, (_, index) => `counter:${index}`);
    for (const name of names) await source.set(name, 0);
    await source.rpush('log', 'first');
    await source.set('expires', 'v', 'PXAT', LATER_MS);
    await using sync = await startSync({ ...pair, directory: path.join(directory, 'sync') });
    await sync.until(({ stage }) => stage === 'live');
    for (const name of names) await target.incrby(name, 1_000_000);
    await target.rpush('log', 'what the source never had');
    await target.del('expires');
    const writer = startCounting(source, names);
    const report = await repair(pair, 'differences', { clock: systemClock });
    await writer[Symbol.asyncDispose]();
    expect(report.repair?.before.total).toBe(COUNTERS + 2);
    expect(report.differences.listed).toEqual([]);
    await sync.caughtUp();
    expect(await target.mget(names)).toEqual(await source.mget(names));
    expect(await target.lrange('log', 0, -1)).toEqual(await source.lrange('log', 0, -1));
    const after = await verifyStill(pair);
    expect(after.differences.listed).toEqual([]);
    expect(after.keysCompared).toBe(COUNTERS + 2);
  });
});

describe('a repair beside a sync of a source in cluster mode', () => {
  it('does nothing twice and takes nothing back, however the keys are written to meanwhile', async () => {
    await using source = await startSource();
    await using target = await startCluster({ server: await targetServer(), primaries: 2 });
    await using sync = await startSync({
      source: firstOf(source),
      target,
      directory: path.join(directory, 'shards'),
    });
    await sync.until(({ stage }) => stage === 'live');
    const writers = startShardWriters(source);
    await writers.rounds(60);
    const atTarget = target.client();
    for (let tag = 0; tag < 10; tag++) await atTarget.incrby(`{tag:${tag}}:count`, 1_000_000);
    await source.client().set('standing', 'as it should be');
    await caughtUp(sync, { primaries: source.primaries, target });
    await atTarget.set('standing', 'changed');
    const report = await repair({ source: firstOf(source), target: firstOf(target) }, 'differences');
    expect(report.repair?.rewritten).toBeGreaterThanOrEqual(1);
    const counters = await writers.stop();
    await caughtUp(sync, { primaries: source.primaries, target });
    await repair({ source: firstOf(source), target: firstOf(target) }, 'differences');
    await expectEqual(source.primaries, target.primaries);
    await expectCounted(atTarget, counters);
  });
});

describe('a repair is refused', () => {
  const running = newJobState('cutover', { jobId: 'j', startedAtMs: 0 });
  const siblings = (status: 'running' | 'succeeded'): SiblingJobs => ({
    ...NO_SIBLINGS,
    state: async (kind) => (kind === 'cutover' ? { ...running, status } : undefined),
  });

  it.each(['running', 'succeeded'] as const)('beside a cutover that is %s', async (status) => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.source.client().set('key', 'v');
    const refused = repair(pair, 'differences', { siblings: siblings(status) });
    await expect(refused).rejects.toMatchObject({ code: 'repair-refused' });
    expect(await pair.target.client().exists('key')).toBe(0);
  });

  it('while the fence of a cutover stands at the source, whoever has set it', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.source.client().config('SET', 'min-replicas-to-write', '1000000');
    await expect(repair(pair, 'differences')).rejects.toMatchObject({ code: 'repair-refused' });
  });

  it('onto a replica, and onto the source itself', async () => {
    await using pair = await startPair(await targetServer(), await targetServer());
    const itself = { source: pair.source, target: pair.source };
    await expect(repair(itself, 'differences')).rejects.toMatchObject({ code: 'repair-refused' });
    await pair.target.client().call('REPLICAOF', pair.source.host, String(pair.source.port));
    await expect(repair(pair, 'differences')).rejects.toMatchObject({ code: 'repair-refused' });
  });
});

/** Commands that are wrong when they are done twice or not at all, on one key after the other. */
function startCounting(client: Redis, names: readonly string[]): AsyncDisposable {
  const stopping = new AbortController();
  const write = async () => {
    for (let round = 0; !stopping.signal.aborted; round++) {
      const pipeline = client.pipeline();
      for (const name of names.slice(round % 4, COUNTERS / 4 + (round % 4))) pipeline.incr(name);
      pipeline.rpush('log', round);
      await pipeline.exec();
      await systemClock.sleep(WRITE_PAUSE_MS, new AbortController().signal);
    }
  };
  const writing = write();
  return {
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await writing;
    },
  };
}

function repair(
  pair: { readonly source: Place; readonly target: Place },
  mode: RepairMode,
  { siblings = NO_SIBLINGS, clock = STILL_CLOCK }: { siblings?: SiblingJobs; clock?: Clock } = {},
): Promise<VerifyReport> {
  const ends = { source: endpointOf(pair.source), target: endpointOf(pair.target) };
  const compared = { maxDifferences: 0, ttlToleranceMs: 100, keyDisplay: 'shown' } as const;
  return runVerifyAndRepair(
    { kind: 'verify', ...ends, ...compared, repair: mode },
    jobContext({ directory, siblings, clock }),
  );
}

async function run(client: Redis, commands: readonly (readonly Argument[])[]): Promise<void> {
  for (const [name, ...args] of commands) await client.call(String(name), args);
}

async function fillSource(client: Redis): Promise<void> {
  await run(client, [
    ['SET', 'string', 'v'],
    ['SET', Buffer.from([0, 255, 10, 123]), 'binary'],
    ['SET', 'expires', 'v', 'PXAT', LATER_MS],
    ['SET', 'lost-ttl', 'v', 'PXAT', LATER_MS],
    ['SET', 'other-type', 'v'],
    ['HSET', 'hash', 'a', '1', 'b', '2'],
    ['SADD', 'set', 'a', 'b'],
    ['ZADD', 'zset', '1.1', 'a', '-inf', 'b'],
    ['RPUSH', 'list', 'a', 'b', 'c'],
    ['XADD', 'stream', '1-1', 'f', 'v'],
    ['XGROUP', 'CREATE', 'stream', 'g', '0'],
    ['XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', '1', 'STREAMS', 'stream', '>'],
    ['PFADD', 'hll', 'a', 'b'],
    ['FUNCTION', 'LOAD', "#!lua name=lib\nredis.register_function('f', function() return 1 end)"],
  ]);
}

/** Missing: the binary key, `expires`, `set`, `hll` and `stream`. */
async function damageTarget(client: Redis): Promise<void> {
  await run(client, [
    ['SET', 'string', 'w'],
    ['SET', 'lost-ttl', 'v'],
    ['RPUSH', 'other-type', 'v'],
    ['HSET', 'hash', 'a', '1', 'c', '3'],
    ['ZADD', 'zset', '1.1000000000000002', 'a', '-inf', 'b'],
    ['RPUSH', 'list', 'a', 'c', 'b'],
    ['SET', 'extra', 'v'],
    ['RPUSH', 'extra:list', 'v'],
    ['FUNCTION', 'LOAD', "#!lua name=lib\nredis.register_function('f', function() return 2 end)"],
  ]);
}

async function linesBefore({ repair: repaired }: VerifyReport): Promise<number> {
  const text = await readFile(repaired?.before.list?.path ?? '', 'utf8');
  return text.split('\n').length - 1;
}

/** What a server counts of changes to its data. */
async function changesOf(client: Redis): Promise<string | undefined> {
  return /^rdb_changes_since_last_save:(\d+)/m.exec(await client.info('persistence'))?.[1];
}
