import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { listServers } from './catalogue.ts';
import { loadDataSet } from './data-set.ts';
import { compareVersions } from './server-binary.ts';
import { findServer, sourceServer, startServer, targetServer } from './start.ts';

const servers = new Map(
  [await sourceServer(), await targetServer(), ...(await listServers())].map((server) => [
    server.command.join(' '),
    server,
  ]),
);

describe.each([...servers.values()])('the data set on $kind $version', (server) => {
  it('has as many keys, of each type, in each database and with TTLs, as it says', async () => {
    await using running = await startServer({ server });
    const counts = await loadDataSet(running.client(), { keys: 20_000, seed: 7 });
    expect(counts.keys).toBe(20_000);
    const keysByType: Record<string, number> = {};
    const encodings = new Set<string>();
    let withTtl = 0;
    for (const [database, expected] of Object.entries(counts.keysByDatabase)) {
      const client = running.client(Number(database));
      expect(await client.dbsize()).toBe(expected);
      for (const { type, encoding, ttlMs } of await describeKeys(client)) {
        keysByType[type] = (keysByType[type] ?? 0) + 1;
        encodings.add(`${type}:${encoding}`);
        if (ttlMs !== -1) {
          withTtl += 1;
          expect(ttlMs).toBeGreaterThan(3_600_000);
        }
      }
    }
    expect(Object.keys(counts.keysByDatabase)).toEqual(['0', '1', '5']);
    expect(keysByType).toEqual(counts.keysByType);
    expect(withTtl).toBe(counts.keysWithTtl);
    expect(Math.abs(counts.keysWithTtl / counts.keys - 0.2)).toBeLessThan(0.02);
    expect([...encodings].sort()).toEqual(expectedEncodings(server.version));
  });

  it('has consumer groups with pending entries, and functions where the server knows them', async () => {
    await using running = await startServer({ server });
    const client = running.client();
    const counts = await loadDataSet(client, { keys: 300, seed: 1, databases: [0] });
    const streams = (await describeKeys(client)).filter(({ type }) => type === 'stream');
    const pending = await Promise.all(
      streams.map(async ({ key }) => {
        const groups: unknown = await client.callBuffer('XINFO', 'GROUPS', key);
        return Array.isArray(groups) && groups.length === 2 ? client.xpending(key, 'workers') : undefined;
      }),
    );
    expect(pending.filter((summary) => summary !== undefined && summary[0] === 2).length).toBeGreaterThan(3);
    const knowsFunctions = compareVersions(server.version, '7.0.0') >= 0;
    expect(counts.functionLibraries).toBe(knowsFunctions ? 1 : 0);
    if (knowsFunctions) expect(await client.call('FCALL', 'dataset_echo', 0, 'said')).toBe('said');
  });
});

describe('a data set', () => {
  it('is the same for the same seed and another for another seed', async () => {
    const server = await findServer({ kind: 'redis', version: '8.0' });
    const dumps = async (seed: number) => {
      await using running = await startServer({ server });
      const client = running.client();
      await loadDataSet(client, { keys: 400, seed });
      const keys = (await client.keysBuffer('*')).sort(Buffer.compare);
      return Promise.all(keys.map(async (key) => [key.toString('hex'), await client.get(key).catch(String)]));
    };
    const first = await dumps(3);
    expect(first.length).toBe(320);
    expect(await dumps(3)).toEqual(first);
    expect(await dumps(4)).not.toEqual(first);
  });

  it('gives hash fields TTLs when asked, and refuses where the server knows none', async () => {
    await using modern = await startServer({ server: await findServer({ kind: 'redis', version: '8.0' }) });
    const client = modern.client();
    const counts = await loadDataSet(client, { keys: 1_000, seed: 1, databases: [0], hashFieldTtls: true });
    const hashes = (await describeKeys(client)).filter(({ type }) => type === 'hash');
    const ttls = await Promise.all(
      hashes.map(async ({ key }) => Number(await client.call('HPTTL', key, 'FIELDS', 1, 'field-0'))),
    );
    expect(counts.fieldsWithTtl).toBeGreaterThan(100);
    expect(ttls.filter((ttlMs) => ttlMs > 3_600_000).length).toBe(counts.fieldsWithTtl);

    await using old = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
    const load = loadDataSet(old.client(), { keys: 10, seed: 1, hashFieldTtls: true });
    await expect(load).rejects.toThrow(/knows no TTL of hash fields/);
  });

  it('says which command the server refused', async () => {
    const config = { maxmemory: '3mb', 'maxmemory-policy': 'noeviction' };
    await using running = await startServer({ server: await sourceServer(), config });
    const load = loadDataSet(running.client(), { keys: 20_000, seed: 1 });
    await expect(load).rejects.toThrow(/Loading the data set: \w+ ".*" failed: OOM/);
  });
});

/** Compact encodings are ziplists before 7.0; lists and sets of strings have one from 7.2 on; 5.0 has no name for streams. */
function expectedEncodings(version: string): string[] {
  const compact = compareVersions(version, '7.0.0') >= 0 ? 'listpack' : 'ziplist';
  const since72 = compareVersions(version, '7.2.0') >= 0 ? ['list:listpack', 'set:listpack'] : [];
  const always = ['hash:hashtable', 'list:quicklist', 'set:hashtable', 'set:intset'];
  const stream = compareVersions(version, '6.0.0') >= 0 ? 'stream:stream' : 'stream:unknown';
  const strings = ['string:embstr', 'string:int', 'string:raw'];
  return [
    ...always,
    stream,
    ...strings,
    ...since72,
    'zset:skiplist',
    `hash:${compact}`,
    `zset:${compact}`,
  ].sort();
}

type KeyFacts = { key: Buffer; type: string; encoding: string; ttlMs: number };

async function describeKeys(client: Redis): Promise<KeyFacts[]> {
  const keys = await client.keysBuffer('*');
  const pipeline = client.pipeline();
  for (const key of keys) pipeline.type(key).object('ENCODING', key).pttl(key);
  const replies = (await pipeline.exec()) ?? [];
  const value = (position: number) => String(replies[position]?.[1]);
  return keys.map((key, index) => ({
    key,
    type: value(3 * index),
    encoding: value(3 * index + 1),
    ttlMs: Number(value(3 * index + 2)),
  }));
}
