import type { Redis } from 'ioredis';
import { unpadExpiry } from '../../../src/agent/redis/expiry-pad.ts';
import { isReservedKey } from '../../../src/agent/redis/reserved-key.ts';

/**
 * A key: its value in a canonical form that does not depend on its encoding, and when it expires (-1: never), without
 * the pad of a sync.
 */
type DumpedKey = { readonly value: string; readonly expiresAtMs: number };

/** Every key of a server by `db/type/name`; `isPrecise` unless the server cannot say when a key expires. */
export type TypedDump = { readonly keys: ReadonlyMap<string, DumpedKey>; readonly isPrecise: boolean };

/**
 * Which counters of streams are compared: those that streams have from Redis 7.0 on; and how far a group has read, which
 * Redis sends its replicas from 7.4 on (before, it sends XCLAIM without ENTRIESREAD). Without the first, pending entries
 * of deleted messages are left out too: Redis before 7.0 keeps them when they are claimed, and every later server drops
 * them, a native replica as well. `isSettled`: the expiries must have lost the pad of the sync.
 */
export type DumpOptions = {
  readonly isStreamCounted?: boolean;
  readonly isReadCounted?: boolean;
  readonly isSettled?: boolean;
};

/** Between PTTL and TIME of a server before 7.0, and the settling of what such a source sends as a duration. */
const IMPRECISION_MS = 2_000;

/**
 * Reads a whole server with plain read commands, key by key: slow, and independent of how the sync moves data.
 *
 * Scores are the bits of a double, streams come with groups, consumers and pending entries.
 */
export async function readTypedDump(
  client: Redis,
  { isStreamCounted = true, isReadCounted = isStreamCounted, isSettled = false }: DumpOptions = {},
): Promise<TypedDump> {
  const dump = new Map<string, DumpedKey>();
  const keyspace = await client.info('keyspace');
  const knows = async (command: string) =>
    Array.isArray(((await client.call('COMMAND', 'INFO', command)) as unknown[])[0]);
  const hasFieldTtls = await knows('hpexpiretime');
  const isPrecise = await knows('pexpiretime');
  for (const [, db] of keyspace.matchAll(/^db(\d+):/gm)) {
    const connection = client.duplicate({ db: Number(db), protocol: 2 });
    try {
      await readDatabase({
        connection,
        db: Number(db),
        dump,
        hasFieldTtls,
        isPrecise,
        isStreamCounted,
        isReadCounted,
        isSettled,
      });
    } finally {
      connection.disconnect();
    }
  }
  return { keys: dump, isPrecise };
}

type Reading = Required<DumpOptions> & {
  connection: Redis;
  db: number;
  dump: Map<string, DumpedKey>;
  hasFieldTtls: boolean;
  isPrecise: boolean;
};

async function readDatabase(reading: Reading): Promise<void> {
  const { connection, db, dump } = reading;
  let cursor = '0';
  do {
    const [next, keys] = await connection.scanBuffer(cursor, 'COUNT', 500);
    cursor = String(next);
    await Promise.all(
      keys.map(async (key) => {
        const type = await connection.type(key);
        if (type === 'none') return;
        const name = key.toString('base64');
        if (db === 0 && isReservedKey(key)) return;
        const value = await readValue(reading, key, type);
        const expiresAtMs = await readExpiry(reading, key);
        dump.set(`${db}/${type}/${name}`, { value, expiresAtMs });
      }),
    );
  } while (cursor !== '0');
}

async function readExpiry({ connection, isPrecise, isSettled }: Reading, key: Buffer): Promise<number> {
  if (isPrecise) return withoutPad(Number(await connection.call('PEXPIRETIME', key)), isSettled);
  // In one transaction, and again until no millisecond has ended in it: then what is left is exact.
  for (;;) {
    const replies = (await connection.multi().time().pttl(key).time().exec()) ?? [];
    const [beforeMs, afterMs] = [toMs(replies[0]?.[1]), toMs(replies[2]?.[1])];
    const ttlMs = Number(replies[1]?.[1]);
    if (ttlMs < 0) return ttlMs;
    if (beforeMs === afterMs) return beforeMs + ttlMs;
  }
}

/** The reply of TIME. */
function toMs(reply: unknown): number {
  const [seconds, microseconds] = reply as unknown[];
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
}

function withoutPad(atMs: number, isSettled: boolean): number {
  return isSettled ? atMs : unpadExpiry(atMs);
}

async function readValue(reading: Reading, key: Buffer, type: string): Promise<string> {
  const { connection, hasFieldTtls, isSettled } = reading;
  const call = (command: string, ...args: (string | Buffer)[]) => connection.callBuffer(command, ...args);
  switch (type) {
    case 'string':
      return encode(await call('GET', key));
    case 'list':
      return encode(await call('LRANGE', key, '0', '-1'));
    case 'set':
      return encode(sorted(await call('SMEMBERS', key)));
    case 'zset':
      return encode(scores(await call('ZRANGE', key, '0', '-1', 'WITHSCORES')));
    case 'hash': {
      const pairs = pairsOf(await call('HGETALL', key));
      const fields = pairs.map(([field]) => field as Buffer);
      const ttls = hasFieldTtls
        ? ((await call('HPEXPIRETIME', key, 'FIELDS', String(fields.length), ...fields)) as unknown[])
        : [];
      return encode(
        sorted(
          pairs.map((pair, index) => encode([...pair, withoutPad(Number(ttls[index] ?? -1), isSettled)])),
        ),
      );
    }
    case 'stream':
      return encode([
        await call('XRANGE', key, '-', '+'),
        await readStreamState(reading, key),
        await readGroups(reading, key),
      ]);
    default:
      throw new Error(`no reader for the type ${type}`);
  }
}

async function readStreamState({ connection, isStreamCounted }: Reading, key: Buffer): Promise<unknown> {
  const info = pairsOf(await connection.callBuffer('XINFO', 'STREAM', key));
  const wanted = [
    'length',
    'last-generated-id',
    ...(isStreamCounted ? ['entries-added', 'max-deleted-entry-id'] : []),
  ];
  return info.filter(([name]) => wanted.includes(String(name)));
}

async function readGroups(
  { connection, isStreamCounted, isReadCounted }: Reading,
  key: Buffer,
): Promise<unknown> {
  const entries = (await connection.callBuffer('XRANGE', key, '-', '+')) as unknown[][];
  const held = new Set(entries.map(([id]) => String(id)));
  const groups = (await connection.callBuffer('XINFO', 'GROUPS', key)) as unknown[];
  return Promise.all(
    groups.map(async (flat) => {
      const group = new Map(pairsOf(flat).map(([name, value]) => [String(name), value]));
      const name = group.get('name') as Buffer;
      const claimed = (await connection.callBuffer('XPENDING', key, name, '-', '+', '10000')) as unknown[][];
      const pending = isStreamCounted ? claimed : claimed.filter(([id]) => held.has(String(id)));
      const consumers = (await connection.callBuffer('XINFO', 'CONSUMERS', key, name)) as unknown[];
      return [
        name,
        group.get('last-delivered-id'),
        isReadCounted ? (group.get('entries-read') ?? '') : '',
        // Id, consumer, delivery count; the idle time depends on the moment of asking.
        pending.map(([id, consumer, , deliveries]) => [id, consumer, deliveries]),
        consumers.map((consumer) => [
          pairsOf(consumer)[0],
          pending.filter(([, owner]) => String(owner) === String(pairsOf(consumer)[0]?.[1])).length,
        ]),
      ];
    }),
  );
}

function pairsOf(reply: unknown): [unknown, unknown][] {
  const flat = reply as unknown[];
  return Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index], flat[2 * index + 1]]);
}

/** Older servers print scores with 17 digits: what counts is the double. */
function scores(reply: unknown): unknown {
  return pairsOf(reply).map(([member, score]) => {
    const bits = Buffer.alloc(8);
    bits.writeDoubleBE(Number(String(score).replace('inf', 'Infinity')));
    return [member, bits];
  });
}

function sorted(reply: unknown): string[] {
  return (reply as unknown[]).map(encode).sort();
}

function encode(value: unknown): string {
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  if (Array.isArray(value)) return `[${value.map((item) => JSON.stringify(encode(item))).join(',')}]`;
  return String(value);
}

/** What differs between two dumps, key by key: empty when they are equal. */
export function compareDumps(
  source: TypedDump,
  target: TypedDump,
  { toleranceMs = source.isPrecise && target.isPrecise ? 0 : IMPRECISION_MS } = {},
): string[] {
  const differences: string[] = [];
  for (const [key, { value, expiresAtMs }] of source.keys) {
    const other = target.keys.get(key);
    if (other === undefined) differences.push(`missing: ${key}`);
    else if (other.value !== value) {
      differences.push(`value: ${key}: ${value.slice(0, 300)} / ${other.value.slice(0, 300)}`);
    } else if (Math.abs(other.expiresAtMs - expiresAtMs) > toleranceMs) {
      differences.push(`expiry: ${key}: ${expiresAtMs} / ${other.expiresAtMs}`);
    }
  }
  for (const key of target.keys.keys()) if (!source.keys.has(key)) differences.push(`extra: ${key}`);
  return differences;
}
