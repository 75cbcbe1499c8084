import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Command } from '../../../src/agent/redis/raw-connection.ts';
import { OPCODE } from '../../../src/agent/redis/rdb/layouts.ts';
import { SKIP_LIST_FILE } from '../../../src/agent/sync/skips.ts';
import type { VerifyReport } from '../../../src/contract/reports.ts';
import { findServer, type RunningServer, startServer, targetServer } from '../../servers/start.ts';
import { makeRdb, moduleString, moduleValue, string } from '../redis/rdb/rdb-items.ts';
import { differenceLines, verifyStill } from '../verify/verify-pair.ts';
import { startScriptedSource } from './scripted-source.ts';
import { type SyncRun, startSync } from './sync-run.ts';

/** Redis 8 has a module of its own, vector sets: what other modules do looks the same from here. */
describe('keys of a module', () => {
  let source: RunningServer;
  let target: RunningServer;
  let client: Redis;

  beforeAll(async () => {
    const redis8 = await findServer({ kind: 'redis', version: '8.0' });
    source = await startServer({ server: redis8, config: { 'repl-diskless-sync-delay': '0' } });
    target = await startServer({ server: await targetServer() });
    client = source.client();
  });

  beforeEach(async () => {
    await client.flushall();
    await target.client().flushall();
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
  });

  it('are left out of the copy, counted and listed, and everything else is carried', async () => {
    await fillVectorSet(client, 'small', 3);
    await fillVectorSet(client, 'large', LARGE_VECTORS);
    await fillVectorSet(source.client(3), 'elsewhere', 1);
    await client.expire('small', 3600);
    await client.mset('a', '1', 'b', '2');
    await source.client(3).set('c', '3');
    await using sync = await startSync({ source, target });
    const { skipped } = await sync.until(({ stage }) => stage === 'live');
    expect(skipped).toEqual([
      { what: 'keys', reason: 'module vectorset', count: 3, sample: expect.any(Array) },
    ]);
    expect(skipped?.[0]?.sample.toSorted()).toEqual(['db0 large', 'db0 small', 'db3 elsewhere']);
    expect((await readList(sync)).map(({ db, key }) => `db${db} ${key}`).sort()).toEqual([
      'db0 large',
      'db0 small',
      'db3 elsewhere',
    ]);
    expect(await target.client().exists('small', 'large', 'a', 'b')).toBe(2);
    await expectSame({ skippedKeys: 3 });
    expect((await sync.stop()).skipped).toEqual(skipped);
  });

  it('do not let the two sides diverge when commands of the stream name them', async () => {
    const names = ['v1', 'v2', 'v3', 'v4', 'v5', 'v6', 'v7', 'gone', 'moved'];
    for (const name of names) await fillVectorSet(client, name, 1);
    await client.mset({ p1: '1', p2: '2', p3: '3', p4: '4', p5: '5', p6: '6', plain: 'x' });
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    // Of a module onto an ordinary key, the other way round, and onto nothing.
    await client.rename('v1', 'p1');
    await client.rename('p2', 'v2');
    await client.rename('v3', 'fresh');
    await client.renamenx('v4', 'also fresh');
    await client.rename('plain', 'plain renamed');
    await client.set('v5', 'an ordinary value', 'XX');
    await client.set('v6', 'one that expires', 'PX', 3_600_000, 'XX');
    await client.copy('p3', 'v7', 'REPLACE');
    await client.restore('p4', 0, await client.dumpBuffer('p1'), 'REPLACE');
    await client.move('moved', 5);
    await client.unlink('gone', 'p5');
    await client.multi().set('in', '1').rename('p4', 'p6').set('one', '2').exec();
    await client.call('VADD', 'new', 'FP32', VECTOR, 'element', 'NOQUANT', 'M', 4);
    await client.call('VREM', 'new', 'element');
    await client.call('VADD', 'newer', 'FP32', VECTOR, 'element', 'NOQUANT', 'M', 4);
    await sync.caughtUp();
    expect(await target.client().keys('*')).toHaveLength(9);
    await expectSame({ skippedKeys: 6 });
    const { skipped, reconnects } = await sync.stop();
    expect(reconnects).toBe(0);
    expect(skipped.map(({ what, reason, count }) => `${count} ${what} ${reason}`)).toEqual([
      '10 keys module vectorset',
      '2 commands module command VADD',
      '1 commands module command VREM',
    ]);
  });

  it('are known after a restart: what they are named in is applied, and counted on', async () => {
    await fillVectorSet(client, 'v', 1);
    await client.mset('p', '1', 'q', '2');
    const first = await startSync({ source, target });
    await first.until(({ stage }) => stage === 'live');
    await client.call('VADD', 'v', 'FP32', VECTOR, 'another', 'NOQUANT', 'M', 4);
    await first.caughtUp();
    await first.stop();
    await client.rename('v', 'p');
    await client.rename('p', 'q');
    await client.call('VADD', 'q', 'FP32', VECTOR, 'a third', 'NOQUANT', 'M', 4);
    await using second = await startSync({ source, target });
    await second.until(({ stage }) => stage === 'live');
    await second.caughtUp();
    expect(await target.client().exists('p', 'q')).toBe(0);
    await expectSame({ skippedKeys: 1 });
    const report = await second.stop();
    expect(report.copiedKeys).toBe(0);
    expect(report.skipped.map(({ what, count }) => `${count} ${what}`)).toEqual(['1 keys', '2 commands']);
    await first[Symbol.asyncDispose]();
  });

  it('are counted anew when the target is reconciled, and what they have taken the place of goes', async () => {
    await fillVectorSet(client, 'v', 1);
    await client.mset('p', '1', 'q', '2');
    const first = await startSync({ source, target });
    await first.until(({ stage }) => stage === 'live');
    await first.stop();
    await client.rename('v', 'p');
    await fillVectorSet(client, 'w', 1);
    // More than the backlog of the source holds, so that nothing can be resumed.
    for (let index = 0; index < 30; index++) await client.set('large', Buffer.alloc(64 * 1024, index));
    await using second = await startSync({ source, target });
    await second.until(({ stage }) => stage === 'live');
    await second.caughtUp();
    expect(await target.client().exists('p', 'q', 'large')).toBe(2);
    await expectSame({ skippedKeys: 2 });
    const report = await second.stop();
    expect(report).toMatchObject({ reconciles: 1, skipped: [{ what: 'keys', count: 2 }] });
    await first[Symbol.asyncDispose]();
  });

  it('may come into being while the sync runs, on a source that had none', async () => {
    await client.mset('p', '1', 'q', '2');
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    expect(sync.progress()?.skipped).toBeUndefined();
    await client
      .multi()
      .set('p', '2')
      .call('VADD', 'v', 'FP32', VECTOR, 'e', 'NOQUANT', 'M', 4)
      .rename('v', 'q')
      .exec();
    await client.call('VADD', 'w', 'FP32', VECTOR, 'e', 'NOQUANT', 'M', 4);
    await sync.caughtUp();
    await expectSame({ skippedKeys: 2 });
    expect((await sync.stop()).skipped).toMatchObject([
      { what: 'commands', count: 2, sample: ['db0 v', 'db0 w'] },
    ]);
  });

  it('need no right to ask the source for its commands', async () => {
    await fillVectorSet(client, 'v', 1);
    await client.call('ACL', 'SETUSER', 'least', 'on', '>secret', '+psync', '+replconf', '+ping');
    const sourceUser = { username: 'least', password: 'secret' };
    await using sync = await startSync({ source, target, sourceUser });
    await sync.until(({ stage }) => stage === 'live');
    await client.call('VADD', 'v', 'FP32', VECTOR, 'another', 'NOQUANT', 'M', 4);
    await client.set('after', '1');
    await sync.caughtUp();
    expect(await target.client().get('after')).toBe('1');
    await expectSame({ skippedKeys: 1 });
  });

  it('leave the two sides equal whatever clients do with few names, over restarts', async () => {
    const random = makeRandom(7);
    const clients = [client, source.client(1)] as const;
    let seen = 0;
    let sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    for (let round = 0; round < 3; round++) {
      for (let step = 0; step < 400; step++) await doAnything(clients, random);
      if (round === 1) {
        await sync.stop();
        for (let step = 0; step < 100; step++) await doAnything(clients, random);
        await sync[Symbol.asyncDispose]();
        sync = await startSync({ source, target });
        await sync.until(({ stage }) => stage === 'live');
      }
      await sync.caughtUp();
      const report = await verifyStill({ source, target });
      expect(differenceLines(report)).toEqual([]);
      seen += report.skipped[0]?.count ?? 0;
    }
    expect(seen).toBeGreaterThan(0);
    expect((await sync.stop()).reconnects).toBe(0);
    await sync[Symbol.asyncDispose]();
  });

  it('are a difference to a verification when the target has something in their place', async () => {
    await fillVectorSet(client, 'v', 1);
    await target.client().set('v', 'what was there before');
    const report = await verifyStill({ source, target });
    expect(differenceLines(report)).toEqual([
      '0 v vectorset type: vectorset at the source, string at the target',
    ]);
    expect(report.skipped).toEqual([]);
    expect(report.passed).toBe(false);
  });

  async function expectSame({ skippedKeys }: { skippedKeys: number }): Promise<void> {
    const report: VerifyReport = await verifyStill({ source, target });
    expect(differenceLines(report)).toEqual([]);
    expect(report.skipped).toMatchObject([{ what: 'keys', reason: 'module vectorset', count: skippedKeys }]);
    const keys = report.byDatabase.reduce((sum, { sourceKeys }) => sum + sourceKeys, 0);
    expect(report.keysCompared).toBe(keys - skippedKeys);
  }
});

describe('data of modules that no server at hand has', () => {
  it('is left out, with their commands and indexes, and the rest is carried', async () => {
    await using target = await startServer({ server: await targetServer() });
    const index = moduleValue('ft_index0', Buffer.concat([WRITTEN_BEFORE, moduleString(100)]));
    const empty = moduleValue('timeserie', WRITTEN_BEFORE);
    const document = moduleValue('ReJSON-RL', moduleString(3 * 1024 * 1024));
    const filter = moduleValue('MBbloom--', moduleString(10));
    await using source = await startScriptedSource(
      makeRdb(
        Buffer.concat([Buffer.of(OPCODE.moduleAux), index]),
        Buffer.concat([Buffer.of(OPCODE.moduleAux), empty]),
        Buffer.concat([Buffer.of(7), string('document'), document]),
        Buffer.concat([Buffer.of(7), string('filter'), filter]),
        Buffer.concat([Buffer.of(0), string('plain'), string('value')]),
        Buffer.concat([Buffer.of(7), string('another'), document]),
      ),
    );
    const client = target.client();
    await using sync = await startSync({ source: { ...source, client: () => client }, target });
    await sync.until(({ stage }) => stage === 'live');
    source.send([
      ['SELECT', '5'],
      ['SET', 'third', 'value'],
      ['SELECT', '0'],
      ['SET', 'second', 'value'],
      ['SET', 'third', 'value'],
      ['JSON.SET', 'document', '$', '{"a":1}'],
      ['FT.CREATE', 'index', 'SCHEMA', 'a', 'TEXT'],
      ['MULTI'],
      ['BF.ADD', 'filter', 'element'],
      ['RENAME', 'document', 'plain'],
      ['COPY', 'another', 'second', 'REPLACE'],
      ['COPY', 'filter', 'third', 'DB', '5', 'REPLACE'],
      ['INCR', 'counter'],
      ['EXEC'],
      ['set', 'last', '1'],
    ]);
    while ((await client.exists('last')) === 0) await sync.until(() => true);
    expect((await client.keys('*')).sort()).toEqual(['__valkey-migrate__', 'counter', 'last', 'third']);
    expect(await target.client(5).dbsize()).toBe(0);
    const { skipped, copiedKeys } = await sync.stop();
    expect(copiedKeys).toBe(1);
    expect(skipped.map(({ what, reason, count }) => `${count} ${what} ${reason}`)).toEqual([
      '1 module-data module ft_index0',
      '2 keys module ReJSON-RL',
      '1 keys module MBbloom--',
      '1 commands module command JSON.SET',
      '1 commands module command FT.CREATE',
      '1 commands module command BF.ADD',
    ]);
  });

  it('is none that an unknown command may stand for: it stops the sync before it is applied', async () => {
    await using target = await startServer({ server: await targetServer() });
    await using source = await startScriptedSource(makeRdb());
    const client = target.client();
    await using sync = await startSync({ source: { ...source, client: () => client }, target });
    await sync.until(({ stage }) => stage === 'live');
    source.send([['SELECT', '0'], ['MULTI'], ['SET', 'k', 'v'], ['FROBNICATE', 'k'], ['EXEC']]);
    await expect(sync.ended).rejects.toMatchObject({
      code: 'target-refused-command',
      message: expect.stringContaining('FROBNICATE'),
    });
    expect(await client.exists('k')).toBe(0);
  });

  it('of a version that is not known is refused by the head of the RDB', async () => {
    await using target = await startServer({ server: await targetServer() });
    const rdb = makeRdb();
    rdb.write('REDIS0013');
    await using source = await startScriptedSource(rdb);
    const client = target.client();
    await using sync = await startSync({ source: { ...source, client: () => client }, target });
    await expect(sync.ended).rejects.toMatchObject({ code: 'source-version-unsupported' });
  });
});

/** What modules write first among what they remember beside their keys: that it came before these. */
const WRITTEN_BEFORE = Buffer.of(0x02, 0x01);
/** Makes a value of more than the 2 MiB that are waited for. */
const LARGE_VECTORS = 6000;
const DIMENSIONS = 100;
const VECTOR = Buffer.alloc(4 * DIMENSIONS);
VECTOR.writeFloatLE(1);

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

/** The same numbers from the same seed (mulberry32). */
function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One command on names that are now of a module and now not; most of those that cannot be are refused by the source. */
async function doAnything(clients: readonly [Redis, Redis], random: () => number): Promise<void> {
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
  const [a, b, db] = [pick(NAMES), pick(NAMES), pick([0, 1] as const)];
  const client = clients[db];
  const other = 1 - db;
  const dump = await client.dumpBuffer(a);
  const commands: Command[] = [
    ['VADD', a, 'FP32', VECTOR, `element ${random()}`, 'NOQUANT', 'M', 4],
    ...Array<Command>(5).fill(['VADD', a, 'FP32', VECTOR, 'element', 'NOQUANT', 'M', 4]),
    ['VREM', a, 'element'],
    ['RENAME', a, b],
    ['RENAMENX', a, b],
    ['COPY', a, b, 'REPLACE'],
    ['COPY', a, b, 'DB', other, 'REPLACE'],
    ['COPY', a, b],
    ['MOVE', a, other],
    ['SET', a, random()],
    ['SET', a, random(), 'XX'],
    ['SET', a, random(), 'XX', 'PX', 3_600_000],
    ['SET', a, random(), 'NX'],
    ['MSET', a, 1, b, 2],
    ['MSETNX', a, 1, b, 2],
    ['INCR', a],
    ['SADD', a, 'x', 'y', random()],
    ['RPUSH', a, 2, 1],
    ['SUNIONSTORE', b, a, a],
    ['SORT', a, 'BY', `${b}*`, 'STORE', b],
    ['LMOVE', a, b, 'LEFT', 'RIGHT'],
    ['DEL', a],
    ['UNLINK', a, b],
    ['PEXPIRE', a, 3_600_000],
    ['PERSIST', a],
    ['SWAPDB', 0, 1],
    ['RESTORE', b, 0, dump ?? 'nothing', 'REPLACE'],
  ];
  const chosen = Array.from({ length: pick([1, 1, 3]) }, () => pick(commands));
  const transaction = client.multi();
  for (const [name, ...args] of chosen) transaction.call(String(name), ...args);
  await transaction.exec();
}

async function fillVectorSet(client: Redis, key: string, count: number): Promise<void> {
  const pipeline = client.pipeline();
  const vector = Buffer.alloc(DIMENSIONS * 4);
  for (let element = 0; element < count; element++) {
    vector.writeFloatLE(element + 1, 4 * (element % DIMENSIONS));
    const bytes = Buffer.from(vector);
    pipeline.call('VADD', key, 'FP32', bytes, `element ${element}`, 'NOQUANT', 'M', 4, 'EF', 4);
  }
  await pipeline.exec();
}

async function readList({ directory }: SyncRun): Promise<{ db: number; key: string; reason: string }[]> {
  const text = await readFile(path.join(directory, SKIP_LIST_FILE), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}
