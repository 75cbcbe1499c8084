import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';

/** What two servers with the same data have in common, whatever their versions. */
export type DataFingerprint = {
  readonly keys: number;
  /** Over key, members, scores as numbers, and whether there is a TTL. */
  readonly sortedSets: string;
  /** DEBUG DIGEST over all other keys: types, values and whether there is a TTL, independent of order and encoding. */
  readonly digest: string;
};

const SCAN_COUNT = 10_000;
const DIGEST_BYTES = 20;

/**
 * Reads it over every key, and uses up the sorted sets: they are removed before the rest is digested, because DEBUG
 * DIGEST prints their scores in as many digits as the version likes.
 */
export async function takeFingerprint(client: Redis): Promise<DataFingerprint> {
  const keyspace = await client.info('keyspace');
  const counts = new Map(
    [...keyspace.matchAll(/^db(\d+):keys=(\d+)/gm)].map(([, db, keys]) => [db, Number(keys)]),
  );
  const others = [...counts.keys()].filter((db) => db !== '0');
  if (others.length > 0) throw new Error(`there are keys in the databases ${others.join(', ')}`);
  const sortedSets = await takeSortedSets(client);
  const digest = await client.call('DEBUG', 'DIGEST');
  if (typeof digest !== 'string') throw new Error(`DEBUG DIGEST answers ${String(digest)}`);
  return { keys: counts.get('0') ?? 0, sortedSets, digest };
}

/** What differs, in words; undefined when nothing does. */
export function describeDifference(expected: DataFingerprint, found: DataFingerprint): string | undefined {
  if (expected.keys !== found.keys) return `${found.keys} keys instead of ${expected.keys}`;
  if (expected.sortedSets !== found.sortedSets) return 'sorted sets differ';
  if (expected.digest !== found.digest) return 'the digests differ';
  return undefined;
}

async function takeSortedSets(client: Redis): Promise<string> {
  const sum = Buffer.alloc(DIGEST_BYTES);
  let cursor = '0';
  do {
    const [next, keys] = await client.scanBuffer(cursor, 'COUNT', SCAN_COUNT, 'TYPE', 'zset');
    cursor = next.toString();
    for (const digest of await Promise.all(keys.map((key) => takeSortedSet(client, key)))) {
      for (const [at, byte] of digest.entries()) sum[at] = (sum[at] ?? 0) ^ byte;
    }
  } while (cursor !== '0');
  return sum.toString('hex');
}

/** Nothing for one that is gone: SCAN may name a key twice. */
async function takeSortedSet(client: Redis, key: Buffer): Promise<Buffer> {
  const [members, ttlMs] = await Promise.all([
    client.zrangeBuffer(key, 0, '-1', 'WITHSCORES'),
    client.pttl(key),
    client.unlink(key),
  ]);
  if (members.length === 0) return Buffer.alloc(0);
  const hash = createHash('sha1')
    .update(key)
    .update(ttlMs >= 0 ? 'ttl' : 'none');
  for (const [at, part] of members.entries()) hash.update(at % 2 === 0 ? part : encodeScore(part.toString()));
  return hash.digest();
}

function encodeScore(text: string): Buffer {
  const score = Buffer.alloc(8);
  score.writeDoubleLE(text.endsWith('inf') ? Number(text.replace('inf', 'Infinity')) : Number(text));
  return score;
}
