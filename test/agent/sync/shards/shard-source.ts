import { setTimeout as delay } from 'node:timers/promises';
import type { Cluster } from 'ioredis';
import { expect } from 'vitest';
import { shardClaimKeys } from '../../../../src/agent/redis/reserved-key.ts';
import { type RunningCluster, startCluster } from '../../../servers/cluster.ts';
import { type RunningServer, sourceServer } from '../../../servers/start.ts';
import { readClusterDump } from '../cluster/cluster-dump.ts';
import { type Rounds, startRounds } from '../rounds.ts';
import type { SyncRun } from '../sync-run.ts';
import { compareDumps } from '../typed-dump.ts';

/** A source in cluster mode, of three shards. */
export async function startSource({
  replicas = 0,
  config: more = {},
}: {
  replicas?: number;
  config?: Readonly<Record<string, string>>;
} = {}): Promise<RunningCluster> {
  const config = {
    'repl-diskless-sync-delay': '0',
    'repl-backlog-size': '64mb',
    'enable-debug-command': 'yes',
    ...more,
  };
  return startCluster({ server: await sourceServer(), primaries: 3, replicas, config });
}

type Target = { client(): { getBuffer(key: Buffer): Promise<Buffer | null>; disconnect(): void } };

/** Resolves when the target has committed all that these primaries, in the order of their slots, have written by now. */
export async function caughtUp(
  sync: SyncRun,
  { primaries, target }: { primaries: readonly RunningServer[]; target: Target },
): Promise<void> {
  const reader = target.client();
  for (const [index, primary] of primaries.entries()) {
    const info = await primary.client().info('replication');
    const offset = Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1]);
    const replid = /^master_replid:(\w+)/m.exec(info)?.[1] ?? '';
    for (;;) {
      const claim = String(await reader.getBuffer(shardClaimKeys(index).claim));
      const committed = Number(/"offset":(\d+)/.exec(claim)?.[1] ?? 0);
      if (claim.includes(replid) && committed >= offset) break;
      await sync.until(() => true);
    }
  }
  reader.disconnect();
}

/** Expects that both sides hold the same. */
export async function expectEqual(
  source: readonly RunningServer[],
  target: readonly RunningServer[],
): Promise<void> {
  const [sourceDump, targetDump] = [await readClusterDump(source), await readClusterDump(target)];
  expect(compareDumps(sourceDump, targetDump)).toEqual([]);
}

/** What an application does that is made for a cluster, over all slots; what it did must be there once. */
export type ShardWriters = Pick<Rounds, 'rounds'> & {
  /** Ends the writing; how often each counter was acknowledged, or may have been done without an answer. */
  stop(): Promise<readonly { readonly name: string; readonly least: number; readonly most: number }[]>;
};

const TAGS = 24;
const WRITERS = 3;
const PACE_MS = 4;

/** Starts writers that go on whatever becomes of a primary. */
export function startShardWriters(source: RunningCluster): ShardWriters {
  const counters = Array.from({ length: TAGS }, (_, tag) => ({ name: `{tag:${tag}}`, least: 0, most: 0 }));
  const client = source.client();
  const write = async (round: number) => {
    const counter = counters[round % TAGS];
    if (counter === undefined) throw new Error('no counter');
    counter.most += 1;
    const replies = await writeOnce(client, counter.name, round).catch(() => undefined);
    if (replies !== undefined) counter.least += 1;
    await delay(PACE_MS);
  };
  const writing = startRounds(Array.from({ length: WRITERS }, () => write));
  return {
    rounds: writing.rounds,
    stop: async () => {
      await writing.stop();
      return counters;
    },
  };
}

/** One transaction within one slot, of what must not be done twice, and of what expires, moves and goes. */
async function writeOnce(client: Cluster, tag: string, round: number): Promise<unknown> {
  const replies = await client
    .multi()
    .incr(`${tag}:count`)
    .rpush(`${tag}:log`, round)
    .xadd(`${tag}:events`, '*', 'round', round)
    .set(`${tag}:expires:${round % 7}`, round, 'PX', 5_000_000 + round)
    .sadd(`${tag}:a`, round % 11, 'm')
    .smove(`${tag}:a`, `${tag}:b`, round % 11)
    .sunionstore(`${tag}:union`, `${tag}:a`, `${tag}:b`)
    .rename(`${tag}:union`, `${tag}:renamed`)
    .hincrby(`${tag}:hash`, `field:${round % 5}`, 1)
    .del(`${tag}:expires:${(round + 3) % 7}`)
    .exec();
  if (replies === null || replies.some(([error]) => error)) throw new Error('refused');
  return replies;
}

/** Expects that the target holds every acknowledged transaction exactly once. */
export async function expectCounted(
  client: Pick<Cluster, 'get' | 'llen' | 'xlen'>,
  counters: Awaited<ReturnType<ShardWriters['stop']>>,
): Promise<void> {
  for (const { name, least, most } of counters) {
    const count = Number(await client.get(`${name}:count`));
    expect(count).toBeGreaterThanOrEqual(least);
    expect(count).toBeLessThanOrEqual(most);
    expect(await client.llen(`${name}:log`)).toBe(count);
    expect(await client.xlen(`${name}:events`)).toBe(count);
  }
}
