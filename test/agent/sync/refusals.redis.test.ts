import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readClaim, removeClaim } from '../../../src/agent/redis/checkpoint.ts';
import { openClient } from '../../../src/agent/redis/client.ts';
import {
  findServer,
  type RunningServer,
  sourceServer,
  startServer,
  targetServer,
} from '../../servers/start.ts';
import { startSync } from './sync-run.ts';

const CLAIM = '__valkey-migrate__';

describe('a sync that may not begin', () => {
  let source: RunningServer;
  let target: RunningServer;

  beforeAll(async () => {
    source = await startServer({ server: await sourceServer(), config: { 'repl-diskless-sync-delay': '0' } });
    target = await startServer({ server: await targetServer() });
    await source.client().set('key', 'value');
  });

  beforeEach(async () => {
    await target.client().flushall();
    await target.client().call('FUNCTION', 'FLUSH');
  });

  afterAll(async () => {
    await source[Symbol.asyncDispose]();
    await target[Symbol.asyncDispose]();
  });

  it('refuses a target with keys that nobody claims, in whatever database, and leaves them', async () => {
    await target.client(7).set('foreign', '1');
    await using sync = await startSync({ source, target });
    await expect(sync.ended).rejects.toMatchObject({ code: 'target-not-empty' });
    expect(await target.client(7).get('foreign')).toBe('1');
    expect(await target.client().exists(CLAIM)).toBe(0);
  });

  it('refuses a target with functions that nobody claims', async () => {
    await target.client().call('FUNCTION', 'LOAD', FUNCTION_LIBRARY);
    await using sync = await startSync({ source, target });
    await expect(sync.ended).rejects.toMatchObject({ code: 'target-not-empty' });
  });

  it('empties a target with foreign keys when it is told to', async () => {
    await target.client(7).set('foreign', '1');
    await target.client().call('FUNCTION', 'LOAD', FUNCTION_LIBRARY);
    await using sync = await startSync({ source, target, flushTarget: true });
    await sync.until(({ stage }) => stage === 'live');
    expect(await target.client(7).dbsize()).toBe(0);
    expect(await target.client().call('FUNCTION', 'LIST')).toHaveLength(0);
    expect(await target.client().get('key')).toBe('value');
  });

  it.each([{ migrationId: 'other' }, { repository: 'acme/other' }, { hostId: 'host-2' }])(
    'refuses a target that another migration holds: $migrationId $repository $hostId',
    async (other) => {
      await using first = await startSync({ source, target });
      await first.until(({ stage }) => stage === 'live');
      await using second = await startSync({ source, target, flushTarget: true, ...other });
      await expect(second.ended).rejects.toMatchObject({
        code: 'migration-conflict',
        message: expect.stringContaining('sessions'),
      });
      await source.client().incr('counted');
      await first.caughtUp();
      expect((await first.stop()).reconnects).toBe(0);
    },
  );

  it('refuses a target with a claim that it cannot read', async () => {
    await target.client().set(CLAIM, '{"format":2}');
    await using sync = await startSync({ source, target, flushTarget: true });
    await expect(sync.ended).rejects.toMatchObject({ code: 'migration-conflict' });
  });

  it('gives the target free when its claim is removed', async () => {
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    const report = await sync.stop();
    await using client = await openClient({
      side: 'target',
      host: target.host,
      port: target.port,
      address: `${target.host}:${target.port}`,
      username: undefined,
      password: undefined,
      tls: undefined,
    });
    expect(await readClaim(client)).toMatchObject({ state: 'live', checkpoint: report.checkpoint });
    await removeClaim(client);
    expect(await readClaim(client)).toBeUndefined();
  });

  it('refuses a target that is a replica', async () => {
    await using replica = await startServer({ server: await targetServer() });
    await replica.client().call('REPLICAOF', target.host, String(target.port));
    await using sync = await startSync({ source, target: replica });
    await expect(sync.ended).rejects.toMatchObject({ code: 'target-read-only' });
  });

  it('refuses a source that is the target', async () => {
    await using sync = await startSync({ source: target, target });
    await expect(sync.ended).rejects.toMatchObject({ code: 'input-contradictory' });
    expect(await target.client().exists(CLAIM)).toBe(0);
  });

  it('needs no more at the source than PSYNC, REPLCONF and PING', async () => {
    await source.client().call('ACL', 'SETUSER', 'least', 'on', '>secret', '+psync', '+replconf', '+ping');
    const sourceUser = { username: 'least', password: 'secret' };
    await using sync = await startSync({ source, target, sourceUser });
    await sync.until(({ stage }) => stage === 'live');
    await source.client().incr('counted');
    await sync.caughtUp();
    expect(await target.client().exists('counted')).toBe(1);
  });

  it.each([
    { rules: ['>other', '+psync', '+replconf', '+ping'], code: 'source-auth-failed' },
    { rules: ['>secret', '+replconf', '+ping', '+info'], code: 'route-replica-denied' },
    { rules: ['>secret', '+psync', '+ping', '+info'], code: 'route-replica-denied' },
  ])('says $code to a user with $rules, and leaves the target as it is', async ({ rules, code }) => {
    await source.client().call('ACL', 'SETUSER', 'limited', 'reset', 'on', ...rules);
    await target.client().set('foreign', '1');
    const sourceUser = { username: 'limited', password: 'secret' };
    await using sync = await startSync({ source, target, sourceUser, flushTarget: true });
    await expect(sync.ended).rejects.toMatchObject({ code });
    expect(await target.client().keys('*')).toEqual(['foreign']);
  });

  it('throws the reason it was stopped for before it has copied', async () => {
    await using sync = await startSync({ source, target });
    await expect(sync.stop()).rejects.toThrow('stopped by the test');
  });
});

describe('a copy that the target refuses', () => {
  it('is not taken for whole: the next start copies anew', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await using target = await startServer({ server: await targetServer() });
    await source
      .client()
      .mset(Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`string:${n}`, 'x'])));
    await source.client().hset('hash', { field: 'value' });
    await target.client().call('ACL', 'SETUSER', 'limited', 'on', '>secret', '~*', '&*', '+@all', '-restore');
    const targetUser = { username: 'limited', password: 'secret' };
    await using first = await startSync({ source, target, targetUser });
    await expect(first.ended).rejects.toMatchObject({ code: 'target-permission-denied' });
    expect(await target.client().get(CLAIM)).toContain('"state":"copying"');

    await target.client().call('ACL', 'SETUSER', 'limited', '+restore');
    await using second = await startSync({ source, target, targetUser });
    await second.until(({ stage }) => stage === 'live');
    expect(await target.client().hgetall('hash')).toEqual({ field: 'value' });
    expect(await target.client().get('string:99')).toBe('x');
  });

  it('puts no key of a database that the target does not have into another', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0', databases: '64' },
    });
    await using target = await startServer({ server: await targetServer() });
    await source.client().set('low', '1');
    const high = source.client().duplicate({ db: 40 });
    await high.set('high', '1');
    high.disconnect();
    await using sync = await startSync({ source, target });
    await expect(sync.ended).rejects.toMatchObject({ code: 'target-databases-too-few' });
    expect(await target.client().keys('*')).not.toContain('high');
    expect(await target.client().get(CLAIM)).toContain('"state":"copying"');
  });
});

describe('a sync that cannot go on', () => {
  it('stops before it applies what is for a database that the target does not have', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0', databases: '64' },
    });
    await using target = await startServer({ server: await targetServer() });
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    const client = source.client();
    await client.multi().set('before', '1').select(40).set('high', '1').exec();
    await expect(sync.ended).rejects.toMatchObject({ code: 'target-databases-too-few' });
    expect(await target.client().keys('*')).toEqual([CLAIM]);
  });

  it('finds out that a stranger has emptied the target, and does not go on from its checkpoint', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await using target = await startServer({ server: await targetServer() });
    await source.client().set('first', '1');
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    await target.client().flushall();
    await source.client().set('second', '1');
    await expect(sync.ended).rejects.toMatchObject({ code: 'claim-lost' });
    expect(await target.client().exists(CLAIM)).toBe(0);
    await using next = await startSync({ source, target, flushTarget: true });
    await next.until(({ stage }) => stage === 'live');
    expect(await target.client().exists('first', 'second')).toBe(2);
  });

  it('keeps its claim when it is the source that flushes', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await using target = await startServer({ server: await targetServer() });
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    for (const flush of ['FLUSHALL', 'FLUSHDB']) {
      await source.client().set('gone', '1');
      await source.client().call(flush);
      await source.client().set('kept', flush);
      await sync.caughtUp();
      expect(await target.client().get('kept')).toBe(flush);
      expect(await target.client().exists('gone')).toBe(0);
      expect(await target.client().get(CLAIM)).toContain('"state":"live"');
    }
  });

  it('stops before it applies a command that the target does not know', async () => {
    await using source = await startServer({
      server: await findServer({ kind: 'valkey', version: 'newest' }),
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await using target = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    const client = source.client();
    await client.set('before', '1');
    await sync.caughtUp();
    await client
      .multi()
      .set('together', '1')
      .call('HSETEX', 'h', 'PX', '100000', 'FIELDS', '1', 'f', 'v')
      .exec();
    await expect(sync.ended).rejects.toMatchObject({ code: 'source-data-unsupported' });
    expect(await target.client().exists('before', 'together', 'h')).toBe(1);
  });

  it('stops loudly when the target fails a command, and reconciles next time', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await using target = await startServer({ server: await targetServer() });
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    await target.client().set('secret-name', 'a stranger wrote this');
    await source.client().lpush('secret-name', 'x');
    await expect(sync.ended).rejects.toMatchObject({
      code: 'target-refused-command',
      message: expect.stringMatching(/^(?!.*secret-name).*LPUSH.*WRONGTYPE/),
    });
    expect(await target.client().get(CLAIM)).toContain('"state":"reconciling"');
    await using next = await startSync({ source, target });
    await next.until(({ stage }) => stage === 'live');
    expect(await typeOf(target.client(), 'secret-name')).toBe('list');
  });

  it('stops when the target is full, and nothing of the refused batch is applied', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await using target = await startServer({ server: await targetServer() });
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    await target.client().config('SET', 'maxmemory', '1');
    await source.client().multi().set('one', '1').set('two', '2').exec();
    await expect(sync.ended).rejects.toMatchObject({ code: 'target-memory-too-small' });
    expect(await target.client().exists('one', 'two')).toBe(0);
  });
});

const FUNCTION_LIBRARY = "#!lua name=foreign\nredis.register_function('f', function() return 1 end)";

async function typeOf(client: Redis, key: string): Promise<string> {
  return client.type(key);
}
