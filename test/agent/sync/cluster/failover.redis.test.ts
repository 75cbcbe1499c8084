import { expect, it, vi } from 'vitest';
import { type RunningCluster, startCluster } from '../../../servers/cluster.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../../servers/start.ts';
import { type SyncRun, startSync } from '../sync-run.ts';
import { compareDumps, readTypedDump } from '../typed-dump.ts';
import { readClusterDump } from './cluster-dump.ts';
import { type ClusterWriters, countAcknowledged, startClusterWriters } from './cluster-writers.ts';

const COPIED_KEYS = 2_000;
const ROUNDS_BETWEEN = 40;

// A cluster with replicas beside the source and the sync takes its time on a small machine.
vi.setConfig({ testTimeout: 100_000 });

it('loses and doubles nothing when replicas take over while the primary is alive and ahead of them', async () => {
  await using source = await startSource();
  await using cluster = await startFailingCluster();
  const writers = startWriters(source);
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  const primaries = [...cluster.primaries];
  for (const index of [0, 1, 0]) {
    await writers.rounds(ROUNDS_BETWEEN);
    const [replica] = cluster.replicas[index] ?? [];
    const primary = cluster.primaries[index];
    if (replica === undefined || primary === undefined) throw new Error('the cluster is too small');
    const next = primaries[index] === primary ? replica : primary;
    await takeOverFromBehind(next);
    primaries[index] = next;
    await writers.rounds(ROUNDS_BETWEEN);
  }
  await expectNothingLost({ source, writers, cluster, sync, primaries });
  expect(sync.log.join()).toMatch(/resumed at offset \d+ of \w+, [1-9]\d* behind the first primary/);
});

it.each([
  {
    name: 'is taken over from',
    strike: (_: RunningServer, replica: RunningServer) => takeOverFromBehind(replica),
  },
  { name: 'is killed', strike: (primary: RunningServer) => primary.stop('SIGKILL') },
])('begins the copy anew when a primary $name in the middle of it', async ({ strike }) => {
  await using source = await startSource();
  await using cluster = await startFailingCluster();
  await fill(source);
  const writers = startWriters(source);
  const [failing] = cluster.primaries;
  const [replica] = cluster.replicas[0] ?? [];
  if (failing === undefined || replica === undefined) throw new Error('the cluster is too small');
  await source.client().config('SET', 'rdb-key-save-delay', '1000');
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage, keys }) => stage === 'copying' && keys > COPIED_KEYS / 10);
  await strike(failing, replica);
  await source.client().config('SET', 'rdb-key-save-delay', '0');
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS_BETWEEN);
  const primaries = [replica, ...cluster.primaries.slice(1)];
  await expectNothingLost({ source, writers, cluster, sync, primaries });
  expect(sync.log.join('\n')).toMatch(/reconnecting after target-.*copied \d+ keys/s);
});

/** The replica hears nothing more of its primary, misses what the sync writes to it, and then takes its slots. */
async function takeOverFromBehind(replica: RunningServer): Promise<void> {
  await replica
    .client()
    .pipeline()
    .call('CLIENT', 'KILL', 'TYPE', 'master')
    .call('DEBUG', 'SLEEP', '0.3')
    .call('CLUSTER', 'FAILOVER', 'TAKEOVER')
    .exec();
  await vi.waitFor(
    async () => {
      expect(await replica.client().info('replication')).toContain('role:master');
    },
    { timeout: 10_000 },
  );
}

async function fill(source: RunningServer): Promise<void> {
  const pipeline = source.client().pipeline();
  for (let key = 0; key < COPIED_KEYS; key++) pipeline.set(`filled:${key}`, 'x'.repeat(100));
  await pipeline.exec();
}

type Checked = {
  source: RunningServer;
  writers: ClusterWriters;
  cluster: RunningCluster;
  sync: SyncRun;
  primaries: readonly RunningServer[];
};

async function expectNothingLost({ source, writers, cluster, sync, primaries }: Checked): Promise<void> {
  const acknowledged = await writers.stop();
  await sync.caughtUp();
  const client = cluster.client();
  expect(await countAcknowledged((command, key) => client.call(command, key))).toEqual(acknowledged);
  const [sourceDump, targetDump] = [await readTypedDump(source.client()), await readClusterDump(primaries)];
  expect(compareDumps(sourceDump, targetDump)).toEqual([]);
}

function startWriters(source: RunningServer): ClusterWriters {
  const { kind, version } = source.server;
  return startClusterWriters(source, { version: kind === 'valkey' ? '7.2.4' : version });
}

async function startSource(): Promise<RunningServer> {
  const config = { 'repl-diskless-sync-delay': '0', 'repl-backlog-size': '64mb' };
  return startServer({ server: await sourceServer(), config });
}

async function startFailingCluster(): Promise<RunningCluster> {
  return startCluster({
    server: await targetServer(),
    replicas: 1,
    config: { 'enable-debug-command': 'yes' },
  });
}
