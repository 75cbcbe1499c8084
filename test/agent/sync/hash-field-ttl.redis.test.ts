import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { runVerifyAndRepair } from '../../../src/agent/repair/job.ts';
import type { HashFieldTtl } from '../../../src/contract/skipped.ts';
import { listServers } from '../../servers/catalogue.ts';
import { chooseServer, type ServerBinary } from '../../servers/server-binary.ts';
import { findServer, type RunningServer, startServer } from '../../servers/start.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';
import { differenceLines, verifyStill } from '../verify/verify-pair.ts';
import { startSync } from './sync-run.ts';

const installed = await listServers();
const valkey8 = await findServer({ kind: 'valkey', version: '8' });
const valkey9 = await findServer({ kind: 'valkey', version: '9' });
const newest = [await findServer({ kind: 'redis', version: '8.0' }), valkey9];
/** Redis 7.4 is in no distribution: it is tested where somebody has it. */
const redis74 = chooseServer(installed, { kind: 'redis', version: '7.4' });
const SOURCES = redis74 === undefined ? newest : [redis74, ...newest];

describe.each(SOURCES)('from $kind $version, hash fields that expire', (source) => {
  const start = () => startPair({ source, target: valkey8 });

  it('keep a sync from touching a target that has no such thing', async () => {
    await using pair = await start();
    await pair.target.client().set('foreign', '1');
    await pair.source.client(3).hset('h', 'f', 'v');
    await pair.source.client(3).call('HPEXPIRE', 'h', HOUR_MS, 'FIELDS', 1, 'f');
    await using sync = await startSync({ ...pair, flushTarget: true });
    await expect(sync.ended).rejects.toMatchObject({
      code: 'source-data-unsupported',
      remedy: expect.stringContaining('hash-field-ttl: keep-values'),
    });
    expect(await pair.target.client().keys('*')).toEqual(['foreign']);
  });

  it('are copied and followed without their expiry when that is wanted, and listed', async () => {
    await using pair = await start();
    const client = pair.source.client();
    await fill(client);
    await using sync = await startSync({ ...pair, hashFieldTtl: 'keep-values' });
    const { skipped } = await sync.until(({ stage }) => stage === 'live');
    expect(skipped).toMatchObject([{ what: 'keys', reason: 'hash-field-ttl', count: 4 }]);
    expect(skipped?.[0]?.sample).toHaveLength(3);
    await change(client);
    await untilExpired(client);
    await sync.caughtUp();
    const lenient = await compare(pair, 'keep-values');
    expect(differenceLines(lenient)).toEqual([]);
    expect(lenient).toMatchObject({ passed: true, keysCompared: await client.dbsize() });
    // few, few again, many, huge, plain, restored, renamed, expiring: those of which a field expires.
    expect(lenient.skipped).toMatchObject([{ what: 'keys', reason: 'hash-field-ttl', count: 7 }]);
    const strict = await compare(pair, 'refuse');
    expect(strict.differences.byKind).toEqual([{ kind: 'ttl', count: 7 }]);
    expect(strict.skipped).toEqual([]);
    const { reconnects } = await sync.stop();
    expect(reconnects).toBe(0);
  });
});

describe('hash fields that expire', () => {
  it('stop the sync before anything differs when they come up later', async () => {
    const redis = await findServer({ kind: 'redis', version: '8.0' });
    await using pair = await startPair({ source: redis, target: valkey8 });
    const client = pair.source.client();
    await client.hset('h', 'f', 'v');
    await using sync = await startSync(pair);
    await sync.until(({ stage }) => stage === 'live');
    await client.call('HPEXPIRE', 'h', HOUR_MS, 'FIELDS', 1, 'f');
    await expect(sync.ended).rejects.toMatchObject({ code: 'source-data-unsupported' });
    expect(await pair.target.client().hgetall('h')).toEqual({ f: 'v' });
    // What the sync was asked anew to do it does from where it stood.
    await using again = await startSync({ ...pair, hashFieldTtl: 'keep-values' });
    await again.until(({ stage }) => stage === 'live');
    await again.caughtUp();
    const report = await again.stop();
    expect(report).toMatchObject({ copiedKeys: 0, skipped: [{ what: 'commands', count: 1 }] });
  });
});

describe('a COPY at a Valkey 9 of a hash with a field that has expired and is not deleted yet', () => {
  it('brings that field along where fields do not expire, which a verification tells and a repair mends', async () => {
    await using pair = await startPair({ source: valkey9, target: valkey8 });
    const client = pair.source.client();
    await using sync = await startSync({ ...pair, hashFieldTtl: 'keep-values' });
    await sync.until(({ stage }) => stage === 'live');
    await copyBehindExpiry(client);
    await sync.caughtUp();
    const found = await compare(pair, 'keep-values');
    expect(differenceLines(found)).toEqual(['0 copied hash value: field f: only at the target']);
    await sync.stop();
    const repaired = await runVerifyAndRepair(
      {
        kind: 'verify',
        source: endpointOf(pair.source),
        target: endpointOf(pair.target),
        maxDifferences: 0,
        ttlToleranceMs: 100,
        keyDisplay: 'shown',
        hashFieldTtl: 'keep-values',
        repair: 'differences',
      },
      jobContext({ directory: pair.target.directory }),
    );
    expect(repaired.differences.total).toBe(0);
    expect(await pair.target.client().hgetall('copied')).toEqual({ g: 'lasting' });
  });

  it('is the same on both sides where fields do expire', async () => {
    await using pair = await startPair({ source: valkey9, target: valkey9 });
    const client = pair.source.client();
    await using sync = await startSync(pair);
    await sync.until(({ stage }) => stage === 'live');
    await copyBehindExpiry(client);
    await sync.caughtUp();
    expect(differenceLines(await compare(pair, 'refuse'))).toEqual([]);
  });
});

/** A Valkey 9 leaves out of a COPY what has expired, and tells nobody: the replica has it still. */
async function copyBehindExpiry(client: Redis): Promise<void> {
  await client.call('DEBUG', 'SET-ACTIVE-EXPIRE', '0');
  await client.hset('hash', { f: 'brief', g: 'lasting' });
  await client.call('HPEXPIRE', 'hash', 30, 'FIELDS', 1, 'f');
  while ((await client.hexists('hash', 'f')) === 1) await client.ping();
  await client.copy('hash', 'copied');
  await client.call('DEBUG', 'SET-ACTIVE-EXPIRE', '1');
  while ((await client.hlen('hash')) > 1) await client.ping();
}

const HOUR_MS = 3_600_000;
/** Makes a hash of more than the 2 MiB that are waited for. */
const HUGE_FIELDS = 4000;

async function fill(client: Redis): Promise<void> {
  await client.hset('few', { a: '1', b: '2', c: 'three' });
  await client.call('HPEXPIRE', 'few', HOUR_MS, 'FIELDS', 2, 'a', 'c');
  for (let field = 0; field < 800; field++) await client.hset('many', `field-${field}`, 'x'.repeat(30));
  await client.call('HPEXPIRE', 'many', HOUR_MS, 'FIELDS', 1, 'field-7');
  const pipeline = client.pipeline();
  for (let field = 0; field < HUGE_FIELDS; field++) pipeline.hset('huge', `field-${field}`, VALUE);
  await pipeline.exec();
  await client.call('HPEXPIRE', 'huge', HOUR_MS, 'FIELDS', 2, 'field-1', 'field-3999');
  await client.hset('expiring', { soon: '1', later: '2', never: '3' });
  await client.call('HPEXPIRE', 'expiring', HOUR_MS, 'FIELDS', 2, 'soon', 'later');
  await client.hset('plain', { f: '1' });
  await client.set('string', 'value');
}

const VALUE = Buffer.alloc(700, 'Kfs82jd-');

/** Whatever sets, moves or removes the expiry of a field; a command that the source lacks is left out. */
async function change(client: Redis): Promise<void> {
  const ifKnown = async (name: string, ...args: (string | number)[]) => {
    const [known] = (await client.call('COMMAND', 'INFO', name)) as unknown[];
    if (known !== null) await client.call(name, ...args);
  };
  await client.call('HPEXPIRE', 'plain', HOUR_MS, 'FIELDS', 1, 'f');
  await client.call('HEXPIRE', 'few', 7200, 'FIELDS', 1, 'b');
  await client.call('HPERSIST', 'few', 'FIELDS', 1, 'b');
  await client.hincrbyfloat('few', 'a', 1.5);
  await ifKnown('HSETEX', 'few', 'PX', HOUR_MS, 'FIELDS', 2, 'b', 'set', 'd', 'new');
  await ifKnown('HGETEX', 'many', 'EX', 7200, 'FIELDS', 1, 'field-8');
  await ifKnown('HGETDEL', 'many', 'FIELDS', 2, 'field-9', 'field-10');
  await client.restore('restored', 0, await client.dumpBuffer('few'));
  await client.hset('to be renamed', 'f', '1');
  await client.call('HPEXPIRE', 'to be renamed', HOUR_MS, 'FIELDS', 1, 'f');
  await client.rename('to be renamed', 'renamed');
  await client.multi().call('HPEXPIRE', 'expiring', 30, 'FIELDS', 1, 'soon').set('with', 'it').exec();
}

async function untilExpired(client: Redis): Promise<void> {
  while ((await client.hlen('expiring')) > 2) await client.hget('expiring', 'soon');
}

function compare(pair: { source: RunningServer; target: RunningServer }, hashFieldTtl: HashFieldTtl) {
  return verifyStill(pair, { hashFieldTtl });
}

async function startPair(servers: { source: ServerBinary; target: ServerBinary }) {
  const source = await startServer({
    server: servers.source,
    config: { 'repl-diskless-sync-delay': '0', 'enable-debug-command': 'yes' },
  });
  const target = await startServer({ server: servers.target });
  return {
    source,
    target,
    [Symbol.asyncDispose]: async () => {
      await source[Symbol.asyncDispose]();
      await target[Symbol.asyncDispose]();
    },
  };
}
