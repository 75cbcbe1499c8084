import {
  compressedString,
  integerString,
  intset,
  length,
  listpack,
  makeRdb,
  raw64,
  streamId,
  string,
  ziplist,
  zipmap,
} from './rdb-bytes.ts';

/** An RDB made by hand; `loadedBy`: a server that loads it by itself, and so can say what is in it. */
export type MadeRdb = {
  readonly name: string;
  readonly rdb: Buffer;
  readonly loadedBy: 'any' | 'redis 8.0' | 'valkey 9' | 'none';
};

const LONG = 'abcdefgh'.repeat(40);
const HOUR_MS = 3_600_000;
/** Far away, so that nothing expires while a test looks. */
const LATER_MS = 4_102_444_800_000;
const INTEGERS = [0, 12, 13, -1, 127, -128, 300, -32_768, 70_000, -8_388_608, 2 ** 30, -(2 ** 31), 2n ** 62n];
const SELECT_0 = Buffer.of(254, 0);

const key = (type: number, name: string, ...value: Buffer[]): Buffer =>
  Buffer.concat([Buffer.of(type), string(name), ...value]);
const count = (items: readonly Buffer[]): Buffer => Buffer.concat([length(items.length), ...items]);
const blob = (bytes: Buffer): Buffer => string(bytes);
const score = (text: string): Buffer => Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
const double = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return bytes;
};

const STRINGS = [
  key(0, 'plain', string('value')),
  key(0, '', string('')),
  key(0, 'integer-8', integerString(-128, 8)),
  key(0, 'integer-16', integerString(12_345, 16)),
  key(0, 'integer-32', integerString(-2_000_000_000, 32)),
  key(0, 'long', string(LONG)),
  key(0, 'length-of-32-bits', string('short', 32)),
  key(0, 'length-of-64-bits', string('short', 64)),
  key(0, 'compressed', compressedString('x'.repeat(1_000))),
  key(0, 'compressed-words', compressedString(LONG)),
  Buffer.concat([Buffer.of(0), compressedString(`key ${'y'.repeat(50)}`), string('its key is compressed')]),
  Buffer.concat([Buffer.of(0), integerString(77, 8), string('its key is an integer')]),
];

const COLLECTIONS = [
  key(1, 'list', count([string('a'), integerString(5, 8), compressedString(LONG), string('')])),
  key(2, 'set', count([string('a'), integerString(-7, 16), string(LONG)])),
  key(
    3,
    'zset-text',
    count([
      Buffer.concat([string('a'), score('1.5')]),
      Buffer.concat([string('b'), score('-0')]),
      Buffer.concat([string('inf'), Buffer.of(254)]),
      Buffer.concat([string('-inf'), Buffer.of(255)]),
      Buffer.concat([compressedString(LONG), score('1.7976931348623157e+308')]),
    ]),
  ),
  key(4, 'hash', length(2), string('field'), string('value'), compressedString(LONG), integerString(9, 8)),
  key(5, 'zset', length(2), string('a'), double(0.1), string('b'), double(Number.NEGATIVE_INFINITY)),
];

const PACKED = [
  key(
    9,
    'zipmap',
    blob(
      zipmap([
        ['field', 'value'],
        ['other', '12345'],
      ]),
    ),
  ),
  key(
    9,
    'zipmap-free',
    blob(
      zipmap(
        [
          ['field', 'value'],
          ['other', 'v'],
        ],
        3,
      ),
    ),
  ),
  key(10, 'list-ziplist', blob(ziplist([...INTEGERS, 'text', LONG, 'after a long one']))),
  key(11, 'intset-16', blob(intset(2, [-300, 1, 300]))),
  key(11, 'intset-32', blob(intset(4, [-70_000, 1, 70_000]))),
  key(11, 'intset-64', blob(intset(8, [-(2n ** 62n), 1, 2n ** 62n]))),
  key(12, 'zset-ziplist', blob(ziplist(['a', '-inf', 'b', 1, 'c', '2.5']))),
  key(13, 'hash-ziplist', blob(ziplist(['field', 'value', 'n', 12, 300, -1]))),
  key(14, 'quicklist', count([blob(ziplist(INTEGERS)), compressedString(ziplist([LONG, 1, 'end']))])),
  key(16, 'hash-listpack', blob(listpack(['field', 'value', 'n', 4_000, -1, -5_000]))),
  key(17, 'zset-listpack', blob(listpack(['a', -1, 'b', '0.5', 'c', 3]))),
  key(
    18,
    'quicklist-2',
    length(3),
    Buffer.concat([length(2), blob(listpack(INTEGERS))]),
    Buffer.concat([length(1), compressedString('plain '.repeat(2_000))]),
    Buffer.concat([length(2), compressedString(listpack([LONG, 'end']))]),
  ),
  key(20, 'set-listpack', blob(listpack(['a', 1, LONG, -70_000]))),
];

/** One entry of the master's fields, one that is deleted, one with a field of its own. */
const ENTRIES = listpack([
  ...[2, 1, 1, 'field', 0],
  ...[2, 0, 0, 'first', 4],
  ...[3, 1, 0, 'deleted', 4],
  ...[0, 2, 0, 1, 'own', 'third', 6],
]);

function stream(version: 1 | 2 | 3): Buffer {
  const first = [length(1), string(streamId(1, 1)), blob(ENTRIES), length(2), length(3), length(1)];
  const counters = version > 1 ? [length(1), length(1), length(2), length(1), length(3)] : [];
  const pending = [length(1), streamId(1, 1), raw64(1_700_000_000_000), length(2)];
  const seen = [raw64(1_700_000_000_000), ...(version > 2 ? [raw64(1_700_000_000_001)] : [])];
  const consumer = [length(1), string('alice'), ...seen, length(1), streamId(1, 1)];
  const read = version > 1 ? [length(1)] : [];
  const group = [length(1), string('group'), length(1), length(1), ...read, ...pending, ...consumer];
  return Buffer.concat([...first, ...counters, ...group]);
}

const STREAMS = [
  key(15, 'stream-1', stream(1)),
  key(19, 'stream-2', stream(2)),
  key(21, 'stream-3', stream(3)),
];

const aux = (name: string, value: string): Buffer =>
  Buffer.concat([Buffer.of(250), string(name), string(value)]);
const HEAD = [aux('redis-ver', '7.2.0'), aux('repl-stream-db', '0'), SELECT_0, Buffer.of(251, 40, 2)];
const EXPIRIES = [
  Buffer.concat([Buffer.of(252), raw64(LATER_MS), key(0, 'expires-ms', string('v'))]),
  Buffer.concat([Buffer.of(253), seconds(LATER_MS / 2000), key(0, 'expires-s', string('v'))]),
  Buffer.concat([Buffer.of(248, 40), key(0, 'idle', string('v'))]),
  Buffer.concat([Buffer.of(249, 5), key(0, 'frequent', string('v'))]),
  Buffer.concat([Buffer.of(252), raw64(LATER_MS), Buffer.of(249, 5), key(0, 'both', string('v'))]),
  Buffer.concat([Buffer.of(254), length(5), key(0, 'in-five', string('v'))]),
];

function seconds(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

const LIBRARY = "#!lua name=made\nredis.register_function('made', function() return 1 end)";
const FUNCTIONS = Buffer.concat([Buffer.of(245), string(LIBRARY)]);

const REDIS_HASHES = [
  key(
    24,
    'hash-metadata',
    raw64(LATER_MS),
    length(3),
    Buffer.concat([length(1), string('first'), string('v')]),
    Buffer.concat([length(HOUR_MS), compressedString(LONG), string('later')]),
    Buffer.concat([length(0), string('never'), string(LONG)]),
  ),
  key(
    25,
    'hash-listpack-ex',
    raw64(LATER_MS),
    blob(listpack(['a', 'v', LATER_MS, 'b', LONG, LATER_MS + HOUR_MS, 'never', 7, 0])),
  ),
];
const VALKEY_HASHES = [
  key(
    22,
    'hash-2',
    length(2),
    Buffer.concat([string('field'), string('v'), raw64(LATER_MS)]),
    Buffer.concat([string(LONG), integerString(5, 8), raw64(-1)]),
  ),
];

/** The nine characters of a module's name and its version, in 64 bits. */
const MODULE_ID = length(Number.MAX_SAFE_INTEGER, 64);
/** A number, another, four bytes, eight, a string, the end. */
const MODULE_VALUE = Buffer.concat([
  Buffer.of(1, 5, 2, 6, 3, 0, 0, 0, 0, 4),
  double(1),
  Buffer.of(5),
  string('inside'),
  Buffer.of(0),
]);
const MODULES = [
  SELECT_0,
  Buffer.concat([Buffer.of(247), MODULE_ID, Buffer.of(2, 1), MODULE_VALUE]),
  key(7, 'module', MODULE_ID, MODULE_VALUE),
  key(0, 'after', string('v')),
];
const SLOTS = [
  SELECT_0,
  Buffer.concat([Buffer.of(244), length(12_000), length(1), length(0)]),
  key(0, 'k', string('v')),
];
const SLOT_IMPORT = Buffer.concat([
  Buffer.of(243),
  string('j'.repeat(40)),
  length(1),
  length(0),
  length(16_383),
]);

/** Every type and opcode, in the encodings of all versions. */
export const MADE_RDBS: readonly MadeRdb[] = [
  { name: 'strings', rdb: makeRdb('REDIS0011', [...HEAD, ...STRINGS]), loadedBy: 'any' },
  { name: 'collections', rdb: makeRdb('REDIS0009', [...HEAD, ...COLLECTIONS]), loadedBy: 'any' },
  { name: 'packed encodings', rdb: makeRdb('REDIS0011', [...HEAD, ...PACKED]), loadedBy: 'any' },
  { name: 'streams', rdb: makeRdb('REDIS0011', [...HEAD, ...STREAMS]), loadedBy: 'any' },
  {
    name: 'expiries and hints',
    rdb: makeRdb('REDIS0011', [FUNCTIONS, ...HEAD, ...EXPIRIES]),
    loadedBy: 'any',
  },
  {
    name: 'without a checksum',
    rdb: makeRdb('REDIS0011', [...HEAD, ...STRINGS], { hasChecksum: false }),
    loadedBy: 'any',
  },
  { name: 'scripts', rdb: makeRdb('REDIS0009', [aux('lua', 'return 1'), ...HEAD]), loadedBy: 'any' },
  {
    name: 'expiring fields of Redis',
    rdb: makeRdb('REDIS0012', [SELECT_0, ...REDIS_HASHES]),
    loadedBy: 'redis 8.0',
  },
  {
    name: 'expiring fields of Valkey',
    rdb: makeRdb('VALKEY080', [SELECT_0, ...VALKEY_HASHES]),
    loadedBy: 'valkey 9',
  },
  { name: 'modules', rdb: makeRdb('REDIS0011', MODULES), loadedBy: 'none' },
  {
    name: 'what type 22 was in a preview of Redis',
    rdb: makeRdb('REDIS0012', [SELECT_0, ...VALKEY_HASHES]),
    loadedBy: 'none',
  },
  { name: 'slots of Redis', rdb: makeRdb('REDIS0012', SLOTS), loadedBy: 'none' },
  { name: 'slots of Valkey', rdb: makeRdb('VALKEY080', [SLOT_IMPORT, ...SLOTS.slice(2)]), loadedBy: 'none' },
];

/** The same without their checksums, so that what is damaged in them is not noticed at the end at the latest. */
export function withoutChecksum(rdb: Buffer): Buffer {
  const copy = Buffer.from(rdb);
  copy.fill(0, copy.length - 8);
  return copy;
}
