import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FOOTER_BYTES } from '../../../../src/agent/redis/rdb/footer.ts';
import { isMigrationError } from '../../../../src/core/errors.ts';
import { loadDataSet } from '../../../servers/data-set.ts';
import type { WantedServer } from '../../../servers/server-binary.ts';
import { findServer, type RunningServer, startServer } from '../../../servers/start.ts';
import { type ReadKey, type ReadRdb, readRdb } from './rdb-items.ts';

const SERVERS: readonly WantedServer[] = [
  { kind: 'redis', version: '7.0' },
  { kind: 'redis', version: '8.0' },
  { kind: 'valkey', version: 'newest' },
];
const KEYS = 400;
const KEYS_CUT_EVERYWHERE = 25;
const MUTATIONS = 2_000;
/** Nearly every value counts as large, and is taken out as it comes. */
const IN_PIECES = { wholeValueBytesMax: 16 };
const PIECE_BYTES = 1_000;

describe.each(SERVERS)('the RDB of $kind $version', (wanted) => {
  let server: RunningServer;
  let rdb: Buffer;
  let whole: ReadRdb;

  beforeAll(async () => {
    server = await startServer({ server: await findServer(wanted) });
    const client = server.client();
    const hashFieldTtls = await knows(client, 'hpexpire');
    await loadDataSet(client, { keys: KEYS, seed: 7, hashFieldTtls });
    await client.set(Buffer.from('compressible-'.repeat(20)), 'the key is compressed too');
    await client.set('12345', 'the key is an integer');
    rdb = await save(server);
    whole = readRdb([rdb]);
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  it('is read to its end, with every key and function that the server counts', async () => {
    expect(whole.isComplete).toBe(true);
    expect(whole.rest).toHaveLength(0);
    expect(whole.functions).toHaveLength(1);
    const sizes = await Promise.all([0, 1, 5].map((db) => server.client(db).dbsize()));
    expect([0, 1, 5].map((db) => whole.keys.filter((key) => key.db === db).length)).toEqual(sizes);
  });

  it('gives of every key what DUMP and the expiry of the server say', async () => {
    for (const read of whole.keys) {
      const client = server.client(read.db);
      const payload = await client.dumpBuffer(read.key);
      const value = Buffer.concat([Buffer.of(read.type), read.value]);
      expect(value.equals(payload.subarray(0, -FOOTER_BYTES))).toBe(true);
      expect(read.expireAtMs).toBe(await client.call('PEXPIRETIME', read.key));
      client.disconnect();
    }
  });

  it('is read alike byte by byte, and what follows it is given back', () => {
    const bytes = Array.from(rdb, (byte) => Buffer.of(byte));
    expect(fingerprint(readRdb(bytes))).toBe(fingerprint(whole));
    expect(fingerprint(readRdb(bytes, IN_PIECES))).toBe(fingerprint(whole));
    expect(readRdb([Buffer.concat([rdb, Buffer.from('*1\r\n')])]).rest.toString()).toBe('*1\r\n');
  });

  it('is read alike when it is cut at any place', async () => {
    const client = server.client();
    await client.flushall();
    await loadDataSet(client, { keys: KEYS_CUT_EVERYWHERE, seed: 3 });
    await client.del(...(await keysLargerThan(client, 2_000)));
    const small = await save(server);
    const expected = fingerprint(readRdb([small]));
    for (let cut = 0; cut <= small.length; cut++) {
      const pieces = [small.subarray(0, cut), small.subarray(cut)];
      for (const bounds of [{}, IN_PIECES]) {
        if (fingerprint(readRdb(pieces, bounds)) !== expected)
          throw new Error(`read differently when cut at ${cut}`);
      }
    }
  });

  it('ends in a named error or with its end missing, however it is damaged', () => {
    const random = makeRandom(wanted.version.length);
    let refused = 0;
    for (let round = 0; round < MUTATIONS; round++) {
      const damaged = Buffer.from(rdb);
      for (let flips = 1 + random(3); flips > 0; flips--) damaged[random(rdb.length)] = random(256);
      const cut = round % 5 === 0 ? random(rdb.length) : rdb.length;
      try {
        if (round % 2 === 0) readRdb([damaged.subarray(0, cut)]);
        else readRdb(inPieces(damaged.subarray(0, cut)), IN_PIECES);
      } catch (error) {
        if (!isMigrationError(error)) throw error;
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(MUTATIONS / 4);
  });
});

function inPieces(bytes: Buffer): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, index) =>
    bytes.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES),
  );
}

async function save(server: RunningServer): Promise<Buffer> {
  await server.client().save();
  return readFile(path.join(server.directory, 'dump.rdb'));
}

async function knows(client: Redis, command: string): Promise<boolean> {
  const answer: unknown = await client.call('COMMAND', 'INFO', command);
  return Array.isArray(answer) && Array.isArray(answer[0]);
}

async function keysLargerThan(client: Redis, bytes: number): Promise<Buffer[]> {
  const keys = await client.keysBuffer('*');
  const payloads = await Promise.all(keys.map((key) => client.dumpBuffer(key)));
  return [Buffer.from('none'), ...keys.filter((_, index) => (payloads[index]?.length ?? 0) > bytes)];
}

function fingerprint({ keys, functions, isComplete }: ReadRdb): string {
  const line = ({ db, key, expireAtMs, type, value }: ReadKey) =>
    `${db} ${type} ${expireAtMs} ${key.toString('base64')} ${value.toString('base64')}`;
  return [isComplete, ...functions, ...keys.map(line)].join('\n');
}

/** Whole numbers below a bound, the same ones in every run. */
function makeRandom(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % bound;
  };
}
