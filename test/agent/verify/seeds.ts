import type { Redis } from 'ioredis';
import { padExpiry } from '../../../src/agent/redis/expiry-pad.ts';
import { FUNCTIONS_DB } from '../../../src/agent/verify/functions.ts';

type Argument = string | Buffer | number;
/** What not every pair of servers has: `exact-expiry` is PEXPIRETIME, `known-expiry` any but the estimates of a sync. */
export type Need = 'stream-counters' | 'exact-expiry' | 'known-expiry' | 'field-expiry' | 'functions';
/** A difference to plant, or what must not count as one. */
export type Seed = {
  readonly name: string;
  readonly key: string | Buffer;
  /** What both servers get. */
  readonly both?: readonly (readonly Argument[])[];
  readonly source?: readonly (readonly Argument[])[];
  readonly target?: readonly (readonly Argument[])[];
  /** The line without database and key; none: this is no difference. */
  readonly line?: string;
  /** What both servers must know for it. */
  readonly needs?: Need;
  /** How the report shows the key, when not as it is. */
  readonly shown?: string;
  readonly db?: number;
};

/** A time that no test lives to see. */
export const LATER_MS = Date.UTC(2100, 0, 1);
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

const library = (name: string, result: number) =>
  `#!lua name=${name}\nredis.register_function('${name}_f', function() return ${result} end)`;

/** Every kind of difference, and values that differ in form only. */
export const SEEDS: readonly Seed[] = [
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
    line: 'string missing: string at the source, nothing at the target',
  },
  {
    name: 'and the other way round',
    key: 'BB',
    target: [['SET', 'BB', '1']],
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
    key: 'list-order',
    source: [['RPUSH', 'list-order', 'a', 'b', 'c']],
    target: [['RPUSH', 'list-order', 'a', 'c', 'b']],
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
    needs: 'exact-expiry',
    both: [['SET', 'ttl-off', 'v']],
    source: [['PEXPIREAT', 'ttl-off', LATER_MS]],
    target: [['PEXPIREAT', 'ttl-off', LATER_MS + 101]],
    line: 'string ttl: expires at 2100-01-01T00:00:00.000Z at the source, expires at 2100-01-01T00:00:00.101Z at the target, 101 ms apart',
  },
  {
    name: 'a TTL off by much more',
    key: 'ttl-far',
    needs: 'known-expiry',
    both: [['SET', 'ttl-far', 'v']],
    source: [['PEXPIREAT', 'ttl-far', LATER_MS]],
    target: [['PEXPIREAT', 'ttl-far', LATER_MS - 3_600_000]],
    line: 'string ttl: expires at 2100-01-01T00:00:00.000Z at the source, expires at 2099-12-31T23:00:00.000Z at the target, 3600000 ms apart',
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
    needs: 'stream-counters',
    both: [['XADD', 'stream-last', '1-1', 'f', 'v']],
    target: [['XSETID', 'stream-last', '9-9', 'ENTRIESADDED', 1, 'MAXDELETEDID', '0-0']],
    line: 'stream stream-metadata: last-generated-id: 1-1 at the source, 9-9 at the target',
  },
  {
    name: 'the entries added to a stream',
    key: 'stream-added',
    needs: 'stream-counters',
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
  {
    name: 'one field of a hash in a list against the same length of bytes',
    key: 'hash-small',
    source: [['HSET', 'hash-small', 'a', 'one', 'b', 'two']],
    target: [['HSET', 'hash-small', 'a', 'one', 'b', 'owt']],
    line: 'hash value: field b: 3 bytes at the source, 3 at the target, first difference at byte 0',
  },
  {
    name: 'values of two fields swapped',
    key: 'hash-swapped',
    source: [['HSET', 'hash-swapped', 'a', '1', 'b', '2']],
    target: [['HSET', 'hash-swapped', 'a', '2', 'b', '1']],
    line: 'hash value: field a: 1 bytes at the source, 1 at the target, first difference at byte 0; field b: 1 bytes at the source, 1 at the target, first difference at byte 0',
  },
  {
    name: 'a field without value against no field',
    key: 'hash-empty',
    source: [['HSET', 'hash-empty', 'a', '1', 'e', '']],
    target: [['HSET', 'hash-empty', 'a', '1']],
    line: 'hash value: field e: only at the source',
  },
  {
    name: 'an empty string against an empty element',
    key: 'empty-type',
    source: [['SET', 'empty-type', '']],
    target: [['RPUSH', 'empty-type', '']],
    line: 'string type: string at the source, list at the target',
  },
  {
    name: 'an empty string that only the target has',
    key: 'empty-extra',
    target: [['SET', 'empty-extra', '']],
    line: 'string extra: nothing at the source, string at the target',
  },
  {
    name: 'a stream of no entries against no stream',
    key: 'stream-empty',
    source: [['XGROUP', 'CREATE', 'stream-empty', 'g', '$', 'MKSTREAM']],
    line: 'stream missing: stream at the source, nothing at the target',
  },
  {
    name: 'a bit of a bitmap',
    key: 'bitmap',
    both: [['SETBIT', 'bitmap', 7_000_000, 1]],
    target: [['SETBIT', 'bitmap', 3_000_000, 1]],
    line: 'string value: first difference at byte 375000; 875001 bytes at the source, 875001 at the target',
  },
  {
    name: 'zeros at the end of a string',
    key: 'zeros',
    source: [['SETBIT', 'zeros', 100_000, 0]],
    target: [['SETBIT', 'zeros', 100_008, 0]],
    line: 'string value: first difference at byte 12501; 12501 bytes at the source, 12502 at the target',
  },
  {
    name: 'a register of a HyperLogLog',
    key: 'hll',
    both: [['PFADD', 'hll', 'a', 'b', 'c']],
    target: [['PFADD', 'hll', 'd']],
    line: 'string value: first difference at byte 16; 27 bytes at the source, 30 at the target',
  },
  {
    name: 'a number in another form of the same value',
    key: 'float',
    source: [['SET', 'float', '1.0']],
    target: [['SET', 'float', '1']],
    line: 'string value: first difference at byte 1; 3 bytes at the source, 1 at the target',
  },
  {
    name: 'one member of a set of integers',
    key: 'intset',
    source: [['SADD', 'intset', 1, 2, 3, 70_000]],
    target: [['SADD', 'intset', 1, 2, 3, 70_001]],
    line: 'set value: member 70000: only at the source; member 70001: only at the target',
  },
  {
    name: 'a member of a sorted set of 5,000',
    key: 'zset-big',
    both: [['ZADD', 'zset-big', ...members(5000, (index) => [index, `m${index}`])]],
    target: [['ZREM', 'zset-big', 'm4321']],
    line: 'zset value: member m4321: only at the source',
  },
  {
    name: 'two members of a sorted set with their scores swapped',
    key: 'zset-swapped',
    source: [['ZADD', 'zset-swapped', 1, 'a', 2, 'b']],
    target: [['ZADD', 'zset-swapped', 2, 'a', 1, 'b']],
    line: 'zset value: member a: scores differ; member b: scores differ',
  },
  {
    name: 'minus zero where a server keeps it: only a skip list does in every version',
    key: 'zero-long',
    source: [['ZADD', 'zero-long', '-0', 'z'.repeat(100)]],
    target: [['ZADD', 'zero-long', '0', 'z'.repeat(100)]],
    line: `zset value: member ${'z'.repeat(100)}: scores differ`,
  },
  {
    name: 'an element that a list has once more',
    key: 'list-twice',
    source: [['RPUSH', 'list-twice', 'a', 'a', 'b']],
    target: [['RPUSH', 'list-twice', 'a', 'b']],
    line: 'list value: first difference at index 1; 3 elements at the source, 2 at the target',
  },
  {
    name: 'an element of a list as a number with a zero',
    key: 'list-number',
    source: [['RPUSH', 'list-number', '7', '8']],
    target: [['RPUSH', 'list-number', '7', '08']],
    line: 'list value: first difference at index 1; 2 elements at the source, 2 at the target',
  },
  {
    name: 'a TTL that only the target has',
    key: 'ttl-gained',
    both: [['SET', 'ttl-gained', 'v']],
    target: [['PEXPIREAT', 'ttl-gained', LATER_MS]],
    line: 'string ttl: never expires at the source, expires at 2100-01-01T00:00:00.000Z at the target',
  },
  {
    name: 'a TTL of a collection',
    key: 'ttl-hash',
    both: [['HSET', 'ttl-hash', 'a', '1']],
    source: [['PEXPIREAT', 'ttl-hash', LATER_MS]],
    line: 'hash ttl: expires at 2100-01-01T00:00:00.000Z at the source, never expires at the target',
    target: [['PERSIST', 'ttl-hash']],
  },
  {
    name: 'a stream entry that was deleted',
    key: 'stream-deleted',
    both: [
      ...group('stream-deleted'),
      ['XADD', 'stream-deleted', '3-1', 'f', 'v'],
      ['XDEL', 'stream-deleted', '3-1'],
    ],
    target: [['XDEL', 'stream-deleted', '1-1']],
    line: 'stream value: entry 1-1: only at the source',
  },
  {
    name: 'a delivery count that is higher at the source, where the entry was read again: that is not replicated',
    key: 'deliveries-again',
    both: group('deliveries-again'),
    source: [['XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', '2', 'STREAMS', 'deliveries-again', '0']],
  },
  {
    name: 'zero against minus zero, which only the target has',
    key: 'zero-gained',
    source: [['ZADD', 'zero-gained', '0', 'z'.repeat(100)]],
    target: [['ZADD', 'zero-gained', '-0', 'z'.repeat(100)]],
    line: `zset value: member ${'z'.repeat(100)}: scores differ`,
  },
  {
    name: 'minus zero in a small sorted set, where new servers have no other zero than zero',
    key: 'zero-small',
    source: [['ZADD', 'zero-small', '-0', 'z']],
    target: [['ZADD', 'zero-small', '0', 'z']],
  },
  {
    name: 'the greatest id deleted from a stream',
    key: 'stream-max-deleted',
    needs: 'stream-counters',
    both: [['XADD', 'stream-max-deleted', '5-1', 'f', 'v']],
    target: [['XSETID', 'stream-max-deleted', '5-1', 'ENTRIESADDED', 1, 'MAXDELETEDID', '4-0']],
    line: 'stream stream-metadata: max-deleted-entry-id: 0-0 at the source, 4-0 at the target',
  },
  {
    name: 'the consumer of a pending entry',
    key: 'pel-consumer',
    both: group('pel-consumer'),
    target: [['XCLAIM', 'pel-consumer', 'g', 'other', 0, '1-1', 'JUSTID']],
    line: 'stream stream-metadata: group g pending entry 1-1: consumer or delivery count differs',
  },
  {
    name: 'a pending entry that only the target has',
    key: 'pel-extra',
    both: group('pel-extra'),
    source: [['XACK', 'pel-extra', 'g', '1-1']],
    line: 'stream stream-metadata: group g pending entry 1-1: only at the target',
  },
  {
    name: 'the expiry time of a hash field, that the target lost',
    key: 'field-ttl-lost',
    needs: 'field-expiry',
    both: [['HSET', 'field-ttl-lost', 'a', '1', 'b', '2']],
    source: [['HPEXPIREAT', 'field-ttl-lost', LATER_MS, 'FIELDS', 1, 'b']],
    line: 'hash ttl: field b: expires at 2100-01-01T00:00:00.000Z at the source, never expires at the target',
  },
  {
    name: 'the expiry time of a hash field, off by more than the tolerance',
    key: 'field-ttl-off',
    needs: 'field-expiry',
    both: [['HSET', 'field-ttl-off', 'a', '1', 'b', '2']],
    source: [['HPEXPIREAT', 'field-ttl-off', LATER_MS, 'FIELDS', 1, 'a']],
    target: [['HPEXPIREAT', 'field-ttl-off', LATER_MS + 5000, 'FIELDS', 1, 'a']],
    line: 'hash ttl: field a: expires at 2100-01-01T00:00:00.000Z at the source, expires at 2100-01-01T00:00:05.000Z at the target, 5000 ms apart',
  },
  {
    name: 'the same expiry time of a hash field',
    key: 'field-ttl-same',
    needs: 'field-expiry',
    both: [
      ['HSET', 'field-ttl-same', 'a', '1', 'b', '2'],
      ['HPEXPIREAT', 'field-ttl-same', LATER_MS, 'FIELDS', 1, 'a'],
    ],
  },
  {
    name: 'other code of a function',
    key: 'changed',
    needs: 'functions',
    source: [['FUNCTION', 'LOAD', library('changed', 1)]],
    target: [['FUNCTION', 'LOAD', library('changed', 22)]],
    line: 'function function: code differs: 80 bytes at the source, 81 at the target',
  },
  {
    name: 'a library that the target lost',
    key: 'lost',
    needs: 'functions',
    source: [['FUNCTION', 'LOAD', library('lost', 1)]],
    line: 'function function: library only at the source',
  },
  {
    name: 'a library that only the target has',
    key: 'new',
    needs: 'functions',
    target: [['FUNCTION', 'LOAD', library('new', 1)]],
    line: 'function function: library only at the target',
  },
  {
    name: 'the same library',
    key: 'same',
    needs: 'functions',
    both: [['FUNCTION', 'LOAD', library('same', 1)]],
  },
];

/** The seeds that a pair of servers can have. */
export function seedsFor(has: ReadonlySet<Need>): readonly Seed[] {
  return SEEDS.filter(({ needs }) => needs === undefined || has.has(needs));
}

/** The lines of `differenceLines` that a report of the seeds must have, sorted. */
export function expectedLines(seeds: readonly Seed[]): string[] {
  const lines = seeds.map(({ key, shown = String(key), line, needs, db = 0 }) =>
    line === undefined ? [] : [`${needs === 'functions' ? FUNCTIONS_DB : db} ${shown} ${line}`],
  );
  return lines.flat().sort();
}

/** Writes what the source has of the seeds. */
export async function plantAtSource(client: (db: number) => Redis, seeds: readonly Seed[]): Promise<void> {
  for (const { both = [], source = [], db = 0 } of seeds) await run(client(db), [...both, ...source]);
}

/** Writes what the target has of the seeds in the place of whatever is there; `isPadded`: as a sync writes it. */
export async function plantAtTarget(
  client: (db: number) => Redis,
  seeds: readonly Seed[],
  { isPadded }: { readonly isPadded: boolean },
): Promise<void> {
  for (const { key, both = [], target = [], needs, db = 0 } of seeds) {
    if (needs !== 'functions') await client(db).del(key);
    else await client(db).call('FUNCTION', 'DELETE', key).catch(ignoreUnknownLibrary);
    const commands = [...both, ...target];
    await run(client(db), isPadded ? commands.map(padCommand) : commands);
  }
}

/** The expiry of `PEXPIREAT key time` and `HPEXPIREAT key time ...`. */
function padCommand(command: readonly Argument[]): readonly Argument[] {
  const [name = '', key = '', atMs, ...rest] = command;
  return /^H?PEXPIREAT$/.test(String(name)) ? [name, key, padExpiry(Number(atMs)), ...rest] : command;
}

function ignoreUnknownLibrary(error: Error): void {
  if (!/library not found/i.test(error.message)) throw error;
}

/** Runs commands one after the other. */
export async function run(client: Redis, commands: readonly (readonly Argument[])[]): Promise<void> {
  for (const [name, ...args] of commands) await client.call(String(name), args);
}
