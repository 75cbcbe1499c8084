import { describe, expect, it } from 'vitest';
import { RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import type { Progress } from '../../../src/contract/job-state.ts';
import { loadDataSet } from '../../servers/data-set.ts';
import { findServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { accessTo, copyAll, differenceLines, startPair, verifyPair, verifyStill } from './verify-pair.ts';

const sources = [
  { name: 'the source server', find: sourceServer },
  { name: 'redis 7.0', find: () => findServer({ kind: 'redis', version: '7.0' }) },
];

describe.each(sources)('equal data of $name', ({ find }) => {
  it('passes without any difference, every key counted', async () => {
    await using pair = await startPair(await find(), await targetServer());
    const loaded = await loadDataSet(pair.source.client(), { keys: 3000, seed: 7 });
    await copyAll(pair, [0, 1, 5]);
    const seen: Progress[] = [];
    const report = await verifyStill(pair, { report: (progress) => seen.push(progress) });
    expect(differenceLines(report)).toEqual([]);
    expect(report.passed).toBe(true);
    expect(report.keysCompared).toBe(loaded.keys);
    expect(Object.fromEntries(report.byType.map(({ type, keys }) => [type, keys]))).toEqual(
      loaded.keysByType,
    );
    for (const { db, sourceKeys, targetKeys } of report.byDatabase) {
      expect({ db, sourceKeys, targetKeys }).toEqual({
        db,
        sourceKeys: loaded.keysByDatabase[db],
        targetKeys: loaded.keysByDatabase[db],
      });
    }
    expect(new Set(seen.map(({ stage }) => stage))).toEqual(
      new Set(['scanning-source', 'scanning-target', 'functions']),
    );
  });
});

describe('a comparison', () => {
  it('reads no elements of values that only look different because versions encode them differently', async () => {
    await using pair = await startPair(
      await findServer({ kind: 'redis', version: '7.0' }),
      await targetServer(),
    );
    const { keys } = await loadDataSet(pair.source.client(), { keys: 2000, seed: 5, databases: [0] });
    // What a native replica holds: sets and streams in the encodings of the target, hash tables in another order.
    await pair.target.client().replicaof(pair.source.host, pair.source.port);
    await expect
      .poll(async () => /master_link_status:up/.test(await pair.target.client().info('replication')), {
        timeout: 20_000,
      })
      .toBe(true);
    await pair.target.client().replicaof('NO', 'ONE');
    for (const side of [pair.source, pair.target]) await side.client().config('RESETSTAT');
    expect(await verifyStill(pair)).toMatchObject({ passed: true, keysCompared: keys });
    for (const side of [pair.source, pair.target]) {
      const stats = await side.client().info('commandstats');
      expect(stats).toMatch(/^cmdstat_dump:/m);
      expect(stats).not.toMatch(
        /^cmdstat_([hsz]scan|lrange|xrange|xinfo|xpending|hmget|exists:calls=[2-9])/m,
      );
    }
  });

  it('finds what differs among many short strings, however long it is at either side', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const names = Array.from({ length: 20_000 }, (_, index) => [`key-${index}`, `value ${index}`]).flat();
    const long = 'x'.repeat(100_000);
    const equal = ['long', long, 'empty', '', 'reply', '$1\r\na'];
    const [source, target] = [pair.source.client(), pair.target.client()];
    for (const client of [source, target]) await client.mset(...names, ...equal);
    await source.mset(
      'long-at-source',
      long,
      'short',
      'a',
      'last',
      `${long}a`,
      'filled',
      'x',
      'only-source',
      '1',
    );
    await target.mset('long-at-target', long, 'short', 'zz$1\r\na', 'last', `${long}b`, 'filled', '');
    await source.mset('long-at-target', 'a');
    await target.mset('long-at-source', 'a');
    await source.rpush('list-at-source', 'a');
    await target.set('list-at-source', 'a');
    await target.set('only-target', '');
    const report = await verifyStill(pair);
    expect(
      differenceLines(report)
        .map((line) => line.split(' ')[1])
        .sort(),
    ).toEqual([
      'filled',
      'last',
      'list-at-source',
      'long-at-source',
      'long-at-target',
      'only-source',
      'only-target',
      'short',
    ]);
  });

  it('finds a key that got an expiry time while its value was compared', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const names = Array.from({ length: 5000 }, (_, index) => [`key-${index}`, String(index)]).flat();
    for (const side of [pair.source, pair.target]) await side.client().mset(...names);
    let given: Promise<unknown> | undefined;
    const report = await verifyStill(pair, {
      report: () => {
        given ??= pair.target
          .client()
          .multi(Array.from({ length: 5000 }, (_, index) => ['expire', `key-${index}`, '5000']))
          .exec();
      },
    });
    await given;
    expect(report.differences.total).toBe(5000);
  });

  it('finds a key that came to the source while the target was scanned, although the counts had been the same', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const names = Array.from({ length: 5000 }, (_, index) => [`key-${index}`, String(index)]).flat();
    for (const side of [pair.source, pair.target]) await side.client().mset(...names);
    let written: Promise<unknown> | undefined;
    const report = await verifyStill(pair, {
      report: () => {
        written ??= pair.source.client().set('late', '1');
      },
    });
    await written;
    expect(differenceLines(report)).toEqual([
      '0 late string missing: string at the source, nothing at the target',
    ]);
  });

  it('of two empty servers passes', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const report = await verifyStill(pair);
    expect(report).toMatchObject({ passed: true, keysCompared: 0, byDatabase: [] });
  });

  it('leaves our own key in database 0 out', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.target.client().set(RESERVED_KEY, 'claim');
    await pair.target.client(1).set(RESERVED_KEY, 'a key of the customer');
    const report = await verifyStill(pair);
    expect(differenceLines(report)).toEqual([
      '1 __valkey-migrate__ string extra: nothing at the source, string at the target',
    ]);
  });

  it('passes with as many differences as are allowed, and not with one more', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.source.client().mset('a', '1', 'b', '2');
    expect(await verifyStill(pair, { maxDifferences: 2 })).toMatchObject({ passed: true });
    expect(await verifyStill(pair, { maxDifferences: 1 })).toMatchObject({ passed: false });
  });

  it('shows, hashes or hides the names of keys and fields', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.source.client().hset('a key', 'a\nfield', 'x');
    await pair.target.client().hset('a key', 'a\nfield', 'secret');
    const detail = ': 1 bytes at the source, 6 at the target, first difference at byte 0';
    const lineWith = async (keyDisplay: 'shown' | 'hashed' | 'hidden') =>
      differenceLines(await verifyStill(pair, { keyDisplay }));
    expect(await lineWith('shown')).toEqual([`0 a key hash value: field a\\x0afield${detail}`]);
    expect(await lineWith('hashed')).toEqual([
      `0 8fa3aab2faa9b79e hash value: field ef9bab3cd9f2336b${detail}`,
    ]);
    expect(await lineWith('hidden')).toEqual([`0 (hidden) hash value: field (hidden)${detail}`]);
  });

  it('says so when the target lacks a database that the source uses', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.source.client(15).set('a', '1');
    await using small = await startServer({ server: await targetServer(), config: { databases: '4' } });
    const target = accessTo('target', small);
    await expect(verifyStill(pair, { target })).rejects.toMatchObject({ code: 'target-databases-too-few' });
  });

  it('ends with the signal', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const stop = new AbortController();
    stop.abort(new Error('stopped by the user'));
    await expect(verifyStill(pair, { signal: stop.signal })).rejects.toThrow('stopped by the user');
  });

  it('names the side that cannot be reached', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.target.stop();
    await expect(verifyStill(pair)).rejects.toMatchObject({ code: 'target-unreachable' });
  });

  it('names the command that a side does not allow', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await pair.source.client().call('ACL', 'SETUSER', 'default', '-dump');
    await pair.source.client().hset('h', 'f', 'v');
    await pair.target.client().hset('h', 'f', 'v');
    await expect(verifyStill(pair)).rejects.toMatchObject({
      code: 'source-permission-denied',
      message: expect.stringContaining('dump'),
    });
  });

  it('goes on after a lost connection', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await loadDataSet(pair.source.client(), { keys: 4000, seed: 3, databases: [0] });
    await copyAll(pair, [0]);
    let kills = 0;
    const pending: Promise<unknown>[] = [];
    const report = await verifyPair(pair, {
      report: ({ keys }) => {
        if (keys < 1000 * (kills + 1) || kills >= 3) return;
        kills += 1;
        const side = kills % 2 === 0 ? pair.target : pair.source;
        pending.push(side.client().call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
      },
    });
    await Promise.all(pending);
    expect(kills).toBe(3);
    expect(report).toMatchObject({ passed: true, keysCompared: 4000 });
  });

  it('does not trust cursors of a server that was restarted meanwhile', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    await loadDataSet(pair.source.client(), { keys: 4000, seed: 3, databases: [0] });
    let restart: Promise<void> | undefined;
    const verification = verifyPair(pair, {
      report: () => {
        restart ??= pair.source.restart();
      },
    });
    const outcome = await verification.catch((error: unknown) => error);
    await restart;
    expect(outcome).toMatchObject({ code: 'verification-incomplete' });
  });
});
