import { expect, it, vi } from 'vitest';
import { startCluster } from '../../../servers/cluster.ts';
import { loadDataSet } from '../../../servers/data-set.ts';
import type { ServerBinary } from '../../../servers/server-binary.ts';
import {
  findServer,
  type RunningServer,
  sourceServer,
  startServer,
  targetServer,
} from '../../../servers/start.ts';
import { createTlsFiles } from '../../../servers/tls.ts';
import { startSync } from '../sync-run.ts';
import { compareDumps, type DumpOptions, readTypedDump } from '../typed-dump.ts';
import { readClusterDump, reservedKeys } from './cluster-dump.ts';
import { countAcknowledged, startClusterWriters } from './cluster-writers.ts';

const KEYS = 3_000;
const ROUNDS = 150;

// A cluster of several servers beside the source and the sync takes its time on a small machine.
vi.setConfig({ testTimeout: 120_000 });

const newestValkey = () => findServer({ kind: 'valkey', version: 'newest' });

it.each([
  { name: 'the source to the target of these tests', findSource: sourceServer, findTarget: targetServer },
  { name: 'the newest Valkey to its like', findSource: newestValkey, findTarget: newestValkey },
])(
  'leaves $name, a cluster, equal while clients write over all slots',
  async ({ findSource, findTarget }) => {
    const config = { 'repl-diskless-sync-delay': '0', 'repl-backlog-size': '64mb' };
    await using source = await startServer({ server: await findSource(), config });
    await using cluster = await startCluster({ server: await findTarget() });
    await loadDataSet(source.client(), { keys: KEYS, seed: 5, databases: [0] });
    const writers = startClusterWriters(source, { version: versionOf(source.server) });
    await using sync = await startSync({ source, target: cluster });
    await sync.until(({ stage }) => stage === 'live');
    await writers.rounds(ROUNDS);
    const acknowledged = await writers.stop();
    await sync.caughtUp();
    const options = dumpOptionsOf(source.server);
    const sourceDump = await readTypedDump(source.client(), options);
    expect(compareDumps(sourceDump, await readClusterDump(cluster.primaries, options))).toEqual([]);
    const client = cluster.client();
    expect(await countAcknowledged((command, key) => client.call(command, key))).toEqual(acknowledged);
    for (const primary of cluster.primaries) {
      expect(await primary.client().dbsize()).toBeGreaterThan(KEYS / 5);
      expect(await librariesOf(primary)).toEqual(await librariesOf(source));
    }
    expect(await reservedKeys(cluster)).toHaveLength(1 + cluster.primaries.length);
    expect(await sync.stop()).toMatchObject({ reconnects: 0, skipped: [] });
  },
);

it('carries what only the newest Valkey has', async () => {
  await using source = await startServer({ server: await newestValkey() });
  await using cluster = await startCluster({ server: await newestValkey() });
  const client = source.client();
  await loadDataSet(client, { keys: 300, seed: 2, databases: [0], hashFieldTtls: true });
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  await client.call('MSETEX', 3, 'a', '1', 'b', '2', 'c', '3', 'EX', 5_000);
  await client.call('HSETEX', 'hash', 'EX', 5_000, 'FIELDS', 1, 'field', 'value');
  await client.rename('hash', 'renamed');
  await client.copy('renamed', 'copied');
  await sync.caughtUp();
  const sourceDump = await readTypedDump(client);
  expect(compareDumps(sourceDump, await readClusterDump(cluster.primaries))).toEqual([]);
});

it('counts a HyperLogLog as the source did, down to what the key remembers of it', async () => {
  await using source = await startServer({ server: await sourceServer() });
  await using cluster = await startCluster({ server: await targetServer() });
  const client = source.client();
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  await client.pfadd('counted', 'a', 'b', 'c');
  await client.pfcount('counted');
  await sync.caughtUp();
  expect(await cluster.client().getBuffer('counted')).toEqual(await client.getBuffer('counted'));
});

it('goes over TLS, to the addresses that the cluster announces', async () => {
  await using tls = await createTlsFiles();
  const config = { 'repl-diskless-sync-delay': '0' };
  await using source = await startServer({ server: await sourceServer(), config, tls });
  await using cluster = await startCluster({ server: await targetServer(), tls });
  await loadDataSet(source.client(), { keys: 300, seed: 4, databases: [0] });
  const [sourcePort = 0, targetPort = 0] = [source.tlsPort, cluster.tlsPort];
  await using sync = await startSync({
    source,
    target: cluster,
    tls: { caFile: tls.ca, sourcePort, targetPort },
  });
  await sync.until(({ stage }) => stage === 'live');
  await source.client().mset('a', '1', 'b', '2', 'c', '3');
  await sync.caughtUp();
  for (const primary of cluster.primaries) {
    expect(String(await primary.client().call('CLIENT', 'LIST'))).toContain(`:${primary.tlsPort} `);
  }
  const sourceDump = await readTypedDump(source.client());
  expect(compareDumps(sourceDump, await readClusterDump(cluster.primaries))).toEqual([]);
});

/** The names of the function libraries; none of a server that does not know functions. */
async function librariesOf(server: RunningServer): Promise<unknown[]> {
  const libraries = (await server
    .client()
    .call('FUNCTION', 'LIST')
    .catch(() => [])) as unknown[][];
  return libraries.map(([, name]) => name);
}

function versionOf({ kind, version }: ServerBinary): string {
  return kind === 'valkey' ? '7.2.4' : version;
}

/** How far a group has read is not replicated by Redis before 7.4, and streams have no counters before 7.0. */
function dumpOptionsOf({ kind, version }: ServerBinary): DumpOptions {
  return {
    isStreamCounted: kind === 'valkey' || !/^[56]\./.test(version),
    isReadCounted: kind === 'valkey' || !/^([56]\.|7\.[02]\.)/.test(version),
  };
}
