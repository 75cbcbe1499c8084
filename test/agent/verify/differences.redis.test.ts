import { describe, expect, it } from 'vitest';
import { findServer, sourceServer, targetServer } from '../../servers/start.ts';
import { expectedLines, LATER_MS, type Need, plantAtSource, plantAtTarget, run, seedsFor } from './seeds.ts';
import { differenceLines, startPair, verifyStill } from './verify-pair.ts';

describe('seeded differences', () => {
  it('are all found, with what differs, and nothing else', async () => {
    await using pair = await startPair(await sourceServer(), await targetServer());
    const seeds = seedsFor(new Set<Need>(['stream-counters', 'exact-expiry', 'known-expiry', 'functions']));
    await plantAtSource(pair.source.client, seeds);
    await plantAtTarget(pair.target.client, seeds, { isPadded: false });
    const report = await verifyStill(pair);
    const expected = expectedLines(seeds);
    expect(differenceLines(report)).toEqual(expected);
    expect(report).toMatchObject({ passed: false, inFlight: 0 });
    expect(report.differences.total).toBe(expected.length);
    expect(report.differences.cut).toBe(0);
  });

  it('that a target cannot hold are found: expiry times of hash fields', async () => {
    await using pair = await startPair(
      await findServer({ kind: 'redis', version: '8.0' }),
      await findServer({ kind: 'valkey', version: '8' }),
    );
    await pair.source.client().hset('h', 'a', '1');
    await pair.target.client().hset('h', 'a', '1');
    await run(pair.source.client(), [['HPEXPIREAT', 'h', LATER_MS, 'FIELDS', 1, 'a']]);
    expect(differenceLines(await verifyStill(pair))).toEqual([
      '0 h hash ttl: field a: expires at 2100-01-01T00:00:00.000Z at the source, never expires at the target',
    ]);
  });
});
