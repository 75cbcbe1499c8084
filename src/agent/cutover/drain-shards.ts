import { readClaim } from '../redis/checkpoint.ts';
import type { Primaries } from '../redis/cluster/primaries.ts';
import { shardsOf, sourceSlotsMoved } from '../redis/cluster/source-cluster.ts';
import type { Topology } from '../redis/cluster/topology.ts';
import { shardClaimKeys } from '../redis/reserved-key.ts';
import { type DrainContext, drain, type Position } from './drain.ts';

/** One shard of the source, and both places. */
export type DrainedShard = {
  readonly slots: string;
  readonly sourceAddress: string;
  readonly source: Position;
  readonly targetOffset: number;
};

/**
 * Waits until the target has committed everything that every primary of the fenced source had written.
 *
 * @throws source-slots-moved when the sync follows other shards than the source has, and as {@link drain}
 */
export async function drainShards(
  { all, topology }: Pick<Primaries, 'all'> & { readonly topology: Topology },
  context: Omit<DrainContext, 'source' | 'claimKey'>,
): Promise<readonly DrainedShard[]> {
  const shards = shardsOf(topology);
  const followed = (await readClaim(context.target))?.sourceShards;
  if (followed?.join('\n') !== shards.map(({ slots }) => slots).join('\n')) {
    throw sourceSlotsMoved('the sync follows other shards than the source has');
  }
  const lags = shards.map(() => 0);
  return Promise.all(
    shards.map(async ({ index, slots }) => {
      const source = all[index];
      if (source === undefined) throw new Error(`there is no shard ${index}`);
      const drained = await drain('replica', {
        ...context,
        source,
        claimKey: shardClaimKeys(index).claim,
        reportLag: (lagBytes) => {
          lags[index] = lagBytes;
          context.reportLag(lags.reduce((sum, lag) => sum + lag, 0));
        },
      });
      return { slots, sourceAddress: source.access.address, ...drained };
    }),
  );
}
