import { expect, it, vi } from 'vitest';
import { keySlot } from '../../../../src/agent/redis/cluster/slots.ts';
import { type RunningCluster, startCluster } from '../../../servers/cluster.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../../servers/start.ts';
import { kill, killWriter, logged, startChild } from '../fault-run.ts';
import { startSync } from '../sync-run.ts';
import { compareDumps, readTypedDump } from '../typed-dump.ts';
import { readClusterDump, reservedKeys } from './cluster-dump.ts';
import { type ClusterWriters, countAcknowledged, startClusterWriters } from './cluster-writers.ts';

const KILLS = 6;
const ROUNDS_BETWEEN = 40;

// A cluster of several servers beside the source and the sync takes its time on a small machine.
vi.setConfig({ testTimeout: 240_000 });

it('loses and doubles nothing when connections of any side are killed under load', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  const writers = startWriters(source);
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  for (let killed = 1; killed <= KILLS; killed++) {
    await writers.rounds(ROUNDS_BETWEEN);
    const primary = cluster.primaries[killed % cluster.primaries.length];
    if (killed % 3 === 0) await source.client().call('CLIENT', 'KILL', 'TYPE', 'replica');
    else if (primary !== undefined) await killWriter(primary);
    await logged(sync, 'resumed at offset', killed);
  }
  await writers.rounds(ROUNDS_BETWEEN);
  await expectNothingLost({ source, writers, cluster, sync });
  expect(sync.log.join()).not.toContain('reconciling');
});

it('loses and doubles nothing when the agent is killed by -9 under load and started again', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  const writers = startWriters(source);
  for (let life = 1; life <= KILLS; life++) {
    const child = await startChild(source, cluster);
    await writers.rounds(ROUNDS_BETWEEN);
    await kill(child);
  }
  await using sync = await startSync({ source, target: cluster });
  await writers.rounds(ROUNDS_BETWEEN);
  await expectNothingLost({ source, writers, cluster, sync });
  expect(sync.log.join()).toContain('resumed at offset');
});

it('goes on with a replica that is promoted, exactly where that one is', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer(), replicas: 1 });
  const [failing] = cluster.primaries;
  const [promoted] = cluster.replicas[0] ?? [];
  if (failing === undefined || promoted === undefined) throw new Error('the cluster is too small');
  const writers = startWriters(source);
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS_BETWEEN);
  await failing.stop('SIGKILL');
  await logged(sync, 'resumed at offset', 1);
  await writers.rounds(ROUNDS_BETWEEN);
  const primaries = [promoted, ...cluster.primaries.slice(1)];
  await expectNothingLost({ source, writers, cluster, sync, primaries });
});

it('follows slots that move to another primary under load', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  const [first, second, third] = cluster.primaries;
  if (first === undefined || second === undefined || third === undefined) throw new Error('too small');
  const writers = startWriters(source);
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(ROUNDS_BETWEEN);
  for (const name of ['counter:0', 'counter:5', 'list:3', 'stream:7', '__valkey-migrate__']) {
    const owner = await cluster.ownerOf(name);
    const to = owner === first ? second : owner === second ? third : first;
    await cluster.moveSlot(keySlot(Buffer.from(name), 0, name.length), to);
    await writers.rounds(10);
  }
  // The slots in which two primaries keep their checkpoints.
  await cluster.moveSlot(0, third);
  await writers.rounds(ROUNDS_BETWEEN);
  await expectNothingLost({ source, writers, cluster, sync });
  expect(sync.log.join()).not.toContain('reconciling');
  expect(await reservedKeys(cluster)).toHaveLength(1 + cluster.primaries.length);
});

it('reconciles when the source can no longer give what follows the checkpoints, without leftovers', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  await source.client().mset('old', '1', 'kept', '1', 'other', '2');
  await using first = await startSync({ source, target: cluster });
  await first.until(({ stage }) => stage === 'live');
  await first.stop();
  await source.client().del('old');
  await source.client().debug('CHANGE-REPL-ID');
  await using second = await startSync({ source, target: cluster });
  const { notes } = await second.until(({ stage }) => stage === 'live');
  expect(notes.join()).toContain('reconciled: 2 keys rewritten, 1 removed');
  await second.caughtUp();
  await expectEqual(source, cluster.primaries);
  expect(await reservedKeys(cluster)).toHaveLength(1 + cluster.primaries.length);
});

it('follows what concerns everything, and scripts and functions on every primary', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  const client = source.client();
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  await client.mset('a', '1', 'b', '2', 'c', '3');
  const code = "#!lua name=l\nredis.register_function('f', function() return 1 end)";
  await client.call('FUNCTION', 'LOAD', code);
  const functions = (await client.callBuffer('FUNCTION', 'DUMP')) as Buffer;
  await client.call('FUNCTION', 'DELETE', 'l');
  await client.call('FUNCTION', 'RESTORE', functions);
  await client.flushall();
  await client.multi().set('d', '1').mset('a', '1', 'b', '2').publish('channel', 'x').exec();
  await sync.caughtUp();
  await expectEqual(source, cluster.primaries);
  for (const primary of cluster.primaries) {
    expect(await primary.client().call('FUNCTION', 'LIST')).toHaveLength(1);
  }
  expect(await reservedKeys(cluster)).toHaveLength(1 + cluster.primaries.length);
  await sync.stop();
  await using again = await startSync({ source, target: cluster });
  await again.until(({ stage }) => stage === 'live');
  expect((await again.stop()).copiedKeys).toBe(0);
});

it('refuses data in other databases before it writes anything', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  await source.client(3).set('key', '1');
  await using sync = await startSync({ source, target: cluster });
  await expect(sync.ended).rejects.toMatchObject({
    code: 'target-databases-too-few',
    message: expect.stringContaining('1 keys in database 3'),
  });
  expect(await reservedKeys(cluster)).toEqual([]);
});

it.each([
  { name: 'SWAPDB', code: 'target-refused-command', run: (s: RunningServer) => s.client().swapdb(0, 1) },
  {
    name: 'a write to another database',
    code: 'target-databases-too-few',
    run: (s: RunningServer) => s.client(2).set('key', '1'),
  },
])('stops at $name in the stream, with all before it applied', async ({ code, run }) => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  await source.client().mset('a', '1', 'b', '2', 'c', '3');
  await sync.caughtUp();
  await run(source);
  await expect(sync.ended).rejects.toMatchObject({ code });
  expect((await readClusterDump(cluster.primaries)).keys.size).toBe(3);
});

it('carries large values, large transactions and commands with many arguments', async () => {
  await using source = await startSource();
  await using cluster = await startCluster({ server: await targetServer() });
  const client = source.client();
  const members = (part: number) => Array.from({ length: 20_000 }, (_, index) => `member-${part}-${index}`);
  for (let part = 0; part < 5; part++) await client.sadd('copied', ...members(part));
  await client.set('large', Buffer.alloc(24 * 1024 * 1024, 'incompressible'.repeat(3)));
  await using sync = await startSync({ source, target: cluster });
  await sync.until(({ stage }) => stage === 'live');
  await client.rpush('pushed', ...members(1));
  await client.zadd('scored', 'NX', ...members(2).flatMap((member, index) => [index, member]));
  await client.mset(...members(3).flatMap((member) => [member, '1']));
  await client.del(...members(3).slice(0, 15_000));
  await client.set('streamed', Buffer.alloc(20 * 1024 * 1024, 7), 'PX', 60_000_000);
  await client.append('streamed', 'x'.repeat(3_000_000));
  await client.rename('streamed', 'renamed elsewhere');
  await client.lpush('elements', Buffer.alloc(3_000_000, 1), Buffer.alloc(3_000_000, 2));
  await client.rpoplpush('elements', 'elsewhere');
  const transaction = client.multi().append('large', 'x').set('small', '1');
  for (let part = 0; part < 30; part++) transaction.set(`part:${part}`, Buffer.alloc(700_000, part));
  await transaction.exec();
  await sync.caughtUp();
  await expectEqual(source, cluster.primaries);
});

type Checked = {
  source: RunningServer;
  writers: ClusterWriters;
  cluster: RunningCluster;
  sync: Awaited<ReturnType<typeof startSync>>;
  primaries?: readonly RunningServer[];
};

async function expectNothingLost({ source, writers, cluster, sync, primaries }: Checked): Promise<void> {
  const acknowledged = await writers.stop();
  await sync.caughtUp();
  const client = cluster.client();
  expect(await countAcknowledged((command, key) => client.call(command, key))).toEqual(acknowledged);
  await expectEqual(source, primaries ?? cluster.primaries);
}

async function expectEqual(source: RunningServer, primaries: readonly RunningServer[]): Promise<void> {
  const [sourceDump, targetDump] = [await readTypedDump(source.client()), await readClusterDump(primaries)];
  expect(compareDumps(sourceDump, targetDump)).toEqual([]);
}

function startWriters(source: RunningServer): ClusterWriters {
  const { kind, version } = source.server;
  return startClusterWriters(source, { version: kind === 'valkey' ? '7.2.4' : version });
}

async function startSource(): Promise<RunningServer> {
  const config = {
    'repl-diskless-sync-delay': '0',
    'repl-backlog-size': '64mb',
    'enable-debug-command': 'yes',
  };
  return startServer({ server: await sourceServer(), config });
}
