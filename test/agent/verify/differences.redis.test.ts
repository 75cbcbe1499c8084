import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { findServer, sourceServer, targetServer } from '../../servers/start.ts';
import { differenceLines, startPair, verifyPair } from './verify-pair.ts';

type Argument = string | Buffer | number;
type Seed = {
  readonly name: string;
  readonly key: string | Buffer;
  /** What both servers get. */
  readonly both?: readonly (readonly Argument[])[];
  readonly source?: readonly (readonly Argument[])[];
  readonly target?: readonly (readonly Argument[])[];
  /** The line without database and key; none: this is no difference. */
  readonly line?: string;
  /** How the report shows the key, when not as it is. */
  readonly shown?: string;
  readonly db?: number;
};

const LATER_MS = Date.UTC(2100, 0, 1);
const BIG = Buffer.alloc(10 * 1024 * 1024, 'abcdefgh');
const LONG_KEY = Buffer.alloc(100_000, 'k');
const members = (count: number, of: (index: number) => Argument[]) =>
  Array.from({ length: count }, (_, index) => of(index)).flat();
const group = (key: string) => [
  ['XADD', key, '1-1', 'f', 'v'],
  ['XADD', key, '2-1', 'f', 'v'],
  ['XGROUP', 'CREATE', key, 'g', '0'],
  ['XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', '2', 'STREAMS', key, '>'],
];

const SEEDS: readonly Seed[] = [
  {
    name: 'one byte in a string of 10 MB',
    key: 'big',
    both: [['SET', 'big', BIG]],
    target: [['SETRANGE', 'big', 7_654_321, 'X']],
    line: 'string value: first difference at byte 7654321; 10485760 bytes at the source, 10485760 at the target',
  },
  {
    name: 'the last byte of a short string',
    key: 'short',
    source: [['SET', 'short', 'valkey']],
    target: [['SET', 'short', 'valkex']],
    line: 'string value: first difference at byte 5; 6 bytes at the source, 6 at the target',
  },
  {
    name: 'a string that is only longer',
    key: 'longer',
    source: [['SET', 'longer', 'abc']],
    target: [['SET', 'longer', 'abc\0']],
    line: 'string value: first difference at byte 3; 3 bytes at the source, 4 at the target',
  },
  {
    name: 'an empty string that is missing',
    key: 'empty',
    source: [['SET', 'empty', '']],
    line: 'string missing: string at the source, nothing at the target',
  },
  {
    name: 'a number against its text with a zero',
    key: 'number',
    source: [['SET', 'number', '12']],
    target: [['SET', 'number', '012']],
    line: 'string value: first difference at byte 0; 2 bytes at the source, 3 at the target',
  },
  {
    name: 'one field of a hash of 100,000',
    key: 'hash',
    both: [['HSET', 'hash', ...members(100_000, (index) => [`f${index}`, index])]],
    target: [['HSET', 'hash', 'f77777', 'other']],
    line: 'hash value: field f77777: 5 bytes at the source, 5 at the target, first difference at byte 0',
  },
  {
    name: 'a field that only the target has',
    key: 'hash-extra',
    both: [['HSET', 'hash-extra', 'a', '1']],
    target: [['HSET', 'hash-extra', 'b', '2']],
    line: 'hash value: field b: only at the target',
  },
  {
    name: 'fields that hash alike in other languages',
    key: 'hash-alike',
    source: [['HSET', 'hash-alike', 'Aa', '1', 'BB', '2']],
    target: [['HSET', 'hash-alike', 'Aa', '2', 'BB', '1']],
    line: 'hash value: field Aa: 1 bytes at the source, 1 at the target, first difference at byte 0; field BB: 1 bytes at the source, 1 at the target, first difference at byte 0',
  },
  {
    name: 'a key "Aa" against "BB"',
    key: 'Aa',
    source: [['SET', 'Aa', '1']],
    target: [['SET', 'BB', '1']],
    line: 'string missing: string at the source, nothing at the target',
  },
  {
    name: 'and the other way round',
    key: 'BB',
    line: 'string extra: nothing at the source, string at the target',
  },
  {
    name: 'neighbouring scores',
    key: 'scores',
    source: [['ZADD', 'scores', '1.1', 'm']],
    target: [['ZADD', 'scores', '1.1000000000000002', 'm']],
    line: 'zset value: member m: scores differ',
  },
  {
    name: 'minus zero against zero',
    key: 'zero',
    both: [['ZADD', 'zero', ...members(200, (index) => [index + 1, `m${index}`])]],
    source: [['ZADD', 'zero', '-0', 'z']],
    target: [['ZADD', 'zero', '0', 'z']],
    line: 'zset value: member z: scores differ',
  },
  {
    name: 'infinity against minus infinity',
    key: 'infinity',
    source: [['ZADD', 'infinity', '+inf', 'm']],
    target: [['ZADD', 'infinity', '-inf', 'm']],
    line: 'zset value: member m: scores differ',
  },
  {
    name: 'a member of another set',
    key: 'set',
    source: [['SADD', 'set', 'a', 'b']],
    target: [['SADD', 'set', 'a', 'c']],
    line: 'set value: member b: only at the source; member c: only at the target',
  },
  {
    name: 'one member of a set of 20,000',
    key: 'set-big',
    both: [['SADD', 'set-big', ...members(20_000, (index) => [`m${index}`])]],
    target: [['SREM', 'set-big', 'm12345']],
    line: 'set value: member m12345: only at the source',
  },
  {
    name: 'the order of a list',
    key: 'list',
    source: [['RPUSH', 'list', 'a', 'b', 'c']],
    target: [['RPUSH', 'list', 'a', 'c', 'b']],
    line: 'list value: first difference at index 1; 3 elements at the source, 3 at the target',
  },
  {
    name: 'an element in the middle of a long list',
    key: 'list-long',
    both: [['RPUSH', 'list-long', ...members(12_000, (index) => [`e${index}`])]],
    target: [['LSET', 'list-long', 6543, 'other']],
    line: 'list value: first difference at index 6543; 12000 elements at the source, 12000 at the target',
  },
  {
    name: 'another type',
    key: 'type',
    source: [['SET', 'type', 'a']],
    target: [['RPUSH', 'type', 'a']],
    line: 'string type: string at the source, list at the target',
  },
  {
    name: 'a lost TTL',
    key: 'ttl-lost',
    both: [['SET', 'ttl-lost', 'v']],
    source: [['PEXPIREAT', 'ttl-lost', LATER_MS]],
    line: 'string ttl: expires at 2100-01-01T00:00:00.000Z at the source, never expires at the target',
  },
  {
    name: 'a TTL off by more than the tolerance',
    key: 'ttl-off',
    both: [['SET', 'ttl-off', 'v']],
    source: [['PEXPIREAT', 'ttl-off', LATER_MS]],
    target: [['PEXPIREAT', 'ttl-off', LATER_MS + 101]],
    line: 'string ttl: expires at 2100-01-01T00:00:00.000Z at the source, expires at 2100-01-01T00:00:00.101Z at the target, 101 ms apart',
  },
  {
    name: 'a TTL off by less than the tolerance',
    key: 'ttl-near',
    both: [['SET', 'ttl-near', 'v']],
    source: [['PEXPIREAT', 'ttl-near', LATER_MS]],
    target: [['PEXPIREAT', 'ttl-near', LATER_MS + 100]],
  },
  {
    name: 'a key in the wrong database',
    key: 'wrong-db',
    source: [['SET', 'wrong-db', 'v']],
    line: 'string missing: string at the source, nothing at the target',
  },
  {
    name: 'and where it went',
    key: 'wrong-db',
    db: 5,
    target: [['SET', 'wrong-db', 'v']],
    line: 'string extra: nothing at the source, string at the target',
  },
  {
    name: 'a field of a stream entry',
    key: 'stream-entry',
    source: [['XADD', 'stream-entry', '1-1', 'f', 'a']],
    target: [['XADD', 'stream-entry', '1-1', 'f', 'b']],
    line: 'stream value: entry 1-1: fields differ',
  },
  {
    name: 'the last id of a stream',
    key: 'stream-last',
    both: [['XADD', 'stream-last', '1-1', 'f', 'v']],
    target: [['XSETID', 'stream-last', '9-9', 'ENTRIESADDED', 1, 'MAXDELETEDID', '0-0']],
    line: 'stream stream-metadata: last-generated-id: 1-1 at the source, 9-9 at the target',
  },
  {
    name: 'the entries added to a stream',
    key: 'stream-added',
    both: [['XADD', 'stream-added', '1-1', 'f', 'v']],
    target: [['XSETID', 'stream-added', '1-1', 'ENTRIESADDED', 7, 'MAXDELETEDID', '0-0']],
    line: 'stream stream-metadata: entries-added: 1 at the source, 7 at the target',
  },
  {
    name: 'a pending entry',
    key: 'pel',
    both: group('pel'),
    target: [['XACK', 'pel', 'g', '2-1']],
    line: 'stream stream-metadata: group g pending entry 2-1: only at the source',
  },
  {
    name: 'a delivery count',
    key: 'deliveries',
    both: group('deliveries'),
    target: [['XCLAIM', 'deliveries', 'g', 'c', 0, '1-1', 'RETRYCOUNT', 5]],
    line: 'stream stream-metadata: group g pending entry 1-1: consumer or delivery count differs',
  },
  {
    name: 'a group',
    key: 'group',
    both: group('group'),
    target: [['XGROUP', 'DESTROY', 'group', 'g']],
    line: 'stream stream-metadata: group g: only at the source',
  },
  {
    name: 'what a group was delivered last',
    key: 'delivered',
    both: [
      ['XADD', 'delivered', '1-1', 'f', 'v'],
      ['XGROUP', 'CREATE', 'delivered', 'g', '0'],
    ],
    target: [['XGROUP', 'SETID', 'delivered', 'g', '1-1']],
    line: 'stream stream-metadata: group g last-delivered-id: 0-0 at the source, 1-1 at the target',
  },
  {
    name: 'a key of any bytes',
    key: Buffer.from([0, 255, 13, 10, 92]),
    source: [['SET', Buffer.from([0, 255, 13, 10, 92]), 'v']],
    shown: '\\x00\\xff\\x0d\\x0a\\x5c',
    line: 'string missing: string at the source, nothing at the target',
  },
  {
    name: 'a key with braces and spaces',
    key: '{tag} {other}',
    target: [['SET', '{tag} {other}', 'v']],
    line: 'string extra: nothing at the source, string at the target',
  },
  {
    name: 'a key of 100 kB',
    key: LONG_KEY,
    source: [['SET', LONG_KEY, 'v']],
    target: [['SET', LONG_KEY, 'w']],
    shown: `${'k'.repeat(200)}… (100000 bytes)`,
    line: 'string value: first difference at byte 0; 1 bytes at the source, 1 at the target',
  },
  {
    name: 'equal sets in another order',
    key: 'equal-set',
    source: [['SADD', 'equal-set', 'x', 'y', 'z']],
    target: [['SADD', 'equal-set', 'z', 'y', 'x']],
  },
  {
    name: 'equal hashes in another order',
    key: 'equal-hash',
    source: [['HSET', 'equal-hash', 'x', '1', 'y', '2']],
    target: [['HSET', 'equal-hash', 'y', '2', 'x', '1']],
  },
  {
    name: 'equal values in different encodings',
    key: 'equal-encoding',
    source: [['SADD', 'equal-encoding', '1', '2', '3']],
    target: [
      ['SADD', 'equal-encoding', '1', '2', '3', 'x'],
      ['SREM', 'equal-encoding', 'x'],
    ],
  },
];

async function run(client: Redis, commands: readonly (readonly Argument[])[] = []): Promise<void> {
  for (const [name, ...args] of commands) await client.call(String(name), args);
}

describe('seeded differences', () => {
  it('are all found, with what differs, and nothing else', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    for (const { both = [], source = [], target = [], db = 0 } of SEEDS) {
      await run(pair.source.client(db), [...both, ...source]);
      await run(pair.target.client(db), [...both, ...target]);
    }
    const report = await verifyPair(pair);
    const expected = SEEDS.flatMap(({ key, shown = String(key), line, db = 0 }) =>
      line === undefined ? [] : [`${db} ${shown} ${line}`],
    );
    expect(differenceLines(report)).toEqual(expected.sort());
    expect(report).toMatchObject({ passed: false, inFlight: 0 });
    expect(report.differences.total).toBe(expected.length);
    expect(report.differences.cut).toBe(0);
  });

  it('in functions are found: other code, only here, only there', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const library = (name: string, result: number) =>
      `#!lua name=${name}\nredis.register_function('${name}_f', function() return ${result} end)`;
    await run(pair.source.client(), [
      ['FUNCTION', 'LOAD', library('same', 1)],
      ['FUNCTION', 'LOAD', library('changed', 1)],
      ['FUNCTION', 'LOAD', library('lost', 1)],
    ]);
    await run(pair.target.client(), [
      ['FUNCTION', 'LOAD', library('same', 1)],
      ['FUNCTION', 'LOAD', library('changed', 22)],
      ['FUNCTION', 'LOAD', library('new', 1)],
    ]);
    expect(differenceLines(await verifyPair(pair))).toEqual([
      '-1 changed function function: code differs: 80 bytes at the source, 81 at the target',
      '-1 lost function function: library only at the source',
      '-1 new function function: library only at the target',
    ]);
  });

  it('in expiry times of hash fields are found where both servers know them', async () => {
    const source = await findServer({ kind: 'redis', version: '8.0' });
    const target = await findServer({ kind: 'valkey', version: '9' });
    await using pair = await startPair(source, target);
    for (const client of [pair.source.client(), pair.target.client()]) {
      await run(client, [
        ['HSET', 'same', 'a', '1', 'b', '2'],
        ['HPEXPIREAT', 'same', LATER_MS, 'FIELDS', 1, 'a'],
        ['HSET', 'off', 'a', '1', 'b', '2'],
        ['HSET', 'lost', 'a', '1', 'b', '2'],
      ]);
    }
    await run(pair.source.client(), [
      ['HPEXPIREAT', 'off', LATER_MS, 'FIELDS', 1, 'a'],
      ['HPEXPIREAT', 'lost', LATER_MS, 'FIELDS', 1, 'b'],
    ]);
    await run(pair.target.client(), [['HPEXPIREAT', 'off', LATER_MS + 5000, 'FIELDS', 1, 'a']]);
    expect(differenceLines(await verifyPair(pair))).toEqual([
      '0 lost hash ttl: field b: expires at 2100-01-01T00:00:00.000Z at the source, never expires at the target',
      '0 off hash ttl: field a: expires at 2100-01-01T00:00:00.000Z at the source, expires at 2100-01-01T00:00:05.000Z at the target, 5000 ms apart',
    ]);
  });

  it('that a target cannot hold are found: expiry times of hash fields', async () => {
    await using pair = await startPair(
      await findServer({ kind: 'redis', version: '8.0' }),
      await findServer({ kind: 'valkey', version: '8' }),
    );
    await pair.source.client().hset('h', 'a', '1');
    await pair.target.client().hset('h', 'a', '1');
    await run(pair.source.client(), [['HPEXPIREAT', 'h', LATER_MS, 'FIELDS', 1, 'a']]);
    expect(differenceLines(await verifyPair(pair))).toEqual([
      '0 h hash ttl: field a: expires at 2100-01-01T00:00:00.000Z at the source, never expires at the target',
    ]);
  });
});
