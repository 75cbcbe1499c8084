import { MigrationError } from '../../../core/errors.ts';
import { encodeClaim, readClaim } from '../../redis/checkpoint.ts';
import { removeCheckpoints } from '../../redis/cluster/checkpoints.ts';
import { SHARD_PAIRS_MAX, type SourceShard } from '../../redis/cluster/source-cluster.ts';
import { RESERVED_KEY, shardClaimKeys } from '../../redis/reserved-key.ts';
import { isHeldBy, planStart } from '../claim.ts';
import {
  type ClusterTarget,
  claimClusterForCopy,
  claimClusterForReconcile,
  endClusterWriters,
  openClusterTarget,
  readClusterContent,
} from '../cluster/cluster-target.ts';
import { inspectTarget, openTarget } from '../servers.ts';
import type { SyncWorld } from '../session.ts';
import type { FollowedShard } from './followed-shard.ts';

/*
 * What says how far a target is that follows a cluster:
 *
 *   the claim                 who holds the target, and the slots of every shard; its state is `reconciling` all along,
 *                             so that a sync from a source that is no cluster would not take it for its own
 *   a claim for each shard    `copying` until its first copy begins, `reconciling` until one is complete, then `live`
 *                             with the checkpoint, and the places of the target's slots as on a target in cluster mode
 *   checkpoints               of each shard at each primary of the target
 *
 * A shard without a claim is reconciled.
 */

type Claiming = Pick<SyncWorld, 'target' | 'targetNodes' | 'holder' | 'flushTarget' | 'context'>;

/**
 * Takes the target for the shards of a source: as it is when it is held for exactly these, else for a copy of all of them.
 *
 * @throws source-cluster-unsupported, target-not-empty, migration-conflict, target-read-only, and the codes of a connection to the target
 */
export async function claimForShards(claiming: Claiming, shards: readonly SourceShard[]): Promise<void> {
  const { target: access, holder, flushTarget, context } = claiming;
  await using client = await openTarget(claiming);
  const { isCluster, commands } = await inspectTarget(client);
  await using target = await openClusterTarget(client, { isCluster });
  refuseTooManyPairs(shards.length, target.topology.nodes.length);
  const decide = async () => {
    const content = await readClusterContent(target);
    const plan = planStart(content, { holder, flushTarget, address: access.address });
    return { claim: content.claim, plan };
  };
  await decide();
  // What was found may still be changed by earlier writers, which are ended in between.
  const ended = await endClusterWriters(target, holder.migrationId);
  if (ended === undefined) context.log('the user at the target may not end connections of earlier syncs');
  else if (ended > 0) context.log(`ended ${ended} connections of an earlier sync to the target`);
  const { claim, plan } = await decide();
  const sourceShards = shards.map(({ slots }) => slots);
  const isSame = claim?.sourceShards?.join('\n') === sourceShards.join('\n');
  if (isSame && plan.kind === 'reconcile') return;
  // Before the claim names others: theirs would be taken for that of the shards in their place.
  await removeShardClaims(access, { count: claim?.sourceShards?.length ?? 0, signal: context.signal });
  const hasFunctions = commands.has('FUNCTION');
  if (plan.kind === 'copy') {
    await claimClusterForCopy(target, { holder, mustFlush: plan.mustFlush, hasFunctions });
    await announceCopies(target, { holder, shards });
  }
  await claimClusterForReconcile(target, { holder, hasFunctions, sourceShards });
}

function refuseTooManyPairs(shards: number, primaries: number): void {
  if (shards * primaries <= SHARD_PAIRS_MAX) return;
  throw new MigrationError(
    'source-cluster-unsupported',
    `Each of ${shards} primaries of the source would be followed to each of ${primaries} of the target; at most ${SHARD_PAIRS_MAX} such pairs are served.`,
    { remedy: 'Choose a target with fewer shards.' },
  );
}

async function announceCopies(
  target: ClusterTarget,
  { holder, shards }: Pick<SyncWorld, 'holder'> & { shards: readonly SourceShard[] },
): Promise<void> {
  const claim = encodeClaim({ ...holder, state: 'copying' });
  for (const { index } of shards) await target.holder.call('SET', shardClaimKeys(index).claim, claim);
}

/**
 * Forgets how far every shard is, so that all of them are reconciled.
 *
 * @throws the codes of a connection to the target, or the signal's reason
 */
export async function removeShardClaims(
  access: SyncWorld['target'],
  { count, signal }: { count: number; signal: AbortSignal },
): Promise<void> {
  if (count > 0) await removeCheckpoints(access, { sourceShards: count, signal });
}

/** Makes sure that the target is still held for a sync with this shard. @throws claim-lost */
export async function assertShardsHeld(
  { holder: client }: ClusterTarget,
  { world, shard }: { world: Pick<SyncWorld, 'holder'>; shard: FollowedShard },
): Promise<void> {
  const claim = await readClaim(client);
  const isHeld = claim?.state === 'reconciling' && isHeldBy(claim, world.holder);
  if (isHeld && claim.sourceShards?.[shard.index] === shard.slots) return;
  throw new MigrationError(
    'claim-lost',
    `The target ${client.access.address} has lost the claim of this migration: somebody has emptied it or changed ${RESERVED_KEY}.`,
  );
}
