import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { VerifyScope } from '../../../src/contract/jobs.ts';
import type { VerifyReport } from '../../../src/contract/reports.ts';
import { startCluster } from '../../servers/cluster.ts';
import { findServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { type SyncRun, startSync } from '../sync/sync-run.ts';
import { differingKeys, verifyInScope } from './scoped-verify.ts';
import { startPair, type VerifyPair } from './verify-pair.ts';

let pair: VerifyPair;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-delta-'));
});
afterEach(() => rm(directory, { recursive: true }));

/** Verifies the pair beside a sync at a stage. */
function verify(scope: VerifyScope, stage = 'live'): Promise<VerifyReport> {
  return verifyInScope(scope, { ...pair, directory, stage });
}

/** Starts a sync and verifies in full, so that everything from now on is touched. */
async function startVerified(): Promise<SyncRun> {
  const sync = await startSync({ ...pair, directory });
  await sync.until(({ stage }) => stage === 'live');
  const report = await verify('full');
  expect(report).toMatchObject({ scope: 'full', passed: true, differences: { total: 0 } });
  return sync;
}

/** Makes each key, given as `db key`, differ at the target. */
async function seed(keys: readonly string[]): Promise<void> {
  for (const name of keys) {
    const at = name.indexOf(' ');
    const client = pair.target.client(Number(name.slice(0, at)));
    const key = name.slice(at + 1);
    await client.del(key);
    await client.set(key, 'seeded');
  }
}

/** Commands by family, run by words; and the keys, as `db key` or in database 0, that must be among the touched. */
const FAMILIES: readonly (readonly [
  family: string,
  commands: readonly string[],
  touched: readonly string[],
])[] = [
  [
    'SET',
    ['SET s:set v', 'SET s:px v PX 900000', 'GETSET s:getset n', 'SETRANGE s:range 2 xx'],
    ['s:set', 's:px', 's:getset', 's:range'],
  ],
  [
    'SETEX',
    ['SETEX s:setex 900 v', 'PSETEX s:psetex 900000 v', 'SETNX s:setnx v'],
    ['s:setex', 's:psetex', 's:setnx'],
  ],
  [
    'APPEND',
    ['APPEND s:append x', 'INCR s:incr', 'INCRBYFLOAT s:float 1.5', 'DECRBY s:decr 3'],
    ['s:append', 's:incr', 's:float', 's:decr'],
  ],
  ['MSET', ['MSET m:1 a m:2 b m:3 c', 'MSETNX m:4 a m:5 b'], ['m:1', 'm:2', 'm:3', 'm:4', 'm:5']],
  [
    'DEL',
    ['DEL d:1 d:2', 'UNLINK d:3', 'GETDEL d:4', 'GETEX d:5 EX 900'],
    ['d:1', 'd:2', 'd:3', 'd:4', 'd:5'],
  ],
  ['RENAME', ['RENAME r:a r:b', 'RENAMENX r:c r:d'], ['r:a', 'r:b', 'r:c', 'r:d']],
  ['COPY', ['COPY c:a c:b', 'COPY c:a c:far DB 3', 'COPY c:a c:b REPLACE'], ['c:b', '3 c:far']],
  ['MOVE', ['MOVE mv:a 2'], ['mv:a', '2 mv:a']],
  ['EXPIRE', ['EXPIRE e:1 900', 'PEXPIREAT e:2 99999999999999', 'PERSIST e:3'], ['e:1', 'e:2', 'e:3']],
  ['expiry', ['SET x:gone v PX 1'], ['x:gone']],
  [
    'BITOP',
    ['BITOP OR b:dest b:1 b:2', 'SETBIT b:bit 7 1', 'BITFIELD b:field SET u8 0 255'],
    ['b:dest', 'b:bit', 'b:field'],
  ],
  [
    'LIST',
    ['RPUSH l:a 1 2 3', 'LPUSH l:b 1', 'LINSERT l:c BEFORE x y', 'LSET l:d 0 z', 'LTRIM l:e 0 0'],
    ['l:a', 'l:b', 'l:c', 'l:d', 'l:e'],
  ],
  [
    'LMOVE',
    [
      'LMOVE l:f l:g LEFT RIGHT',
      'RPOPLPUSH l:h l:i',
      'LMPOP 2 l:none l:j LEFT',
      'BLPOP l:k 1',
      'BLMOVE l:l l:m LEFT LEFT 1',
      'BRPOPLPUSH l:n l:o 1',
    ],
    ['l:f', 'l:g', 'l:h', 'l:i', 'l:j', 'l:k', 'l:l', 'l:m', 'l:n', 'l:o'],
  ],
  ['SORT', ['SORT sort:a BY nosort GET # STORE sort:dest'], ['sort:dest']],
  [
    'SET OF MEMBERS',
    ['SADD set:a x', 'SREM set:b x', 'SPOP set:c', 'SPOP set:d 2', 'SMOVE set:e set:f x'],
    ['set:a', 'set:b', 'set:c', 'set:d', 'set:e', 'set:f'],
  ],
  [
    'SUNIONSTORE',
    ['SUNIONSTORE set:u set:1 set:2', 'SINTERSTORE set:i set:1 set:2', 'SDIFFSTORE set:v set:1 set:2'],
    ['set:u', 'set:i', 'set:v'],
  ],
  [
    'HASH',
    [
      'HSET h:a f v',
      'HDEL h:b f',
      'HINCRBY h:c n 2',
      'HMSET h:d f v',
      'HSETNX h:e f v',
      'HINCRBYFLOAT h:f n 1.5',
    ],
    ['h:a', 'h:b', 'h:c', 'h:d', 'h:e', 'h:f'],
  ],
  [
    'ZSET',
    [
      'ZADD z:a 1 m',
      'ZINCRBY z:b 1 m',
      'ZREM z:c m',
      'ZPOPMIN z:d',
      'ZREMRANGEBYRANK z:e 0 0',
      'ZMPOP 1 z:f MIN',
      'BZPOPMAX z:g 1',
    ],
    ['z:a', 'z:b', 'z:c', 'z:d', 'z:e', 'z:f', 'z:g'],
  ],
  [
    'ZUNIONSTORE',
    [
      'ZUNIONSTORE z:u 2 z:1 z:2 WEIGHTS 2 3',
      'ZINTERSTORE z:i 2 z:1 z:2',
      'ZDIFFSTORE z:v 2 z:1 z:2',
      'ZRANGESTORE z:r z:1 0 -1',
    ],
    ['z:u', 'z:i', 'z:v', 'z:r'],
  ],
  [
    'GEO',
    [
      'GEOADD g:a 13 38 p',
      'GEOSEARCHSTORE g:dest g:1 FROMLONLAT 13 38 BYRADIUS 900 km',
      'GEORADIUS g:1 13 38 900 km STORE g:old',
      'GEORADIUSBYMEMBER g:1 p 900 km STOREDIST g:dist',
    ],
    ['g:a', 'g:dest', 'g:old', 'g:dist'],
  ],
  ['HLL', ['PFADD p:a x', 'PFMERGE p:dest p:1 p:2'], ['p:a', 'p:dest']],
  [
    'STREAM',
    ['XADD st:a 1-1 f v', 'XDEL st:b 1-1', 'XTRIM st:c MAXLEN 0', 'XSETID st:d 9-9'],
    ['st:a', 'st:b', 'st:c', 'st:d'],
  ],
  [
    'XGROUP',
    ['XGROUP CREATE st:e g $', 'XGROUP CREATECONSUMER st:f g c', 'XGROUP DESTROY st:g g'],
    ['st:e', 'st:f', 'st:g'],
  ],
  [
    'XREADGROUP',
    [
      'XREADGROUP GROUP g c COUNT 1 STREAMS st:h >',
      'XACK st:i g 1-1',
      'XCLAIM st:j g other 0 1-1',
      'XAUTOCLAIM st:k g other 0 0',
    ],
    ['st:h', 'st:i', 'st:j', 'st:k'],
  ],
  ['DUMP', ['RESTORE dump:a 0 PAYLOAD', 'RESTORE dump:b 900000 PAYLOAD REPLACE'], ['dump:a', 'dump:b']],
  [
    'script',
    ['EVAL redis.call("SET",KEYS[1],1);redis.call("INCR","undeclared") 1 eval:key'],
    ['eval:key', 'undeclared'],
  ],
  ['database 5', ['SELECT 5', 'SET far v', 'LPUSH far:list a b', 'SELECT 0'], ['5 far', '5 far:list']],
];

/** What the commands need to find, before the first verification. */
const BEFORE = [
  'MSET d:1 1 d:2 2 d:3 3 d:4 4 d:5 5 r:a 1 r:c 1 c:a 1 mv:a 1 e:1 1 e:2 1 b:1 a b:2 b',
  'SET e:3 1 EX 900',
  'SET s:getset old',
  'RPUSH l:c x',
  'RPUSH l:d x',
  'RPUSH l:e x y',
  'RPUSH l:f x',
  'RPUSH l:h x',
  'RPUSH l:j x',
  'RPUSH l:k x',
  'RPUSH l:l x',
  'RPUSH l:n x',
  'RPUSH sort:a 3 1 2',
  'SADD set:b x y',
  'SADD set:c x y',
  'SADD set:d x y z',
  'SADD set:e x y',
  'SADD set:1 a b',
  'SADD set:2 b c',
  'HSET h:b f v g w',
  'ZADD z:c 1 m 2 n',
  'ZADD z:d 1 m',
  'ZADD z:e 1 m 2 n',
  'ZADD z:f 1 m',
  'ZADD z:g 1 m',
  'ZADD z:1 1 a 2 b',
  'ZADD z:2 1 b 2 c',
  'GEOADD g:1 13 38 p',
  'PFADD p:1 a',
  'PFADD p:2 b',
  ...['b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k'].map((name) => `XADD st:${name} 1-1 f v`),
  ...['f', 'g', 'h', 'i', 'j', 'k'].map((name) => `XGROUP CREATE st:${name} g 0`),
  ...['i', 'j', 'k'].map((name) => `XREADGROUP GROUP g c STREAMS st:${name} >`),
  'SET dump:b old',
  'MSET still:1 a still:2 b',
];

async function run(client: Redis, command: string, payload: Buffer): Promise<void> {
  const [name = '', ...words] = command.split(' ');
  await client.call(name, ...words.map((word) => (word === 'PAYLOAD' ? payload : word)));
}

async function prepare(): Promise<void> {
  for (const side of [pair.source, pair.target]) await side.client().flushall();
  const source = pair.source.client();
  await source.config('SET', 'repl-diskless-sync-delay', '0');
  for (const command of BEFORE) await run(source, command, Buffer.alloc(0));
}

it('beside a sync to a cluster, finds a difference in each touched key on whatever primary it is', async () => {
  await using source = await startServer({ server: await sourceServer() });
  await using target = await startCluster({ server: await targetServer() });
  const client = source.client();
  await client.config('SET', 'repl-diskless-sync-delay', '0');
  await client.mset({ still: '1', 'old:1': '1', 'old:2': '2', list: 'x' });
  await client.sadd('set:1', 'a', 'b');
  await using sync = await startSync({ source, target, directory });
  await sync.until(({ stage }) => stage === 'live');
  const places = { source, target, directory };
  expect(await verifyInScope('full', places)).toMatchObject({ scope: 'full', passed: true });
  await client.mset({ 'm:1': 'a', 'm:2': 'b', 'm:3': 'c' });
  await client.del('old:1', 'old:2');
  await client.sunionstore('set:both', 'set:1', 'set:2');
  await client.rename('list', 'renamed');
  await client.multi().incr('count').lpush('l', 'x').exec();
  await sync.caughtUp();
  const touched = ['m:1', 'm:2', 'm:3', 'old:1', 'old:2', 'set:both', 'list', 'renamed', 'count', 'l'];
  expect(await verifyInScope('delta', places)).toMatchObject({ scope: 'delta', passed: true });
  for (const key of [...touched, 'still', 'stray']) {
    await target.client().del(key);
    await target.client().set(key, 'seeded');
  }
  const report = await verifyInScope('delta', places);
  expect(report.scope).toBe('delta');
  expect(differingKeys(report)).toEqual(touched.map((key) => `0 ${key}`).sort());
  await client.flushall();
  await sync.caughtUp();
  expect((await verifyInScope('delta', places)).fullReason).toMatch(/the source sent FLUSHALL/);
});

describe.each(['7.0', '8.0'])('beside a sync from Redis %s, a delta verification', (version) => {
  beforeAll(async () => {
    pair = await startPair(await findServer({ kind: 'redis', version }), await targetServer());
  });
  afterAll(() => pair[Symbol.asyncDispose]());
  beforeEach(prepare);

  it('finds a difference in each key that a command has touched, and looks at no other', async () => {
    await using sync = await startVerified();
    const source = pair.source.client();
    await source.set('payload', 'p');
    const payload = await source.dumpBuffer('payload');
    for (const [, commands] of FAMILIES) for (const command of commands) await run(source, command, payload);
    while ((await source.exists('x:gone')) === 1) await source.ping();
    await sync.caughtUp();
    expect(await verify('delta')).toMatchObject({ scope: 'delta', passed: true, differences: { total: 0 } });
    const touched = FAMILIES.flatMap(([, , keys]) => keys).map((key) =>
      /^\d /.test(key) ? key : `0 ${key}`,
    );
    await seed([...touched, '0 still:1', '0 set:none', '3 still:elsewhere']);
    const report = await verify('delta');
    expect(differingKeys(report)).toEqual([...touched].sort());
    expect(report).toMatchObject({ scope: 'delta', passed: false });
    expect(report.fullReason).toBeUndefined();
  });

  it('takes transactions, binary names, long names, large values and databases', async () => {
    await using sync = await startVerified();
    const source = pair.source.client();
    const long = 'n'.repeat(100_000);
    const binary = Buffer.from('\r\n\0\xff{"}', 'latin1');
    await source.multi().set('tx:1', 'a').select(4).set('tx:2', 'b').select(0).rename('tx:1', 'tx:3').exec();
    await source.set(binary, 'v');
    await source.set(long, 'v');
    await source.set('large', Buffer.alloc(5 << 20, 'x'));
    const half = Buffer.alloc(3 << 20, 'y');
    await source.mset('half:1', half, 'half:2', half, 'half:3', 'z');
    const many = Array.from({ length: 60_000 }, (_, index) => `many:${index}:${'-'.repeat(80)}`);
    await source.set(many[59_999] ?? '', 'v');
    await source.del(...many);
    await sync.caughtUp();
    const equal = await verify('delta');
    expect(equal).toMatchObject({ scope: 'delta', passed: true });
    const last = many[59_999] ?? '';
    await seed(['0 tx:1', '4 tx:2', '0 tx:3', `0 ${long}`, '0 large', '0 half:2', '0 half:3', `0 ${last}`]);
    await pair.target.client().set(binary, 'seeded');
    const report = await verify('delta');
    expect(report.scope).toBe('delta');
    expect(report.differences.total).toBe(9);
  });

  it('waits for what is on its way', async () => {
    await using _ = await startVerified();
    const source = pair.source.client();
    for (let round = 0; round < 20; round++) {
      const pipeline = source.pipeline();
      for (let key = 0; key < 500; key++) pipeline.set(`way:${key}`, `${round}`);
      await pipeline.exec();
      const report = await verify('delta');
      expect(report).toMatchObject({ scope: 'delta', keysCompared: 500, differences: { total: 0 } });
    }
  });

  it('goes on from the full verification that passed last', async () => {
    await using sync = await startVerified();
    const source = pair.source.client();
    await source.set('first', 'v');
    await sync.caughtUp();
    await verify('full');
    await source.set('second', 'v');
    await sync.caughtUp();
    await seed(['0 first', '0 second']);
    const report = await verify('delta');
    expect(differingKeys(report)).toEqual(['0 second']);
    expect(report.base).toMatchObject({
      verificationId: expect.any(String),
      keysCompared: expect.any(Number),
    });
    // A full one that finds differences is nothing to go on from.
    expect(await verify('full')).toMatchObject({ passed: false });
    const fallen = await verify('delta');
    expect(fallen).toMatchObject({ scope: 'full', passed: false });
    expect(fallen.fullReason).toMatch(/no full verification has passed/);
  });

  it.each(['FLUSHALL', 'FLUSHDB', 'SWAPDB 0 1', 'SWAPDB 1 3'])('is a full one after %s', async (command) => {
    await using sync = await startVerified();
    await run(pair.source.client(), command, Buffer.alloc(0));
    await sync.caughtUp();
    await seed(['0 stray']);
    const report = await verify('delta');
    expect(report.scope).toBe('full');
    expect(report.fullReason).toBe(
      `the source sent ${command.split(' ')[0]}, which does not name all keys it changes`,
    );
    expect(differingKeys(report)).toEqual(['0 stray']);
    // Nothing is lost for good: the next full one that passes is one to go on from.
    await pair.target.client().del('stray');
    expect((await verify('full')).passed).toBe(true);
    expect((await verify('delta')).scope).toBe('delta');
  });

  it('is a full one without a sync that applies the stream, and one during the copy is none to go on from', async () => {
    expect((await verify('delta', 'copying')).fullReason).toBe('no sync applies the stream of the source');
    await using sync = await startSync({ ...pair, directory });
    await sync.until(({ stage }) => stage === 'live');
    expect(await verify('full', 'copying')).toMatchObject({ passed: true });
    const report = await verify('delta');
    expect(report).toMatchObject({ scope: 'full', passed: true });
    expect(report.fullReason).toMatch(/no full verification has passed/);
    expect((await verify('delta')).scope).toBe('delta');
  });

  it('is a full one after the target was copied anew', async () => {
    const first = await startVerified();
    await first.stop();
    await pair.target.client().del('__valkey-migrate__');
    await using sync = await startSync({ ...pair, directory, flushTarget: true });
    await sync.until(({ stage }) => stage === 'live');
    expect(await verify('delta')).toMatchObject({
      scope: 'full',
      passed: true,
      fullReason: 'the target was copied anew',
    });
  });

  it('knows the keys before and behind a kill -9 of the sync', async () => {
    const source = pair.source.client();
    const first = await startChild();
    const closed = once(first, 'close');
    expect((await verify('full')).passed).toBe(true);
    const writeSome = async (name: string) => {
      const pipeline = source.pipeline();
      for (let key = 0; key < 300; key++) pipeline.set(`${name}:${key}`, 'v');
      await pipeline.exec();
    };
    await writeSome('before');
    for (let round = 0; round < 20; round++) {
      if (round === 10) first.kill('SIGKILL');
      await writeSome(`during-${round}`);
    }
    await closed;
    await writeSome('behind');
    const second = await startChild();
    try {
      const report = await verify('delta');
      expect(report).toMatchObject({ scope: 'delta', passed: true, keysCompared: 22 * 300 });
      const seeded = ['0 before:1', '0 before:299', '0 behind:0'];
      for (let round = 0; round < 20; round++) seeded.push(`0 during-${round}:${round}`);
      await seed([...seeded, '0 still:1']);
      expect(differingKeys(await verify('delta'))).toEqual(seeded.sort());
    } finally {
      second.kill('SIGKILL');
      await once(second, 'close');
    }
  });
});

async function startChild(): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    [
      path.resolve(import.meta.dirname, '../sync/sync-child.ts'),
      String(pair.source.port),
      String(pair.target.port),
      directory,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(child.stdout, 'data');
  return child;
}
