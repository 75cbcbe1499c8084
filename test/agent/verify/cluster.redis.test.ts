import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import { type RunningCluster, startCluster } from '../../servers/cluster.ts';
import { loadDataSet } from '../../servers/data-set.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { startSync } from '../sync/sync-run.ts';
import { copyDatabase, differenceLines, verifyPair, verifyStill } from './verify-pair.ts';

const KEYS = 2000;
const VERIFICATIONS = 3;
const ROUND_PAUSE_MS = 10;
const LIBRARY = "#!lua name=shop\nredis.register_function('one', function() return 1 end)";

async function startSource(): Promise<RunningServer> {
  return startServer({ server: await sourceServer() });
}

/** Writes to keys in many slots, also with commands over several, as fast as a sync can follow. */
function startPacedWriter(client: Redis): AsyncDisposable & { rounds(): number } {
  const stopping = new AbortController();
  let round = 0;
  const write = async () => {
    while (!stopping.signal.aborted) {
      const at = round++ % 16;
      await client.multi().incr(`counter:${at}`).lpush(`list:${at}`, round).ltrim(`list:${at}`, 0, 9).exec();
      await client.hset(`hash:${at}`, 'round', round, `field:${round % 5}`, 'x');
      await client.zadd(`zset:${at}`, round, `member:${round % 7}`);
      await client.xadd(`stream:${at}`, 'MAXLEN', '=', '20', '*', 'round', round);
      await client.set(`renamed:${at}`, round, 'PX', 5_000_000);
      await client.rename(`renamed:${at}`, `renamed:${at}:to`);
      await client.sadd(`set:${at}`, round % 9);
      await client.sunionstore(`set:${at}:both`, `set:${at}`, `set:${(at + 1) % 16}`);
      await client.del(`list:${(at + 3) % 16}`, `hash:${(at + 5) % 16}`);
      await delay(ROUND_PAUSE_MS);
    }
  };
  const writing = write();
  return {
    rounds: () => round,
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await writing;
    },
  };
}

describe('a cluster as the target', () => {
  let target: RunningCluster;
  beforeAll(async () => {
    target = await startCluster({ server: await targetServer() });
  });
  afterAll(() => target[Symbol.asyncDispose]());
  beforeEach(async () => {
    for (const primary of target.primaries) {
      await primary.client().flushall();
      await primary.client().call('FUNCTION', 'FLUSH');
    }
  });

  it('passes with the data of a standalone source, every key of every primary counted', async () => {
    await using source = await startSource();
    const { keys, keysByType } = await loadDataSet(source.client(), { keys: KEYS, seed: 5, databases: [0] });
    await source.client().call('FUNCTION', 'FLUSH');
    await copyDatabase(source.client(), target.client());
    await target.client().set(RESERVED_KEY, 'claim');
    await target.client().set('__valkey-migrate__{7}', 'checkpoint of a primary');

    const report = await verifyStill({ source, target });
    expect(differenceLines(report)).toEqual([]);
    expect(report).toMatchObject({
      keysCompared: keys,
      byDatabase: [{ db: 0, sourceKeys: keys, targetKeys: keys, differences: 0 }],
    });
    expect(Object.fromEntries(report.byType.map(({ type, keys: count }) => [type, count]))).toEqual(
      keysByType,
    );
    const places = await Promise.all(target.primaries.map((primary) => primary.client().dbsize()));
    expect(Math.min(...places)).toBeGreaterThan(KEYS / 10);
  });

  it('is told what differs, on whatever primary it is', async () => {
    await using source = await startSource();
    const [from, to] = [source.client(), target.client()];
    for (let index = 0; index < 100; index++) await from.set(`key:${index}`, `value ${index}`);
    await copyDatabase(from, to);
    await to.del('key:1');
    await to.set('key:2', 'another value');
    await to.pexpire('key:3', 1_000_000);
    await to.rpush('only:here', 'a');
    await from.hset('hash', 'field', 'one');
    await to.hset('hash', 'field', 'two');
    await to.set('__valkey-migrate__x', 'a key of the customer');

    const lines = differenceLines(await verifyStill({ source, target }));
    expect(lines.map((line) => line.split(':').slice(0, 2).join(':'))).toEqual([
      '0 __valkey-migrate__x string extra: nothing at the source, string at the target',
      '0 hash hash value: field field',
      '0 key:1 string missing',
      '0 key:2 string value',
      '0 key:3 string ttl',
      '0 only:here list extra',
    ]);
  });

  it('must have every function library on every primary', async () => {
    await using source = await startSource();
    const [first, second, third] = target.primaries;
    for (const server of [source, first, second, third])
      await server?.client().call('FUNCTION', 'LOAD', LIBRARY);
    expect(differenceLines(await verifyStill({ source, target }))).toEqual([]);
    await second?.client().call('FUNCTION', 'FLUSH');
    expect(differenceLines(await verifyStill({ source, target }))).toEqual([
      '-1 shop function function: missing on 1 of 3 primaries of the target',
    ]);
  });

  it('has no database for keys outside of the first', async () => {
    await using source = await startSource();
    await source.client(3).set('key', 'value');
    await expect(verifyStill({ source, target })).rejects.toMatchObject({ code: 'target-databases-too-few' });
  });

  it('is reached through any of its nodes, a replica as well', async () => {
    await using source = await startSource();
    await using replicated = await startCluster({ server: await targetServer(), replicas: 1 });
    for (let index = 0; index < 30; index++) await source.client().set(`key:${index}`, 'value');
    await copyDatabase(source.client(), replicated.client());
    const replica = replicated.replicas[2]?.[0];
    expect(replica).toBeDefined();
    if (replica === undefined) return;
    expect(await verifyStill({ source, target: replica })).toMatchObject({ passed: true, keysCompared: 30 });
  });
});

describe('a cluster as the source', () => {
  it('is compared with a cluster of other shards', async () => {
    await using origin = await startServer({ server: await targetServer() });
    await using source = await startCluster({ server: origin.server, primaries: 2 });
    await using target = await startCluster({ server: await targetServer(), primaries: 3 });
    await loadDataSet(origin.client(), { keys: 1000, seed: 6, databases: [0] });
    for (const cluster of [source, target]) await copyDatabase(origin.client(), cluster.client());
    expect(differenceLines(await verifyStill({ source, target }))).toEqual([]);
    await source.client().set('new', 'value');
    await target.client().set('old', 'value');
    expect(differenceLines(await verifyStill({ source, target }))).toEqual([
      '0 new string missing: string at the source, nothing at the target',
      '0 old string extra: nothing at the source, string at the target',
    ]);
  });

  it('is compared with a standalone target', async () => {
    await using source = await startCluster({ server: await sourceServer(), primaries: 2 });
    await using target = await startServer({ server: await targetServer() });
    const inAnHourMs = Date.now() + 3_600_000;
    for (const client of [source.client(), target.client()]) {
      for (let index = 0; index < 200; index++) {
        await client.set(`key:${index}`, 'value');
        await client.pexpireat(`key:${index}`, inAnHourMs + index);
      }
    }
    expect(await verifyStill({ source, target })).toMatchObject({ passed: true, keysCompared: 200 });
  });
});

describe('a cluster that a sync writes to', () => {
  it('is never found different under writes over all slots, and is where it is', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await using target = await startCluster({ server: await targetServer() });
    await loadDataSet(source.client(), { keys: 1000, seed: 9, databases: [0] });
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    await using writer = startPacedWriter(source.client());
    for (let count = 0; count < VERIFICATIONS; count++) {
      const before = writer.rounds();
      expect(differenceLines(await verifyPair({ source, target })), `verification ${count}`).toEqual([]);
      expect(writer.rounds()).toBeGreaterThan(before);
    }
    await source.client().set('lost', 'value');
    const copied = target.client();
    while ((await copied.exists('lost')) === 0) await source.client().ping();
    await copied.del('lost');
    await copied.incrby('counter:3', 1_000_000);
    const lines = differenceLines(await verifyPair({ source, target }));
    expect(lines.map((line) => line.replace(/: .*/, ''))).toEqual([
      '0 counter:3 string value',
      '0 lost string missing',
    ]);
    await sync.stop();
  });
});

/** Many more than are compared side by side: the scan must not be over when the slot moves. */
const MOVING_KEYS = 12_000;

describe('a cluster whose slots move during the comparison', () => {
  it('is not taken for compared, and what is asked meanwhile is answered', async () => {
    await using source = await startSource();
    await using target = await startCluster({ server: await targetServer() });
    const names = Array.from({ length: MOVING_KEYS }, (_, index) => [`key:${index}`, 'value']);
    await source.client().mset(...names.flat());
    await copyDatabase(source.client(), target.client());
    const [first, second] = target.primaries;
    if (first === undefined || second === undefined) throw new Error('the cluster has too few primaries');
    // One that holds a key: a slot without any changes nothing that is compared.
    const slot = await slotBelow(5000, target.client());
    let move: Promise<void> | undefined;
    const outcome = await verifyStill(
      { source, target },
      {
        report: ({ stage }) => {
          if (stage !== 'scanning-target' || move !== undefined) return;
          move = target.moveSlot(slot, second);
          // The keys would be compared before the slot has moved.
          void source.client().call('CLIENT', 'PAUSE', 4000);
        },
      },
    ).catch((error: unknown) => error);
    await move;
    expect(outcome).toMatchObject({ code: 'target-slots-moved' });
    expect(await verifyStill({ source, target })).toMatchObject({ passed: true, keysCompared: MOVING_KEYS });
  });
});

describe('a cluster whose primary fails over during the comparison', () => {
  it('is not taken for compared', async () => {
    await using source = await startSource();
    await using target = await startCluster({ server: await targetServer(), replicas: 1 });
    for (let index = 0; index < 3000; index++) await source.client().set(`key:${index}`, 'value');
    await copyDatabase(source.client(), target.client());
    let failure: Promise<void> | undefined;
    const outcome = await verifyPair(
      { source, target },
      {
        report: ({ stage }) => {
          if (stage === 'scanning-source' || stage === 'scanning-target')
            failure ??= target.primaries[1]?.stop('SIGKILL');
        },
      },
    ).catch((error: unknown) => error);
    await failure;
    expect(outcome).toMatchObject({ code: 'verification-incomplete' });
    expect(await verifyPair({ source, target })).toMatchObject({ passed: true, keysCompared: 3000 });
  });
});

/** The slot of one of the keys, on the first primary. */
async function slotBelow(limit: number, client: Pick<Redis, 'call'>): Promise<number> {
  for (let index = 0; index < 3000; index++) {
    const slot = Number(await client.call('CLUSTER', 'KEYSLOT', `key:${index}`));
    if (slot < limit) return slot;
  }
  throw new Error(`no key has a slot below ${limit}`);
}
