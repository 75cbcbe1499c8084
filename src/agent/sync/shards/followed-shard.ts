import { SLOT_COUNT } from '../../redis/cluster/slots.ts';
import type { SourceShard } from '../../redis/cluster/source-cluster.ts';
import { type ClaimKeys, shardClaimKeys } from '../../redis/reserved-key.ts';
import type { CopyTurns } from './copy-turn.ts';

/** A shard of the source as a session follows it. */
export type FollowedShard = SourceShard & {
  /** Under what its claim and checkpoints lie in the target. */
  readonly keys: ClaimKeys;
  /** How many shards there are, which share the memory of one sync. */
  readonly of: number;
  readonly turns: CopyTurns;
  /** Whether a slot is one of its own: no key of another may come from it. */
  owns(slot: number): boolean;
};

/** What it takes to follow a shard of so many. */
export function followShard(
  shard: SourceShard,
  { of, turns }: { of: number; turns: CopyTurns },
): FollowedShard {
  const owned = new Uint8Array(SLOT_COUNT);
  for (const [first, last] of shard.ranges) owned.fill(1, first, last + 1);
  return { ...shard, keys: shardClaimKeys(shard.index), of, turns, owns: (slot) => owned[slot] === 1 };
}
