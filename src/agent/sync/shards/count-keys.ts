import { keySlot } from '../../redis/cluster/slots.ts';
import { openRawConnection } from '../../redis/raw-connection.ts';
import { isReservedKey } from '../../redis/reserved-key.ts';
import type { ClusterTarget } from '../cluster/cluster-target.ts';
import { scanKeys } from '../extra-keys.ts';
import type { FollowedShard } from './followed-shard.ts';

/**
 * How many keys the target holds in the slots of a shard of the source.
 *
 * @throws target-unreachable, target-not-ready, or the signal's reason
 */
export async function countShardKeys({
  target,
  shard,
  signal,
}: {
  target: ClusterTarget;
  shard: FollowedShard;
  signal: AbortSignal;
}): Promise<number> {
  let count = 0;
  for (const { access } of target.topology.nodes) {
    await using connection = await openRawConnection(access, { signal });
    for await (const keys of scanKeys(connection)) {
      for (const key of keys) {
        if (!isReservedKey(key) && shard.owns(keySlot(key, 0, key.length))) count += 1;
      }
    }
  }
  return count;
}
