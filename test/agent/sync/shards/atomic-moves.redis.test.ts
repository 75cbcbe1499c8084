import { expect, it, vi } from 'vitest';
import { keySlot } from '../../../../src/agent/redis/cluster/slots.ts';
import { firstOf, type RunningCluster, startCluster } from '../../../servers/cluster.ts';
import { findServer, type RunningServer, startServer, targetServer } from '../../../servers/start.ts';
import { type SyncRun, startSync } from '../sync-run.ts';
import { caughtUp, expectCounted, expectEqual, startShardWriters } from './shard-source.ts';

// Two clusters beside the sync take their time on a small machine.
vi.setConfig({ testTimeout: 180_000 });

const ROUNDS_BETWEEN = 60;
const TAG = '{tag:3}';
const SLOT = keySlot(Buffer.from(TAG), 0, TAG.length);

/** Valkey 9 moves slots whole, by a snapshot and a stream of its own, instead of key by key. */
async function startAtomicSource(): Promise<RunningCluster> {
  return startCluster({
    server: await findServer({ kind: 'valkey', version: 'newest' }),
    primaries: 3,
    config: { 'repl-backlog-size': '64mb', 'enable-debug-command': 'yes' },
  });
}

/** Begins to move the slot of the tag; says who gives it and who takes it. */
async function beginMove(source: RunningCluster): Promise<{ giver: RunningServer; taker: RunningServer }> {
  const giver = await source.ownerOf(TAG);
  const taker = source.primaries.find((primary) => primary !== giver);
  if (taker === undefined) throw new Error('there is no other primary');
  const id = String(await taker.client().call('CLUSTER', 'MYID'));
  await giver.client().call('CLUSTER', 'MIGRATESLOTS', 'SLOTSRANGE', SLOT, SLOT, 'NODE', id);
  return { giver, taker };
}

async function untilMove(giver: RunningServer, state: RegExp): Promise<void> {
  await vi.waitFor(
    async () => {
      expect(JSON.stringify(await giver.client().call('CLUSTER', 'GETSLOTMIGRATIONS'))).toMatch(state);
    },
    { timeout: 60_000, interval: 50 },
  );
}

const isReconciling = (sync: SyncRun) => sync.log.some((line) => line.startsWith('reconciling every shard'));

it.each(['a cluster', 'a server that is no cluster'])(
  'a slot that a Valkey 9 moves whole under load makes all shards be reconciled in %s, which ends equal',
  async (kind) => {
    await using stack = new AsyncDisposableStack();
    const source = stack.use(await startAtomicSource());
    const server = await targetServer();
    const cluster =
      kind === 'a cluster' ? stack.use(await startCluster({ server, primaries: 2 })) : undefined;
    const target = cluster ?? stack.use(await startServer({ server }));
    const writers = startShardWriters(source);
    const sync = stack.use(await startSync({ source: firstOf(source), target }));
    await sync.until(({ stage }) => stage === 'live');
    await writers.rounds(ROUNDS_BETWEEN);
    const { giver, taker } = await beginMove(source);
    await untilMove(giver, /"state","success"/);
    expect(await source.ownerOf(TAG)).toBe(taker);
    await sync.until(() => isReconciling(sync));
    await sync.until(({ stage }) => stage === 'live');
    await writers.rounds(ROUNDS_BETWEEN);
    const counters = await writers.stop();
    await caughtUp(sync, { primaries: source.primaries, target });
    await expectEqual(source.primaries, cluster?.primaries ?? [target as RunningServer]);
    await expectCounted(target.client(), counters);
  },
);

it('while such a move is under way, a sync waits and none begins; one that is given up leaves both equal', async () => {
  await using source = await startAtomicSource();
  await using target = await startServer({ server: await targetServer() });
  const writers = startShardWriters(source);
  await using sync = await startSync({ source: firstOf(source), target });
  await sync.until(({ stage }) => stage === 'live');
  for (const primary of source.primaries) await primary.client().debug('SLOTMIGRATION', 'PREVENT-PAUSE', '1');
  const { giver } = await beginMove(source);
  await untilMove(giver, /"state","(?!success|failed)/);
  await sync.until(() => isReconciling(sync));
  await using other = await startServer({ server: await targetServer() });
  await using second = await startSync({ source: firstOf(source), target: other });
  await expect(second.ended).rejects.toMatchObject({ code: 'source-slots-moved' });
  await writers.rounds(ROUNDS_BETWEEN);
  expect(sync.log.filter((line) => line.includes('reconciled:'))).toEqual([]);
  await giver.client().call('CLUSTER', 'CANCELSLOTMIGRATIONS');
  await untilMove(giver, /"state","cancell?ed"/);
  await sync.until(({ stage }) => stage === 'live');
  const counters = await writers.stop();
  await caughtUp(sync, { primaries: source.primaries, target });
  await expectEqual(source.primaries, [target]);
  await expectCounted(target.client(), counters);
});
