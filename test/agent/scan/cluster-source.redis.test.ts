import { expect, it, vi } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { type RunningCluster, startCluster } from '../../servers/cluster.ts';
import { startServer, targetServer } from '../../servers/start.ts';
import {
  expectCounted,
  expectEqual,
  type ShardWriters,
  startShardWriters,
  startSource,
} from '../sync/shards/shard-source.ts';
import { type SyncRun, startSync, type TargetPlace } from '../sync/sync-run.ts';

const KEYS = 3_000;
const LIBRARY = "#!lua name=shop\nredis.register_function('one', function() return 1 end)";

// Two clusters beside the sync take their time on a small machine.
vi.setConfig({ testTimeout: 120_000 });

it('scans three shards to two, and leaves them equal under load', async () => {
  await using source = await startTellingSource();
  await using target = await startCluster({ server: await targetServer(), primaries: 2 });
  for (const primary of source.primaries) await primary.client().call('FUNCTION', 'LOAD', LIBRARY);
  const writers = startShardWriters(source);
  await using sync = await startScan(source, target);
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(300);
  const counters = await stopAndCatchUp(writers, sync, target);
  await expectEqual(source.primaries, target.primaries);
  await expectCounted(target.client(), counters);
  for (const primary of target.primaries) {
    expect(await primary.client().call('FUNCTION', 'LIST')).toHaveLength(1);
  }
  const report = await sync.stop();
  expect(report).toMatchObject({ reconnects: 0, skipped: [] });
  expect(report.copiedKeys).toBeGreaterThanOrEqual(KEYS);
});

it('scans three shards to a server that is no cluster, and removes what one of them has flushed', async () => {
  await using source = await startTellingSource();
  await using target = await startServer({ server: await targetServer() });
  const writers = startShardWriters(source);
  await using sync = await startScan(source, target);
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(150);
  await writers.stop();
  await source.primaries[2]?.client().flushall();
  await sync.until(() => sync.log.join().includes('FLUSHALL was run'));
  await catchUp(sync, target);
  await expectEqual(source.primaries, [target]);
});

it('goes over everything again when the subscription of one shard is killed, beside writers', async () => {
  await using source = await startTellingSource();
  await using target = await startServer({ server: await targetServer() });
  const writers = startShardWriters(source);
  await using sync = await startScan(source, target);
  await sync.until(({ stage }) => stage === 'live');
  await source.primaries[1]?.client().call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await sync.until(() => sync.log.join().includes('reconnecting after source-unreachable'));
  await writers.rounds(150);
  const counters = await stopAndCatchUp(writers, sync, target);
  await expectEqual(source.primaries, [target]);
  await expectCounted(target.client(), counters);
});

it('goes over everything again when a slot has moved, beside writers', async () => {
  await using source = await startTellingSource();
  await using target = await startServer({ server: await targetServer() });
  const writers = startShardWriters(source);
  await using sync = await startScan(source, target);
  await sync.until(({ stage }) => stage === 'live');
  const [, to] = source.primaries;
  if (to === undefined) throw new Error('the source is too small');
  await source.moveSlot(1, to);
  await sync.until(() => sync.log.join().includes('reconnecting after source-slots-moved'));
  await writers.rounds(150);
  const counters = await stopAndCatchUp(writers, sync, target);
  await expectEqual(source.primaries, [target]);
  await expectCounted(target.client(), counters);
});

it('goes on from the replica of a primary that has died, beside writers', async () => {
  await using source = await startTellingSource(1);
  await using target = await startServer({ server: await targetServer() });
  const writers = startShardWriters(source);
  await using sync = await startScan(source, target);
  await sync.until(({ stage }) => stage === 'live');
  // The one that the endpoint leads to.
  const [first] = source.primaries;
  const [[heir] = []] = source.replicas;
  if (first === undefined || heir === undefined) throw new Error('the source is too small');
  await first.stop('SIGKILL');
  await sync.until(() => sync.log.join().includes('reconnecting after source-unreachable'));
  await sync.until(() => sync.log.filter((line) => line.includes('has everything')).length > 1);
  await writers.rounds(150);
  await writers.stop();
  await catchUp(sync, target);
  await expectEqual([heir, ...source.primaries.slice(1)], [target]);
});

it('does not begin while one of the primaries tells of nothing', async () => {
  await using source = await startTellingSource();
  await using target = await startServer({ server: await targetServer() });
  await source.primaries[2]?.client().config('SET', 'notify-keyspace-events', 'E$');
  await using sync = await startScan(source, target);
  await expect(sync.ended).rejects.toMatchObject({ code: 'notifications-missing' });
  expect(await target.client().dbsize()).toBe(0);
});

async function startTellingSource(replicas = 0): Promise<RunningCluster> {
  const source = await startSource({ replicas, config: { 'notify-keyspace-events': 'EA' } });
  const client = source.client();
  const writes: Promise<unknown>[] = [];
  for (let index = 0; index < KEYS; index++) {
    writes.push(
      index % 3 === 0 ? client.rpush(`key:${index}`, index, 'b') : client.set(`key:${index}`, index),
    );
  }
  await Promise.all(writes);
  await client.pexpire('key:1', 5_000_000);
  return source;
}

function startScan({ primaries }: RunningCluster, target: TargetPlace): Promise<SyncRun> {
  const [first] = primaries;
  if (first === undefined) throw new Error('a source without a primary');
  return startSync({ source: first, target, route: 'scan' });
}

async function stopAndCatchUp(
  writers: ShardWriters,
  sync: SyncRun,
  target: TargetPlace,
): Promise<Awaited<ReturnType<ShardWriters['stop']>>> {
  const counters = await writers.stop();
  await catchUp(sync, target);
  return counters;
}

/** Resolves when the claim says that the target has everything up to a moment that is yet to come. */
async function catchUp(sync: SyncRun, target: TargetPlace): Promise<void> {
  const sinceMs = systemClock.nowMs();
  const reader = target.client();
  for (;;) {
    const claim = String(await reader.get('__valkey-migrate__'));
    if (Number(/"offset":(\d+)/.exec(claim)?.[1] ?? 0) >= sinceMs) break;
    await sync.until(() => true);
  }
  reader.disconnect();
}
