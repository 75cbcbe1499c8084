import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runBenchmark } from '../../../src/agent/benchmark/job.ts';
import { encodeClaim } from '../../../src/agent/redis/checkpoint.ts';
import { isReservedKey, RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import type { BenchmarkReport } from '../../../src/contract/reports.ts';
import { startCluster } from '../../servers/cluster.ts';
import { type RunningServer, startServer, targetServer } from '../../servers/start.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';

let target: RunningServer;
beforeAll(async () => {
  target = await startServer({ server: await targetServer() });
});
afterAll(() => target[Symbol.asyncDispose]());
beforeEach(async () => {
  await target.client().flushall();
  await target.client().config('RESETSTAT');
  await target.client().set('mine', 'data');
});

function benchmark(signal?: AbortSignal): Promise<BenchmarkReport> {
  const context = jobContext({ directory: '/nowhere', ...(signal === undefined ? {} : { signal }) });
  return runBenchmark({ kind: 'benchmark', target: endpointOf(target) }, context);
}

describe('a benchmark', () => {
  it('keeps to its bounds, and leaves the target as it was', async () => {
    const report = await benchmark();
    expect(report).toMatchObject({ kind: 'benchmark', keys: 1000, removed: true });
    for (const { durationMs, roundTrips } of [report.writes, report.reads]) {
      expect(roundTrips.count).toBeGreaterThan(0);
      expect(roundTrips.count).toBeLessThanOrEqual(10_000);
      expect(roundTrips.medianMs).toBeLessThanOrEqual(roundTrips.maxMs);
      expect(durationMs).toBeGreaterThan(0);
    }
    const stats = await target.client().info('commandstats');
    expect(stats).toContain(`cmdstat_get:calls=${report.reads.roundTrips.count},`);
    expect(await target.client().keys('*')).toEqual(['mine']);
    expect(await target.client().get('mine')).toBe('data');
  });

  it('writes only keys that a verification leaves out, and that expire by themselves', async () => {
    const written: Buffer[][] = [];
    const monitor = await target.client().duplicate().monitor();
    monitor.on('monitor', (_, args: string[]) => {
      if (args[0]?.toUpperCase() === 'SET') written.push(args.map((text) => Buffer.from(text)));
    });
    await benchmark();
    await expect.poll(() => written.length).toBeGreaterThan(0);
    monitor.disconnect();
    for (const [, key = Buffer.alloc(0), , unit, lifeMs] of written) {
      expect([isReservedKey(key), String(unit), String(lifeMs)]).toEqual([true, 'PX', '60000']);
    }
  });

  it('is refused while a migration holds the target', async () => {
    const claim = { migrationId: 'other', repository: 'acme/other', hostId: 'h', state: 'live' as const };
    await target.client().set(RESERVED_KEY, encodeClaim(claim));
    await expect(benchmark()).rejects.toMatchObject({
      code: 'migration-conflict',
      message: expect.stringContaining('acme/other'),
    });
    expect(await target.client().dbsize()).toBe(2);
  });

  it('that is stopped removes what it has written', async () => {
    const stopping = new AbortController();
    const running = benchmark(stopping.signal);
    await expect.poll(() => target.client().dbsize(), { interval: 1 }).toBeGreaterThan(1);
    stopping.abort(new Error('stopped'));
    await expect(running).rejects.toThrow('stopped');
    expect(await target.client().keys('*')).toEqual(['mine']);
  });

  it('that the target refuses ends with the refusal', async () => {
    await target.client().config('SET', 'min-replicas-to-write', '1');
    try {
      await expect(benchmark()).rejects.toThrow('NOREPLICAS');
    } finally {
      await target.client().config('SET', 'min-replicas-to-write', '0');
    }
  });

  it('of a cluster reaches every primary', async () => {
    await using cluster = await startCluster({ server: await targetServer() });
    const report = await runBenchmark(
      { kind: 'benchmark', target: endpointOf(cluster) },
      jobContext({ directory: '/nowhere' }),
    );
    expect(report.removed).toBe(true);
    for (const primary of cluster.primaries) {
      expect(await primary.client().info('commandstats')).toMatch(/cmdstat_set:calls=\d{2,}/);
      expect(await primary.client().dbsize()).toBe(0);
    }
  });
});
