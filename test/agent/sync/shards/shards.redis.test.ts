import { expect, it, vi } from 'vitest';
import { type RunningCluster, startCluster } from '../../../servers/cluster.ts';
import { startServer, targetServer } from '../../../servers/start.ts';
import { reservedKeys } from '../cluster/cluster-dump.ts';
import { startSync } from '../sync-run.ts';
import { caughtUp, expectCounted, expectEqual, startShardWriters, startSource } from './shard-source.ts';

const KEYS = 3_000;
const LIBRARY = "#!lua name=shop\nredis.register_function('one', function() return 1 end)";

// Two clusters beside the sync take their time on a small machine.
vi.setConfig({ testTimeout: 120_000 });

it('copies three shards to two, and leaves them equal under load', async () => {
  await using source = await startSource();
  await using target = await startCluster({ server: await targetServer(), primaries: 2 });
  await fill(source);
  for (const primary of source.primaries) await primary.client().call('FUNCTION', 'LOAD', LIBRARY);
  const writers = startShardWriters(source);
  await using sync = await startSync({ source: placeOf(source), target });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(300);
  const counters = await writers.stop();
  await caughtUp(sync, { primaries: source.primaries, target });
  await expectEqual(source.primaries, target.primaries);
  await expectCounted(target.client(), counters);
  for (const primary of target.primaries) {
    expect(await primary.client().call('FUNCTION', 'LIST')).toHaveLength(1);
  }
  // The claim; of each shard another, and a checkpoint at each primary.
  expect(await reservedKeys(target)).toHaveLength(1 + 3 * (1 + 2));
  const report = await sync.stop();
  expect(report).toMatchObject({ reconnects: 0, skipped: [] });
  expect(report.copiedKeys).toBeGreaterThanOrEqual(KEYS);
});

it('copies three shards to a server that is no cluster', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await fill(source);
  const writers = startShardWriters(source);
  await using sync = await startSync({ source: placeOf(source), target });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(150);
  const counters = await writers.stop();
  await caughtUp(sync, { primaries: source.primaries, target });
  await expectEqual(source.primaries, [target]);
  await expectCounted(target.client(), counters);
});

it('refuses more primaries than it has memory for, before anything is written', async () => {
  await using source = await startSource();
  await using target = await startCluster({ server: await targetServer(), primaries: 11 });
  await using sync = await startSync({ source: placeOf(source), target });
  await expect(sync.ended).rejects.toMatchObject({
    code: 'source-cluster-unsupported',
    message: expect.stringContaining('Each of 3 primaries'),
  });
  expect(await reservedKeys(target)).toEqual([]);
});

function placeOf(source: RunningCluster) {
  const [first] = source.primaries;
  if (first === undefined) throw new Error('the source has no primary');
  return first;
}

async function fill(source: RunningCluster): Promise<void> {
  const client = source.client();
  for (let from = 0; from < KEYS; from += 500) {
    const keys = Array.from({ length: 500 }, (_, index) => from + index);
    await Promise.all(keys.map((key) => client.set(`filled:${key}`, 'x'.repeat(key % 300))));
  }
}
