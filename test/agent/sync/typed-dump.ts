import type { Redis } from 'ioredis';

/** Every key of a server by `db/type/name`, with its value in a canonical form that does not depend on its encoding. */
export type TypedDump = ReadonlyMap<string, string>;

const RESERVED = Buffer.from('__valkey-migrate__').toString('base64');

/**
 * Reads a whole server with plain read commands, key by key: slow, and independent of how the sync moves data.
 *
 * Expiries are absolute milliseconds, scores the bits of a double, streams with groups, consumers and pending entries.
 */
export async function readTypedDump(client: Redis): Promise<TypedDump> {
  const dump = new Map<string, string>();
  const keyspace = await client.info('keyspace');
  const hasFieldTtls = Array.isArray(((await client.call('COMMAND', 'INFO', 'hpexpiretime')) as unknown[])[0]);
  for (const [, db] of keyspace.matchAll(/^db(\d+):/gm)) {
    const connection = client.duplicate({ db: Number(db) });
    try {
      await readDatabase({ connection, db: Number(db), dump, hasFieldTtls });
    } finally {
      connection.disconnect();
    }
  }
  return dump;
}

type Reading = { connection: Redis; db: number; dump: Map<string, string>; hasFieldTtls: boolean };

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
        if (db === 0 && name === RESERVED) return;
        const value = await readValue(reading, key, type);
        const expiresAt = await readExpiry(connection, key);
        dump.set(`${db}/${type}/${name}`, `${expiresAt} ${value}`);
      }),
    );
  } while (cursor !== '0');
}

async function readExpiry(connection: Redis, key: Buffer): Promise<number> {
  try {
    return Number(await connection.call('PEXPIRETIME', key));
  } catch {
    // Before 7.0 there is no absolute time to read; the hundreds of milliseconds are lost in between.
    const [ttl, [seconds]] = await Promise.all([connection.pttl(key), connection.time()]);
    return ttl < 0 ? ttl : Math.round((ttl + Number(seconds) * 1000) / 10_000);
  }
}

async function readValue({ connection, hasFieldTtls }: Reading, key: Buffer, type: string): Promise<string> {
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
      return encode(sorted(pairs.map((pair, index) => encode([...pair, ttls[index] ?? -1]))));
    }
    case 'stream':
      return encode([
        await call('XRANGE', key, '-', '+'),
        await readStreamState(connection, key),
        await readGroups(connection, key),
      ]);
    default:
      throw new Error(`no reader for the type ${type}`);
  }
}

async function readStreamState(connection: Redis, key: Buffer): Promise<unknown> {
  const info = pairsOf(await connection.callBuffer('XINFO', 'STREAM', key));
  const wanted = ['length', 'last-generated-id', 'entries-added', 'max-deleted-entry-id'];
  return info.filter(([name]) => wanted.includes(String(name)));
}

async function readGroups(connection: Redis, key: Buffer): Promise<unknown> {
  const groups = (await connection.callBuffer('XINFO', 'GROUPS', key)) as unknown[];
  return Promise.all(
    groups.map(async (flat) => {
      const group = new Map(pairsOf(flat).map(([name, value]) => [String(name), value]));
      const name = group.get('name') as Buffer;
      const pending = (await connection.callBuffer('XPENDING', key, name, '-', '+', '10000')) as unknown[][];
      const consumers = (await connection.callBuffer('XINFO', 'CONSUMERS', key, name)) as unknown[];
      return [
        name,
        group.get('last-delivered-id'),
        group.get('entries-read') ?? '',
        // Id, consumer, delivery count; the idle time depends on the moment of asking.
        pending.map(([id, consumer, , deliveries]) => [id, consumer, deliveries]),
        consumers.map((consumer) => pairsOf(consumer).slice(0, 2)),
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
export function compareDumps(source: TypedDump, target: TypedDump): string[] {
  const differences: string[] = [];
  for (const [key, value] of source) {
    const other = target.get(key);
    if (other === undefined) differences.push(`missing: ${key}`);
    else if (other !== value) {
      differences.push(`different: ${key}: ${value.slice(0, 300)} / ${other.slice(0, 300)}`);
    }
  }
  for (const key of target.keys()) if (!source.has(key)) differences.push(`extra: ${key}`);
  return differences;
}
