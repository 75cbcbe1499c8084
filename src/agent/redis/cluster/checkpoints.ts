import type { Access } from '../access.ts';
import type { Command } from '../raw-connection.ts';
import { ErrorReply } from '../reply-parser.ts';
import { checkpointKey } from '../reserved-key.ts';
import { toServerError } from '../server-error.ts';
import { openRoutedConnection } from './routed-connection.ts';
import { SLOT_COUNT } from './slots.ts';

/** How many keys go in one batch. */
const BATCH = 1024;

/**
 * Removes the checkpoints that a sync has left on the primaries of a cluster; a standalone server has none.
 *
 * Slots may have moved since they were written, so every slot is gone over, whoever has it now.
 *
 * @throws target-unreachable, target-not-ready, target-read-only, target-permission-denied, or the signal's reason
 */
export async function removeCheckpoints(access: Access, signal: AbortSignal): Promise<void> {
  await using connection = await openRoutedConnection(access, { signal });
  if (connection.layout === '') return;
  for (let from = 0; from < SLOT_COUNT; from += BATCH) {
    const batch = Array.from({ length: BATCH }, (_, index): Command => ['DEL', checkpointKey(from + index)]);
    const refusal = (await connection.send(batch)).find((reply) => reply instanceof ErrorReply);
    if (refusal !== undefined) throw toServerError(access, 'removing checkpoints', refusal);
  }
}
