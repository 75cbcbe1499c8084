import { describe, expect, it } from 'vitest';
import { loadDataSet } from '../../servers/data-set.ts';
import type { ServerBinary } from '../../servers/server-binary.ts';
import {
  findServer,
  type RunningServer,
  sourceServer,
  startServer,
  targetServer,
} from '../../servers/start.ts';
import { createTlsFiles } from '../../servers/tls.ts';
import { startLiveWriters } from './live-writers.ts';
import { startSync } from './sync-run.ts';
import { compareDumps, readTypedDump } from './typed-dump.ts';

const KEYS = 3_000;
const ROUNDS = 150;

type Pair = { name: string; source: () => Promise<ServerBinary>; target: () => Promise<ServerBinary> };

const newestValkey = () => findServer({ kind: 'valkey', version: 'newest' });
const PAIRS: readonly Pair[] = [
  { name: 'the source to the target of these tests', source: sourceServer, target: targetServer },
  { name: 'the source of these tests to the newest Valkey', source: sourceServer, target: newestValkey },
  { name: 'Redis 7.0 to the target of these tests', source: redis70, target: targetServer },
  { name: 'the newest Valkey to the target of these tests', source: newestValkey, target: targetServer },
];

function redis70(): Promise<ServerBinary> {
  return findServer({ kind: 'redis', version: '7.0' });
}

describe.each(PAIRS)('a sync from $name', ({ source: findSource, target: findTarget }) => {
  it('leaves both sides equal while clients go on writing', async () => {
    await using source = await startSource(await findSource());
    await using target = await startServer({ server: await findTarget() });
    await loadDataSet(source.client(), { keys: KEYS, seed: 5 });
    const { kind, version } = source.server;
    const writers = startLiveWriters(source, { version: kind === 'valkey' ? '7.2.4' : version });
    await using sync = await startSync({ source, target });
    await sync.until(({ stage }) => stage === 'live');
    await writers.rounds(ROUNDS);
    const acknowledged = await writers.stop();
    await sync.caughtUp();

    const dumpOptions = dumpOptionsOf(source.server);
    const dumps = await Promise.all(
      [source, target].map((server) => readTypedDump(server.client(), dumpOptions)),
    );
    expect(dumps[0]?.keys.size).toBeGreaterThan(KEYS);
    expect(compareDumps(...(dumps as [never, never]))).toEqual([]);
    expect(await countersOf(target)).toEqual(acknowledged);
    expect(await target.client().call('FUNCTION', 'LIST')).toHaveLength(1);

    const report = await sync.stop();
    expect(report).toMatchObject({ kind: 'sync', reconnects: 0, skipped: [] });
    expect(report.copiedKeys).toBeGreaterThanOrEqual(KEYS);
    expect(report.checkpoint?.replid).toMatch(/^[0-9a-f]{40}$/);
  });
});

it('carries hash fields that expire to a Valkey that knows them, in the copy and in the stream', async () => {
  await using source = await startSource(await sourceServer());
  await using target = await startServer({ server: await newestValkey() });
  const client = source.client();
  await loadDataSet(client, { keys: 500, seed: 2, hashFieldTtls: true });
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await client.hset('later', 'a', '1', 'b', '2');
  await client.call('HPEXPIRE', 'later', '5000000', 'FIELDS', '1', 'a');
  await client.hincrbyfloat('later', 'b', 1.5);
  await sync.caughtUp();
  const [sourceDump, targetDump] = [await readTypedDump(client), await readTypedDump(target.client())];
  expect(compareDumps(sourceDump, targetDump)).toEqual([]);
});

it('follows what concerns whole databases without losing its claim', async () => {
  await using source = await startSource(await sourceServer());
  await using target = await startServer({ server: await targetServer() });
  const client = source.client();
  await client.mset('a', '1', 'b', '2');
  await source.client(1).set('in-one', 'x');
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await client.swapdb(0, 1);
  await client.set('after-swap', '1');
  await sync.caughtUp();
  expect((await target.client(0).keys('*')).sort()).toEqual(['__valkey-migrate__', 'after-swap', 'in-one']);
  expect((await target.client(1).keys('*')).sort()).toEqual(['a', 'b']);
  await source.client(1).flushdb();
  await client.call(
    'FUNCTION',
    'LOAD',
    "#!lua name=l\nredis.register_function('f', function() return 1 end)",
  );
  const functions = await client.callBuffer('FUNCTION', 'DUMP');
  await client.call('FUNCTION', 'FLUSH');
  await client.call('FUNCTION', 'RESTORE', functions as Buffer);
  await client.call('RESTORE', 'restored', 60_000, await client.dumpBuffer('after-swap'));
  await sync.caughtUp();
  expect(compareDumps(await readTypedDump(client), await readTypedDump(target.client()))).toEqual([]);
  expect(await target.client().call('FUNCTION', 'LIST')).toHaveLength(1);
  await client.flushall();
  await client.set('last', '1');
  await sync.caughtUp();
  expect((await target.client().keys('*')).sort()).toEqual(['__valkey-migrate__', 'last']);
});

it('goes over TLS on both sides', async () => {
  await using tls = await createTlsFiles();
  await using source = await startServer({
    server: await sourceServer(),
    config: { 'repl-diskless-sync-delay': '0' },
    tls,
  });
  await using target = await startServer({ server: await targetServer(), tls });
  await loadDataSet(source.client(), { keys: 300, seed: 4 });
  const [sourcePort = 0, targetPort = 0] = [source.tlsPort, target.tlsPort];
  await using sync = await startSync({ source, target, tls: { caFile: tls.ca, sourcePort, targetPort } });
  await sync.until(({ stage }) => stage === 'live');
  await source.client().set('after', '1');
  await sync.caughtUp();
  expect(compareDumps(await readTypedDump(source.client()), await readTypedDump(target.client()))).toEqual(
    [],
  );
});

it('carries values that are larger than anything that is buffered', async () => {
  await using source = await startSource(await sourceServer());
  await using target = await startServer({ server: await targetServer() });
  const client = source.client();
  await client.set('large', Buffer.alloc(24 * 1024 * 1024, 'incompressible'.repeat(3)));
  for (let part = 0; part < 20; part++) {
    const members = Array.from({ length: 10_000 }, (_, index) => `member-${part}-${index}`);
    await client.sadd('set', ...members);
  }
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await client.set('streamed', Buffer.alloc(20 * 1024 * 1024, 7), 'PX', 60_000_000);
  await client.multi().append('streamed', 'x').set('small', '1').exec();
  await sync.caughtUp();
  expect(compareDumps(await readTypedDump(client), await readTypedDump(target.client()))).toEqual([]);
});

function startSource(server: ServerBinary): Promise<RunningServer> {
  return startServer({ server, config: { 'repl-diskless-sync-delay': '0' } });
}

function dumpOptionsOf({ kind, version }: ServerBinary): { isReadCounted: boolean } {
  return { isReadCounted: kind === 'valkey' || !/^7\.[02]\./.test(version) };
}

async function countersOf(target: RunningServer): Promise<Record<string, number>> {
  const clients = [target.client(0), target.client(4)];
  const sum = async (read: (client: (typeof clients)[number]) => Promise<unknown>) =>
    (await Promise.all(clients.map(read))).reduce<number>((total, value) => total + Number(value), 0);
  return {
    increments: await sum((client) => client.get('counter')),
    pushes: await sum((client) => client.llen('list')),
    transactions: await sum((client) => client.get('transactions')),
  };
}
