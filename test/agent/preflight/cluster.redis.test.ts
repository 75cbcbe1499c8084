import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { runPreflight } from '../../../src/agent/preflight/job.ts';
import { encodeClaim } from '../../../src/agent/redis/checkpoint.ts';
import { checkpointKey, RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import type { JobRequestOf } from '../../../src/contract/jobs.ts';
import type { PreflightReport } from '../../../src/contract/reports.ts';
import { type RunningCluster, startCluster } from '../../servers/cluster.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';

type Sides = {
  readonly source: Pick<RunningServer, 'host' | 'port'>;
  readonly target: Pick<RunningServer, 'host' | 'port'>;
};
type Pair = AsyncDisposable & { readonly source: RunningServer; readonly target: RunningCluster };

async function startPair(): Promise<Pair> {
  const stack = new AsyncDisposableStack();
  const source = stack.use(await startServer({ server: await sourceServer() }));
  const target = stack.use(await startCluster({ server: await targetServer() }));
  return { source, target, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function examine(
  { source, target }: Sides,
  change: Partial<JobRequestOf<'preflight'>> = {},
): Promise<PreflightReport> {
  const request: JobRequestOf<'preflight'> = {
    kind: 'preflight',
    source: endpointOf(source),
    target: endpointOf(target),
    route: 'auto',
    targetFacts: {
      engine: 'valkey',
      engineVersion: '8.1',
      transitEncryption: false,
      multiAz: true,
      clusterMode: true,
      status: 'available',
      databases: 16,
    },
    allowNativeRdbVersion: false,
    canaryWrite: true,
    flushTarget: false,
    ...change,
  };
  return runPreflight(request, jobContext({ directory: tmpdir() }));
}

const failuresOf = ({ findings }: PreflightReport) =>
  findings.filter(({ status }) => status === 'fail').map(({ code }) => code);

const findingOf = ({ findings }: PreflightReport, code: string) => findings.find((f) => f.code === code);

describe('preflight of a target in cluster mode', () => {
  it('chooses replica, has tried every primary, and leaves no key', async () => {
    await using pair = await startPair();
    await pair.source.client().set('key', 'value');
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual([]);
    expect(report.route).toBe('replica');
    expect(findingOf(report, 'target-cluster')?.detail).toMatch(
      /by 3 primaries: (127\.0\.0\.1:\d+ \(PING \d+\.\d\d ms\)(, |\.$)){3}/,
    );
    expect(findingOf(report, 'canary')?.detail).toContain('on every primary');
    expect(findingOf(report, 'target-latency')?.detail).toContain('at the slowest of 3 primaries');
    expect(findingOf(report, 'target-permissions')?.status).toBe('pass');
    expect(findingOf(report, 'multi-key-none')?.status).toBe('pass');
    for (const primary of pair.target.primaries) expect(await primary.client().dbsize()).toBe(0);
    const info = await Promise.all(
      pair.target.primaries.map((primary) => primary.client().info('commandstats')),
    );
    expect(info.every((text) => text.includes('cmdstat_restore:'))).toBe(true);
  });

  it('rules the native route out', async () => {
    await using pair = await startPair();
    const report = await examine(pair, { route: 'native' });
    expect(failuresOf(report)).toContain('replication-group-unsuitable');
    expect(report.route).toBeUndefined();
  });

  it('fails where the source uses another database than the first', async () => {
    await using pair = await startPair();
    await pair.source.client(2).set('key', 'value');
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual(['target-databases-too-few']);
    expect(findingOf(report, 'target-databases-too-few')?.remedy).toContain('database 0');
  });

  it('warns of commands that a cluster does otherwise', async () => {
    await using pair = await startPair();
    const client = pair.source.client();
    await client.mset('a', '1', 'b', '2');
    await client.mset('a', '1', 'b', '2');
    await client.rename('a', 'c');
    await client.swapdb(0, 1);
    await client.swapdb(0, 1);
    const report = await examine(pair);
    expect(failuresOf(report)).toEqual([]);
    expect(findingOf(report, 'multi-key-commands')).toMatchObject({
      status: 'warn',
      detail: expect.stringContaining('has run MSET (2), RENAME (1).'),
    });
    expect(findingOf(report, 'database-commands')).toMatchObject({
      status: 'warn',
      detail: expect.stringContaining('has run SWAPDB (2), which'),
    });
  });

  it('counts the keys of all primaries, without those of ours', async () => {
    await using pair = await startPair();
    for (let index = 0; index < 20; index++) await pair.target.client().set(`key:${index}`, 'value');
    expect(findingOf(await examine(pair), 'target-not-empty')?.detail).toContain('20 keys');

    const holder = { migrationId: 'sessions', repository: 'example/shop', hostId: 'host-1' };
    await pair.target.client().set(RESERVED_KEY, encodeClaim({ ...holder, state: 'live' }));
    for (const slot of [0, 6000, 12_000]) await pair.target.client().set(checkpointKey(slot), 'offset');
    const held = await examine(pair);
    expect(findingOf(held, 'target-keys')?.detail).toContain('20 keys');
    expect(findingOf(held, 'target-held')?.status).toBe('pass');
  });

  it('says so when slots are being moved, and fails when nobody serves some', async () => {
    await using pair = await startPair();
    const [first, second] = pair.target.primaries;
    if (first === undefined || second === undefined) throw new Error('the cluster has too few primaries');
    const [firstId, secondId] = await Promise.all(
      [first, second].map(async (node) => String(await node.client().call('CLUSTER', 'MYID'))),
    );
    await second.client().call('CLUSTER', 'SETSLOT', 9, 'IMPORTING', String(firstId));
    await first.client().call('CLUSTER', 'SETSLOT', 9, 'MIGRATING', String(secondId));
    expect(findingOf(await examine(pair), 'target-slots-moving')?.status).toBe('warn');
    for (const node of pair.target.primaries) await node.client().call('CLUSTER', 'DELSLOTS', 9);
    expect(failuresOf(await examine(pair))).toEqual(['target-not-ready']);
  });

  it('names a primary that refuses writes', async () => {
    await using pair = await startPair();
    await pair.target.primaries[2]?.client().call('ACL', 'SETUSER', 'default', '-restore');
    expect(failuresOf(await examine(pair))).toEqual(['target-permission-denied']);
  });
});

describe('preflight of a source in cluster mode', () => {
  const startSides = async () => {
    const stack = new AsyncDisposableStack();
    const source = stack.use(await startCluster({ server: await sourceServer() }));
    const target = stack.use(await startServer({ server: await targetServer() }));
    return { source, target, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  };

  it('chooses replica, counts what all primaries hold, and leaves their settings alone', async () => {
    await using sides = await startSides();
    const client = sides.source.client();
    for (let index = 0; index < 30; index++) await client.set(`key:${index}`, 'value');
    const report = await examine(sides, { tuneSource: true });
    expect(failuresOf(report)).toEqual([]);
    expect(report.route).toBe('replica');
    expect(report.source?.databases).toEqual([{ db: 0, keys: 30 }]);
    expect(findingOf(report, 'source-cluster')?.detail).toContain('by 3 primaries');
    expect(findingOf(report, 'source-slots')?.status).toBe('pass');
    expect(findingOf(report, 'backlog')?.detail).toMatch(/^127\.0\.0\.1:\d+: /);
    expect(findingOf(report, 'source-tuning-denied')?.status).toBe('warn');
    for (const primary of sides.source.primaries) {
      expect(await primary.client().info('replication')).toContain('connected_slaves:0');
    }
  });

  it('rules the route native out', async () => {
    await using sides = await startSides();
    const report = await examine(sides, { route: 'native' });
    expect(failuresOf(report)).toContain('source-cluster-unsupported');
    expect(report.route).toBeUndefined();
  });

  it('serves the route scan where every primary tells of its changes, and leaves none of its canaries', async () => {
    await using sides = await startSides();
    const { primaries } = sides.source;
    for (const primary of primaries) await primary.client().config('SET', 'notify-keyspace-events', 'KEA');
    const report = await examine(sides, { route: 'scan', canaryWrite: true });
    expect(failuresOf(report)).toEqual([]);
    expect(report.route).toBe('scan');
    expect(findingOf(report, 'notifications')?.detail).toContain('of every type');
    for (const primary of primaries) expect(await primary.client().dbsize()).toBe(0);
    await primaries[2]?.client().config('SET', 'notify-keyspace-events', 'KE$');
    expect(failuresOf(await examine(sides, { route: 'scan' }))).toContain('notifications-missing');
  });

  it('fails while slots are being moved', async () => {
    await using sides = await startSides();
    const [first, second] = sides.source.primaries;
    if (first === undefined || second === undefined) throw new Error('the source is too small');
    const secondId = String(await second.client().call('CLUSTER', 'MYID'));
    await first.client().call('CLUSTER', 'SETSLOT', 1, 'MIGRATING', secondId);
    expect(failuresOf(await examine(sides, { route: 'replica' }))).toContain('source-slots-moved');
  });

  it('asks whether the target takes batches, which a server that is no cluster gets too', async () => {
    await using sides = await startSides();
    await sides.target.client().call('ACL', 'SETUSER', 'default', '-evalsha');
    const report = await examine(sides, { route: 'replica', canaryWrite: false });
    expect(failuresOf(report)).toContain('target-permission-denied');
    expect(findingOf(report, 'target-permission-denied')?.detail).toContain('EVALSHA');
  });

  it('fails when the user may not replicate from one of the primaries', async () => {
    await using sides = await startSides();
    await sides.source.primaries[1]?.client().call('ACL', 'SETUSER', 'default', '-psync');
    expect(failuresOf(await examine(sides, { route: 'replica' }))).toContain('route-replica-denied');
  });
});
