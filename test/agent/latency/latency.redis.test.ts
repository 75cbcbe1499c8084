import { describe, expect, it } from 'vitest';
import { runLatency } from '../../../src/agent/latency/job.ts';
import { startCluster } from '../../servers/cluster.ts';
import { type RunningServer, startServer, targetServer } from '../../servers/start.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';

describe('the latency of a target', () => {
  it('is measured by PING and GET, and nothing is written or found', async () => {
    await using target = await startServer({ server: await targetServer() });
    await target.client().config('RESETSTAT');
    const report = await runLatency({ kind: 'latency', target: endpointOf(target) }, jobContext(target));
    expect(report.primaries.map(({ address }) => address)).toEqual([`${target.host}:${target.port}`]);
    for (const { pings, reads } of report.primaries) {
      for (const times of [pings, reads]) {
        expect(times.count).toBeGreaterThan(0);
        expect(times.count).toBeLessThanOrEqual(500);
        expect(times.medianMs).toBeGreaterThan(0);
        expect(times.medianMs).toBeLessThanOrEqual(times.p95Ms);
        expect(times.p95Ms).toBeLessThanOrEqual(times.p99Ms);
        expect(times.p99Ms).toBeLessThanOrEqual(times.maxMs);
      }
    }
    const [{ reads } = { reads: { count: 0 } }] = report.primaries;
    expect(await calls(target, 'get')).toBe(reads.count);
    expect(await calls(target, 'set')).toBe(0);
    expect(await target.client().info('stats')).toContain('keyspace_hits:0');
  });

  it('of a cluster is that of every primary', async () => {
    await using target = await startCluster({ server: await targetServer() });
    const report = await runLatency(
      { kind: 'latency', target: endpointOf(target) },
      jobContext({ directory: '/nowhere' }),
    );
    expect(report.primaries.map(({ address }) => address).sort()).toEqual(
      target.primaries.map(({ host, port }) => `${host}:${port}`).sort(),
    );
  });

  it('that cannot be reached is an error', async () => {
    const target = { host: '127.0.0.1', port: 1, tls: false };
    await expect(
      runLatency({ kind: 'latency', target }, jobContext({ directory: '/nowhere' })),
    ).rejects.toMatchObject({ code: 'target-unreachable' });
  });
});

async function calls(server: RunningServer, command: string): Promise<number> {
  const stats = await server.client().info('commandstats');
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
}
