import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { endpointOf } from '../agent/cutover/job-context.ts';
import { expectEqual } from '../agent/sync/shards/shard-source.ts';
import { openHostAgent } from '../host-agent.ts';
import { type RunningCluster, startCluster } from '../servers/cluster.ts';
import { sourceServer, targetServer } from '../servers/start.ts';
import { canMeasure, PEAK_BYTES_MAX, readPeakBytes } from './peak-memory.ts';

const LIMIT_MS = 180_000;
const VALUE_BYTES = 200_000;
/** Together far more than the agent may have resident. */
const VALUES = 1_500;
/** What is written while the target stands still: more than the journals keep in memory. */
const STREAMED = 400;

it('the built agent stays within its memory with a source of three shards', {
  timeout: 2 * LIMIT_MS,
}, async ({ skip }) => {
  if (!(await canMeasure())) return skip('this system does not tell what a process has resident');
  const config = {
    'repl-diskless-sync-delay': '0',
    'repl-backlog-size': '64mb',
    'client-output-buffer-limit': 'replica 0 0 0',
    rdbcompression: 'no',
  };
  await using source = await startCluster({ server: await sourceServer(), primaries: 3, config });
  // A primary that stands still must not be voted out.
  await using target = await startCluster({
    server: await targetServer(),
    primaries: 2,
    config: { 'cluster-node-timeout': '60000' },
  });
  await write(source, 'copied', VALUES);
  const ends = { source: endpointOf(source), target: endpointOf(target) };
  await using agent = await openHostAgent(ends.source, ends.target);
  await agent.start({ kind: 'sync', ...ends, flushTarget: false });
  await agent.until('sync', ({ progress }) => progress.stage === 'live', LIMIT_MS);
  for (const { pid } of target.primaries) process.kill(pid, 'SIGSTOP');
  try {
    await write(source, 'streamed', STREAMED);
  } finally {
    for (const { pid } of target.primaries) process.kill(pid, 'SIGCONT');
  }
  const isThrough = ({ lagBytes }: { lagBytes?: number | undefined }) => lagBytes === 0;
  const isAll = async () => (await countKeys(target)) >= VALUES + STREAMED;
  while (!(await isAll())) {
    await agent.until('sync', ({ progress }) => isThrough(progress), LIMIT_MS);
  }
  await expectEqual(source.primaries, target.primaries);
  const { pid } = agent.store.readProcess('sync')?.identity ?? { pid: 0 };
  expect(await readPeakBytes(pid)).toBeLessThanOrEqual(PEAK_BYTES_MAX);
});

async function write(source: RunningCluster, name: string, count: number): Promise<void> {
  const client = source.client();
  const value = randomBytes(VALUE_BYTES);
  for (let index = 0; index < count; index++) {
    value.writeUInt32LE(index, 0);
    await client.set(`${name}:${index}`, value);
  }
}

async function countKeys({ primaries }: RunningCluster): Promise<number> {
  const ours = await Promise.all(
    primaries.map(async (primary) => {
      const client = primary.client();
      return (await client.dbsize()) - (await client.keys('__valkey-migrate__*')).length;
    }),
  );
  return ours.reduce((sum, keys) => sum + keys, 0);
}
