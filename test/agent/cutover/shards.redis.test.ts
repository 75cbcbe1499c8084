import { expect, it, vi } from 'vitest';
import { setFences } from '../../../src/agent/cutover/fences.ts';
import { runCutover } from '../../../src/agent/cutover/job.ts';
import { runKeeper } from '../../../src/agent/cutover/keeper.ts';
import { runRollback } from '../../../src/agent/cutover/rollback.ts';
import { runUnfence } from '../../../src/agent/cutover/unfence.ts';
import { firstOf, type RunningCluster, startCluster } from '../../servers/cluster.ts';
import { type RunningServer, targetServer } from '../../servers/start.ts';
import { reservedKeys } from '../sync/cluster/cluster-dump.ts';
import {
  caughtUp,
  expectCounted,
  expectEqual,
  type ShardWriters,
  startShardWriters,
  startSource,
} from '../sync/shards/shard-source.ts';
import { type SyncRun, startSync } from '../sync/sync-run.ts';
import { cutoverRequest, heldSiblings, passedVerification, syncState } from './cutover-pair.ts';
import { accessOf, endpointOf, jobContext, readSettings } from './job-context.ts';

// Two clusters beside the sync take their time on a small machine.
vi.setConfig({ testTimeout: 120_000 });

/** By what it is found out depends on how far the cutover was. */
const REFUSALS =
  /^(fence-denied|sync-lost|source-slots-moved|source-not-ready|verification-incomplete|write-pause-exceeded)$/;

type Following = AsyncDisposable & {
  readonly source: RunningCluster;
  readonly target: RunningCluster;
  readonly sync: SyncRun;
  readonly writers: ShardWriters;
};

/** A source of three shards that a sync follows to two, under load. */
async function follow({
  route,
  ...options
}: Parameters<typeof startSource>[0] & { route?: 'scan' } = {}): Promise<Following> {
  const stack = new AsyncDisposableStack();
  const source = stack.use(await startSource(options));
  const target = stack.use(await startCluster({ server: await targetServer(), primaries: 2 }));
  const writers = startShardWriters(source);
  stack.defer(async () => {
    await writers.stop();
  });
  const own = {
    migrationId: 'sessions',
    repository: 'example/shop',
    ...(route === undefined ? {} : { route }),
  };
  const sync = stack.use(await startSync({ source: firstOf(source), target, ...own }));
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(100);
  return { source, target, sync, writers, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function contextOf({ source, target, sync }: Following) {
  const siblings = heldSiblings(passedVerification({ source, target }), syncState('running', 'live'));
  siblings.onStop = async (kind) => {
    if (kind === 'sync') await sync.stop();
  };
  return { ...jobContext({ directory: sync.directory, siblings }), siblings };
}

it('hands over from three shards to two with every acknowledged write', async () => {
  await using following = await follow();
  const { source, target, writers } = following;
  const report = await runCutover(cutoverRequest(following, 'replica'), contextOf(following));
  const counters = await writers.stop();
  expect(report.verification.differences.listed).toEqual([]);
  expect(report.fence).toContain('at 3 primaries');
  expect(report.sourceShards).toHaveLength(3);
  for (const shard of report.sourceShards ?? []) {
    expect(shard.targetOffset).toBeGreaterThanOrEqual(shard.sourceOffset);
  }
  expect(await reservedKeys(target)).toEqual([]);
  await expectEqual(source.primaries, target.primaries);
  await expectCounted(target.client(), counters);
  for (const primary of source.primaries) await expectFenced(primary);
  expect(await runCutover(cutoverRequest(following, 'replica'), contextOf(following))).toEqual(report);
});

it('hands over by scanning from three shards to two, and mends what no event has told of', async () => {
  const config = { 'notify-keyspace-events': 'EA' };
  await using following = await follow({ route: 'scan', config });
  const { source, target, writers } = following;
  const client = source.client();
  await client.xgroup('CREATE', '{tag:1}:events', 'g', '0');
  await client.xreadgroup('GROUP', 'g', 'one', 'COUNT', 3, 'STREAMS', '{tag:1}:events', '>');
  const pending = await client.xpending('{tag:1}:events', 'g', '-', '+', 3);
  const ids = pending.map((entry) => String(Array.isArray(entry) ? entry[0] : entry));
  // Another consumer takes the entries over, which no count shows.
  await client.xclaim('{tag:1}:events', 'g', 'two', 0, ...ids);
  const report = await runCutover(cutoverRequest(following, 'scan'), contextOf(following));
  const counters = await writers.stop();
  expect(report).toMatchObject({ route: 'scan', verification: { scope: 'full', differences: { total: 0 } } });
  expect(report.fence).toContain('at 3 primaries');
  expect(await reservedKeys(target)).toEqual([]);
  await expectEqual(source.primaries, target.primaries);
  await expectCounted(target.client(), counters);
  for (const primary of source.primaries) await expectFenced(primary);
});

it('corrects the times of every primary of a source that tells only what is left of them', async () => {
  await using following = await follow({ config: { 'rename-command': 'PEXPIRETIME ""' } });
  const { source, target, sync, writers } = following;
  const names = Array.from({ length: 60 }, (_, index) => `expiring:${index}`);
  const atMs = Date.now() + 3_600_000;
  const [from, to] = [source.client(), target.client()];
  for (const [index, name] of names.entries()) await from.call('SET', name, 'v', 'PXAT', atMs + index);
  await writers.stop();
  await caughtUp(sync, { primaries: source.primaries, target });
  for (const name of names) await to.pexpireat(name, Number(await to.pexpiretime(name)) + 5_000);
  await runCutover(cutoverRequest(following, 'replica'), contextOf(following));
  for (const [index, name] of names.entries()) {
    expect(Math.abs(Number(await to.pexpiretime(name)) - atMs - index)).toBeLessThanOrEqual(1);
  }
});

it('lifts the fence of every primary exactly when it fails, and goes on', async () => {
  await using following = await follow();
  const { source, target, sync, writers } = following;
  const [first, second] = source.primaries;
  await first?.client().config('SET', 'min-replicas-max-lag', '7');
  const before = await settingsOf(source);
  const context = contextOf(following);
  // One primary that cannot be fenced in any way.
  await second?.client().call('ACL', 'SETUSER', 'default', '-config', '-acl|users', '-client|pause');
  await expect(runCutover(cutoverRequest(following, 'replica'), context)).rejects.toMatchObject({
    code: 'fence-denied',
  });
  await second?.client().call('ACL', 'SETUSER', 'default', '+config', '+acl|users', '+client|pause');
  expect(await settingsOf(source)).toEqual(before);
  expect(context.siblings.stopped).toEqual([]);
  await writers.rounds(50);
  await runCutover(cutoverRequest(following, 'replica'), context);
  await expectCounted(target.client(), await writers.stop());
  expect(sync.progress()?.stage).toBe('live');
});

it.each(['unfence', 'rollback', 'keeper'] as const)(
  'gives every primary back its settings by %s, when the cutover died behind its fence',
  async (how) => {
    await using following = await follow();
    const { source, target, writers } = following;
    await firstOf(source).client().config('SET', 'min-replicas-max-lag', '7');
    const before = await settingsOf(source);
    const context = contextOf(following);
    await setFences(accessOf('source', source), context);
    for (const primary of source.primaries) await expectFenced(primary);
    if (how === 'unfence') {
      expect(await runUnfence({ kind: 'unfence', source: endpointOf(source) }, context)).toMatchObject({
        lifted: true,
      });
    } else if (how === 'keeper') {
      context.siblings.states.set('cutover', { ...syncState('dead', 'draining'), kind: 'cutover' });
      const request = { kind: 'keeper', cutover: cutoverRequest(following, 'replica') } as const;
      expect(await runKeeper(request, context)).toEqual({ kind: 'keeper', outcome: 'lifted' });
    } else {
      const sides = { source: endpointOf(source), target: endpointOf(target) };
      await runRollback({ kind: 'rollback', ...sides, route: 'replica', flushTarget: true }, context);
      for (const primary of target.primaries) expect(await primary.client().dbsize()).toBe(0);
    }
    expect(await settingsOf(source)).toEqual(before);
    await writers.rounds(20);
  },
);

it('is refused when a primary has failed over behind the fence', async () => {
  await using following = await follow({ replicas: 1 });
  const { source } = following;
  const [replica] = source.replicas[0] ?? [];
  if (replica === undefined) throw new Error('the source has no replica');
  const context = contextOf(following);
  let hasFailedOver: Promise<void> | undefined;
  const cutover = runCutover(cutoverRequest(following, 'replica'), {
    ...context,
    report: (progress) => {
      context.report(progress);
      if (progress.stage === 'draining') hasFailedOver ??= failOver(replica);
    },
  });
  await expect(cutover).rejects.toMatchObject({
    code: expect.stringMatching(REFUSALS),
  });
  await hasFailedOver;
  for (const primary of [replica, ...source.primaries.slice(1)]) {
    expect((await readSettings(primary))['min-replicas-to-write']).toBe('0');
  }
});

/** Every setting of every primary, for "exactly as found". */
async function settingsOf({ primaries }: RunningCluster) {
  return Promise.all(primaries.map(readSettings));
}

async function expectFenced(primary: RunningServer): Promise<void> {
  expect((await readSettings(primary))['min-replicas-to-write']).toBe('1000000');
}

/** The replica takes the slots of its primary, without losing a write. */
async function failOver(replica: RunningServer): Promise<void> {
  await replica.client().call('CLUSTER', 'FAILOVER');
  await vi.waitFor(
    async () => {
      expect(await replica.client().info('replication')).toContain('role:master');
    },
    { timeout: 20_000 },
  );
}
