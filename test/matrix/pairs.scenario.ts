import { describe, expect, it } from 'vitest';
import { findServer, sourceServer, targetServer } from '../servers/start.ts';
import { migratePair } from './migrate-pair.ts';

const SIZE = { keys: 800, rounds: 6 };
const newestValkey = () => findServer({ kind: 'valkey', version: 'newest' });
const PAIRS = [
  { name: 'the source to the target of these tests', source: sourceServer, target: targetServer },
  { name: 'the source of these tests to the newest Valkey', source: sourceServer, target: newestValkey },
  {
    name: 'Redis 7.0 to the target of these tests',
    source: () => findServer({ kind: 'redis', version: '7.0' }),
    target: targetServer,
  },
];

describe.each(PAIRS)('a migration from $name', ({ source, target }) => {
  it('is exact after clients have written by every command', async () => {
    const pair = await migratePair({ source: await source(), target: await target() }, SIZE);
    expect(pair.written.missed).toEqual([]);
    expect(pair.differences).toEqual([]);
    expect(pair.digests[0]).toBe(pair.digests[1]);
    expect(pair.keys).toBeGreaterThan(SIZE.keys);
  });
});
