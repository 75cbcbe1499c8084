/**
 * One part of a value in an RDB stream. Lengths, strings and numbers are encoded as in string.ts.
 *
 * - `string`: a length-prefixed, integer or LZF string
 * - `length`: one length-encoded number, of whatever meaning
 * - `bytes`: `count` raw bytes
 * - `score`: one byte L and L bytes of text; 253, 254 and 255 stand for nan, +inf and -inf without text
 * - `module`: { length opcode; 0 ends, 1 and 2 a length, 3 four bytes, 4 eight bytes, 5 a string }
 * - `each`: a length n, then n times the steps
 */
export type Step =
  | { readonly kind: 'string' | 'length' | 'score' | 'module' }
  | { readonly kind: 'bytes'; readonly count: number }
  | { readonly kind: 'each'; readonly steps: readonly Step[]; readonly isStringsOnly: boolean };

/** What a value is made of, in order. */
export type Layout = readonly Step[];

const string: Step = { kind: 'string' };
const length: Step = { kind: 'length' };
const score: Step = { kind: 'score' };
const module: Step = { kind: 'module' };
const bytes = (count: number): Step => ({ kind: 'bytes', count });
const each = (...steps: Step[]): Step => ({
  kind: 'each',
  steps,
  isStringsOnly: steps.every(({ kind }) => kind === 'string'),
});

/** Raw milliseconds, least significant byte first. */
const milliseconds = bytes(8);
const doubleScore = bytes(8);
/** Milliseconds and sequence of a stream entry, 8 bytes each, most significant first. */
const streamId = bytes(16);

/** Entries, length, last id; from version 2 on first id, greatest deleted id, entries added. */
const stream = (version: 1 | 2 | 3): Layout => {
  const consumer = [string, milliseconds, ...(version >= 3 ? [milliseconds] : []), each(streamId)];
  const group = [
    string,
    length,
    length,
    ...(version >= 2 ? [length] : []),
    each(streamId, milliseconds, length),
    each(...consumer),
  ];
  const counters = version >= 2 ? [length, length, length, length, length] : [];
  return [each(string, string), length, length, length, ...counters, each(...group)];
};

/** A module's value, or what it remembers beside its keys: its id, then whatever it wrote. */
export const MODULE_LAYOUT: Layout = [length, module];

/** The types that a DUMP payload with footer 11 may have, in both families. Names as in rdb.h. */
export const VALUE_LAYOUTS: ReadonlyMap<number, Layout> = new Map<number, Layout>([
  [0, [string]], // STRING
  [1, [each(string)]], // LIST
  [2, [each(string)]], // SET
  [3, [each(string, score)]], // ZSET
  [4, [each(string, string)]], // HASH
  [5, [each(string, doubleScore)]], // ZSET_2
  [7, MODULE_LAYOUT], // MODULE_2
  [9, [string]], // HASH_ZIPMAP
  [10, [string]], // LIST_ZIPLIST
  [11, [string]], // SET_INTSET
  [12, [string]], // ZSET_ZIPLIST
  [13, [string]], // HASH_ZIPLIST
  [14, [each(string)]], // LIST_QUICKLIST
  [15, stream(1)], // STREAM_LISTPACKS
  [16, [string]], // HASH_LISTPACK
  [17, [string]], // ZSET_LISTPACK
  [18, [each(length, string)]], // LIST_QUICKLIST_2
  [19, stream(2)], // STREAM_LISTPACKS_2
  [20, [string]], // SET_LISTPACK
  [21, stream(3)], // STREAM_LISTPACKS_3
]);

/** A module's value: no other server can take it, but its extent is known. */
export const TYPE_MODULE = 7;
/** From RDB version 11 on: a set as one listpack, and a stream whose consumers have a last activity. */
export const TYPE_SET_LISTPACK = 20;
export const TYPE_STREAM_LISTPACKS_3 = 21;
/** Redis 7.4: a hash of which fields expire, as pairs behind their expiry. */
export const TYPE_REDIS_HASH_METADATA = 24;
/** Redis 7.4: the same as one listpack of triples. */
export const TYPE_REDIS_HASH_LISTPACK_EX = 25;
/** Valkey 9: a hash of which fields expire. Redis used the same byte for something else before 7.4 was released. */
export const TYPE_VALKEY_HASH_2 = 22;

/** What only Redis writes. */
export const REDIS_LAYOUTS: ReadonlyMap<number, Layout> = new Map<number, Layout>([
  ...VALUE_LAYOUTS,
  [TYPE_REDIS_HASH_METADATA, [milliseconds, each(length, string, string)]],
  [TYPE_REDIS_HASH_LISTPACK_EX, [milliseconds, string]],
]);

/** What only Valkey writes, from its RDB version 80 on. */
export const VALKEY_LAYOUTS: ReadonlyMap<number, Layout> = new Map<number, Layout>([
  ...VALUE_LAYOUTS,
  [TYPE_VALKEY_HASH_2, [each(string, string, milliseconds)]],
]);

/** The bytes that stand where a type could: what is said about the stream, a database or the next key. */
export const OPCODE = {
  slotImport: 243,
  slotInfo: 244,
  function2: 245,
  moduleAux: 247,
  idle: 248,
  frequency: 249,
  aux: 250,
  resizeDb: 251,
  expireTimeMs: 252,
  expireTime: 253,
  selectDb: 254,
  end: 255,
} as const;

/** What follows each opcode; `end` is followed by the checksum, which the reader takes itself. */
export const OPCODE_LAYOUTS: ReadonlyMap<number, Layout> = new Map<number, Layout>([
  [OPCODE.slotInfo, [length, length, length]],
  [OPCODE.function2, [string]],
  [OPCODE.idle, [length]],
  [OPCODE.frequency, [bytes(1)]],
  [OPCODE.aux, [string, string]],
  [OPCODE.resizeDb, [length, length]],
  [OPCODE.expireTimeMs, [milliseconds]],
  [OPCODE.expireTime, [bytes(4)]],
  [OPCODE.selectDb, [length]],
]);

/** Valkey 9 only: Redis gave the byte another meaning, which is not served. */
export const SLOT_IMPORT_LAYOUT: Layout = [string, each(length, length)];
