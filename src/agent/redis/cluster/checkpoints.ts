import type { Access } from '../access.ts';
import type { Command } from '../raw-connection.ts';
import { ErrorReply } from '../reply-parser.ts';
import { CLAIM_KEYS, type ClaimKeys, shardClaimKeys } from '../reserved-key.ts';
import { toServerError } from '../server-error.ts';
import { openRoutedConnection, type RoutedConnection } from './routed-connection.ts';
import { SLOT_COUNT } from './slots.ts';

/** How many keys go in one batch. */
const BATCH = 1024;

/**
 * Removes the checkpoints that a sync has left on the primaries of a cluster, and of a source in cluster mode those of
 * each of its shards with their claims, on whatever target.
 *
 * Slots may have moved since they were written, so every slot is gone over, whoever has it now.
 *
 * @throws target-unreachable, target-not-ready, target-read-only, target-permission-denied, or the signal's reason
 */
export async function removeCheckpoints(
  access: Access,
  { sourceShards, signal }: { readonly sourceShards: number; readonly signal: AbortSignal },
): Promise<void> {
  await using connection = await openRoutedConnection(access, { signal });
  const shards = Array.from({ length: sourceShards }, (_, shard) => shardClaimKeys(shard));
  const ofCluster = connection.layout === '' ? [] : [CLAIM_KEYS];
  for (const keys of [...ofCluster, ...shards]) await removeFrom(connection, keys);
  if (shards.length > 0)
    await remove(
      connection,
      shards.map(({ claim }) => claim),
    );
}

async function removeFrom(connection: RoutedConnection, keys: ClaimKeys): Promise<void> {
  for (let from = 0; from < SLOT_COUNT; from += BATCH) {
    await remove(
      connection,
      Array.from({ length: BATCH }, (_, index) => keys.checkpoint(from + index)),
    );
  }
}

async function remove(connection: RoutedConnection, keys: readonly Buffer[]): Promise<void> {
  const replies = await connection.send(keys.map((key): Command => ['DEL', key]));
  const refusal = replies.find((reply) => reply instanceof ErrorReply);
  if (refusal !== undefined) throw toServerError(connection.access, 'removing checkpoints', refusal);
}
