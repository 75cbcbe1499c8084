import path from 'node:path';
import { SPOOL_FOLDER } from '../../redis/spool.ts';
import { type ClusterRemoval, ExtraKeysByNode } from '../cluster/extra-keys.ts';
import type { SyncWorld } from '../session.ts';

/**
 * Removes all keys of a shard of the source from the target, in the slots in which that is due.
 *
 * @throws as {@link ExtraKeysByNode.remove}
 */
export async function removeShard(removal: ClusterRemoval & { readonly world: SyncWorld }): Promise<void> {
  const { world, writers } = removal;
  const directory = path.join(world.context.directory, SPOOL_FOLDER);
  using nothingBrought = new ExtraKeysByNode(directory, writers.length);
  const removed = await nothingBrought.remove(removal);
  await world.meter.waitForTarget(Promise.all(writers.map((writer) => writer.settle())));
  world.context.log(`removed ${removed} keys, which the source has flushed`);
}
