import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it, vi } from 'vitest';
import { keySlot, slotTag } from '../../../../src/agent/redis/cluster/slots.ts';
import { firstOf, type RunningCluster, startCluster } from '../../../servers/cluster.ts';
import { type RunningServer, startServer, targetServer } from '../../../servers/start.ts';
import { kill, killWriter, startChild } from '../fault-run.ts';
import { type SyncRun, startSync } from '../sync-run.ts';
import {
  caughtUp,
  expectCounted,
  expectEqual,
  type ShardWriters,
  startShardWriters,
  startSource,
} from './shard-source.ts';

const KILLS = 4;
const ROUNDS_BETWEEN = 60;

// Two clusters beside the sync take their time on a small machine.
vi.setConfig({ testTimeout: 180_000 });

type Checked = {
  sync: SyncRun;
  source: readonly RunningServer[];
  target: RunningCluster;
  writers: ShardWriters;
};

async function expectNothingLost({ sync, source, target, writers }: Checked): Promise<void> {
  const counters = await writers.stop();
  await caughtUp(sync, { primaries: source, target });
  await expectEqual(source, target.primaries);
  await expectCounted(target.client(), counters);
}

it('loses and doubles nothing when the agent is killed by -9 under load and started again', async () => {
  await using source = await startSource();
  await using target = await startTarget();
  await using folder = await temporaryFolder();
  const writers = startShardWriters(source);
  for (let life = 1; life <= KILLS; life++) {
    const child = await startChild(source, target, { directory: folder.path });
    await writers.rounds(ROUNDS_BETWEEN);
    await kill(child);
  }
  await using sync = await startSync({ source: firstOf(source), target, directory: folder.path });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS_BETWEEN);
  await expectNothingLost({ sync, source: source.primaries, target, writers });
  expect(sync.log.filter((line) => line.includes('resumed at offset'))).toHaveLength(3);
  expect((await sync.stop()).copiedKeys).toBe(0);
});

it('loses and doubles nothing when connections of any side are killed under load', async () => {
  await using source = await startSource();
  await using target = await startTarget();
  const writers = startShardWriters(source);
  await using sync = await startSync({ source: firstOf(source), target });
  await sync.until(({ stage }) => stage === 'live');
  for (const [index, primary] of [...source.primaries, ...target.primaries].entries()) {
    await writers.rounds(ROUNDS_BETWEEN);
    const before = sync.log.length;
    if (index < 3) await primary.client().call('CLIENT', 'KILL', 'TYPE', 'replica');
    else await killWriter(primary, / name=valkey-migrate:\S+\/0 /);
    await sync.until(() => sync.log.slice(before).some((line) => /resumed at|went on from/.test(line)));
  }
  await writers.rounds(ROUNDS_BETWEEN);
  await expectNothingLost({ sync, source: source.primaries, target, writers });
  expect(sync.log.join()).not.toContain('reconcil');
});

it('goes on with the replica to which a primary of the source hands its slots over, and copies nothing', async () => {
  await using source = await startSource({ replicas: 1 });
  await using target = await startTarget();
  const [replica] = source.replicas[1] ?? [];
  if (replica === undefined) throw new Error('the source has no replica');
  const writers = startShardWriters(source);
  await using sync = await startSync({ source: firstOf(source), target });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS_BETWEEN);
  await replica.client().call('CLUSTER', 'FAILOVER');
  await untilMaster(replica);
  // The old primary is a replica now, and may go.
  await source.primaries[1]?.stop('SIGKILL');
  await sync.until(() => sync.log.some((line) => line.includes('resumed at offset')));
  await writers.rounds(ROUNDS_BETWEEN);
  const primaries = replaced(source, 1, replica);
  await expectNothingLost({ sync, source: primaries, target, writers });
  expect(sync.log.join()).not.toContain('reconcil');
});

it('follows a primary of the source that is killed to its replica, and ends equal to that', async () => {
  await using source = await startSource({ replicas: 1 });
  await using target = await startTarget();
  const [replica] = source.replicas[0] ?? [];
  if (replica === undefined) throw new Error('the source has no replica');
  const writers = startShardWriters(source);
  await using sync = await startSync({ source: firstOf(source), target });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS_BETWEEN);
  await firstOf(source).stop('SIGKILL');
  await untilMaster(replica);
  await writers.rounds(ROUNDS_BETWEEN);
  await writers.stop();
  const primaries = replaced(source, 0, replica);
  await caughtUp(sync, { primaries, target });
  await expectEqual(primaries, target.primaries);
});

it.each(['a cluster', 'a server that is no cluster'])(
  'removes from %s what one primary of the source flushes, and nothing of the others',
  async (kind) => {
    await using source = await startSource();
    await using stack = new AsyncDisposableStack();
    const cluster = kind === 'a cluster' ? stack.use(await startTarget()) : undefined;
    const server = cluster ?? stack.use(await startServer({ server: await targetServer() }));
    const primaries = cluster?.primaries ?? [server as RunningServer];
    const writers = startShardWriters(source);
    await using sync = await startSync({ source: firstOf(source), target: server });
    await sync.until(({ stage }) => stage === 'live');
    await writers.rounds(ROUNDS_BETWEEN);
    await source.primaries[1]?.client().flushall();
    await writers.rounds(10);
    await source.primaries[2]?.client().multi().flushdb().set(keyIn(source, 2), 'after').exec();
    await writers.rounds(ROUNDS_BETWEEN);
    await writers.stop();
    await caughtUp(sync, { primaries: source.primaries, target: server });
    await expectEqual(source.primaries, primaries);
    expect(sync.log.join()).not.toContain('reconcil');
  },
);

it('reconciles one shard that can no longer be resumed, and leaves the keys of the others', async () => {
  await using source = await startSource();
  await using target = await startTarget();
  await using folder = await temporaryFolder();
  const client = source.client();
  for (let key = 0; key < 300; key++) await client.set(`key:${key}`, key);
  await using first = await startSync({ source: firstOf(source), target, directory: folder.path });
  await first.until(({ stage }) => stage === 'live');
  await first.stop();
  const [gone] = await ownKeys(source.primaries[0]);
  if (gone === undefined) throw new Error('the first shard is empty');
  await source.primaries[0]?.client().del(gone);
  await source.primaries[0]?.client().debug('CHANGE-REPL-ID');
  await using second = await startSync({ source: firstOf(source), target, directory: folder.path });
  await second.until(({ stage }) => stage === 'live');
  await caughtUp(second, { primaries: source.primaries, target });
  await expectEqual(source.primaries, target.primaries);
  const log = second.log.join('\n');
  expect(log).toMatch(/shard 0-5460: reconciled: \d+ keys rewritten, [1-9]\d* removed/);
  expect(log).toMatch(/shard 10922-16383: resumed at offset/);
});

it('reconciles all shards when slots of the source are moved under load, and ends equal', async () => {
  await using source = await startSource();
  await using target = await startTarget();
  const writers = startShardWriters(source);
  await using sync = await startSync({ source: firstOf(source), target });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS_BETWEEN);
  const moved = Buffer.from('{tag:3}');
  const owner = await source.ownerOf('{tag:3}');
  const to = source.primaries.find((primary) => primary !== owner);
  if (to === undefined) throw new Error('there is no other primary');
  await source.moveSlot(keySlot(moved, 0, moved.length), to);
  await sync.until(() => sync.log.some((line) => line.startsWith('reconciling every shard')));
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS_BETWEEN);
  await expectNothingLost({ sync, source: source.primaries, target, writers });
  // What the shards had that are no more is gone with them.
  expect(await readdir(path.join(sync.directory, 'shards'))).toHaveLength(3);
});

it('copies one shard after the other, and begins again with what was interrupted', async () => {
  await using source = await startSource();
  await using target = await startTarget();
  await using folder = await temporaryFolder();
  const client = source.client();
  for (let key = 0; key < 3_000; key++) await client.set(`key:${key}`, 'x'.repeat(200));
  for (const primary of source.primaries) await primary.client().config('SET', 'rdb-key-save-delay', '2000');
  await using first = await startSync({ source: firstOf(source), target, directory: folder.path });
  // One shard is whole, another is not.
  const isBetween = (notes: readonly string[]) =>
    notes.some((note) => /: (catching-up|live)$/.test(note)) && notes.some((note) => /: copying$/.test(note));
  await first.until(({ notes }) => isBetween(notes));
  await expect(first.stop()).rejects.toThrow('stopped by the test');
  for (const primary of source.primaries) await primary.client().config('SET', 'rdb-key-save-delay', '0');
  await using second = await startSync({ source: firstOf(source), target, directory: folder.path });
  await second.until(({ stage }) => stage === 'live');
  await caughtUp(second, { primaries: source.primaries, target });
  await expectEqual(source.primaries, target.primaries);
  expect(second.log.join('\n')).toMatch(/shard \S+: resumed at offset/);
  expect(second.log.join('\n')).toMatch(/shard \S+: reconciled: /);
});

it('refuses to copy a shard that has lost its data over what the target has of it', async () => {
  await using source = await startSource();
  await using target = await startTarget();
  await using folder = await temporaryFolder();
  const client = source.client();
  for (let key = 0; key < 900; key++) await client.set(`key:${key}`, key);
  await using first = await startSync({ source: firstOf(source), target, directory: folder.path });
  await first.until(({ stage }) => stage === 'live');
  await first.stop();
  // As after a restart without a file: another history, and nothing in it.
  await source.primaries[1]?.client().config('SET', 'save', '');
  await source.primaries[1]?.restart('SIGKILL');
  await vi.waitFor(async () => {
    expect(String(await firstOf(source).client().call('CLUSTER', 'INFO'))).toContain('cluster_state:ok');
  });
  await using second = await startSync({ source: firstOf(source), target, directory: folder.path });
  await expect(second.ended).rejects.toMatchObject({ code: 'source-shrunk' });
});

async function startTarget(): Promise<RunningCluster> {
  return startCluster({ server: await targetServer(), primaries: 2 });
}

/** The primaries after a failover, in the order of their slots. */
function replaced({ primaries }: RunningCluster, index: number, replica: RunningServer): RunningServer[] {
  return primaries.map((primary, at) => (at === index ? replica : primary));
}

/** A key that belongs to a shard of three. */
function keyIn({ primaries }: RunningCluster, shard: number): string {
  return `{${slotTag(Math.floor((shard * 16_384) / primaries.length) + 1)}}:key`;
}

async function ownKeys(primary: RunningServer | undefined): Promise<string[]> {
  return (await primary?.client().keys('*')) ?? [];
}

async function untilMaster(replica: RunningServer): Promise<void> {
  await vi.waitFor(
    async () => {
      expect(await replica.client().info('replication')).toContain('role:master');
    },
    { timeout: 30_000 },
  );
}

async function temporaryFolder() {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-shards-'));
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}
