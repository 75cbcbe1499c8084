import { describe, expect, it } from 'vitest';
import { findServer, sourceServer, targetServer } from '../../servers/start.ts';
import { findSeeds } from '../../verification/seeded-pair.ts';

const PAIRS = [
  {
    name: 'Redis 7.0 to the target of these tests',
    source: () => findServer({ kind: 'redis', version: '7.0' }),
    target: targetServer,
  },
  {
    name: 'the source of these tests to the newest Valkey',
    source: sourceServer,
    target: () => findServer({ kind: 'valkey', version: 'newest' }),
  },
];

describe.each(PAIRS)('from $name, while clients write and a sync carries it', ({ source, target }) => {
  it('every planted difference is found, and nothing else', async () => {
    const binaries = { source: await source(), target: await target() };
    const { kinds, expected, found } = await findSeeds(binaries, 'sync');
    expect(found).toEqual(expected);
    expect(kinds).toBeGreaterThan(50);
  });
});
