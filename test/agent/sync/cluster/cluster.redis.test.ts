import { expect, it } from 'vitest';
import { type RunningCluster, startCluster } from '../../../servers/cluster.ts';
import { loadDataSet } from '../../../servers/data-set.ts';
import type { ServerBinary } from '../../../servers/server-binary.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../../servers/start.ts';
import { startSync } from '../sync-run.ts';
import { compareDumps, readTypedDump } from '../typed-dump.ts';
import { readClusterDump, reservedKeys } from './cluster-dump.ts';
import { countAcknowledged, startClusterWriters } from './cluster-writers.ts';

const KEYS = 3_000;
const ROUNDS = 200;

it('leaves a source and a cluster equal while clients write over all slots', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  await loadDataSet(source.client(), { keys: KEYS, seed: 5, databases: [0] });
  const writers = startClusterWriters(source, { version: versionOf(source.server) });
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS);
  const acknowledged = await writers.stop();
  await sync.caughtUp();
  await expectEqual(source, cluster);
  expect(await countOf(cluster)).toEqual(acknowledged);
  for (const primary of cluster.primaries) {
    expect(await primary.client().call('FUNCTION', 'LIST')).toHaveLength(1);
    expect(await primary.client().dbsize()).toBeGreaterThan(KEYS / 5);
  }
  expect(await reservedKeys(cluster)).toHaveLength(1 + cluster.primaries.length);
  expect(await sync.stop()).toMatchObject({ reconnects: 0, skipped: [] });
});

async function startSource(): Promise<RunningServer> {
  const config = { 'repl-diskless-sync-delay': '0', 'repl-backlog-size': '64mb' };
  return startServer({ server: await sourceServer(), config });
}

function versionOf({ kind, version }: ServerBinary): string {
  return kind === 'valkey' ? '7.2.4' : version;
}

async function expectEqual(source: RunningServer, cluster: RunningCluster): Promise<void> {
  const [sourceDump, targetDump] = [
    await readTypedDump(source.client()),
    await readClusterDump(cluster.primaries),
  ];
  expect(compareDumps(sourceDump, targetDump)).toEqual([]);
}

function countOf(cluster: RunningCluster): ReturnType<typeof countAcknowledged> {
  const client = cluster.client();
  return countAcknowledged((command, key) => client.call(command, key));
}
