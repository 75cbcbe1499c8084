import { isMigrationError } from '../../core/errors.ts';
import { keySlot } from '../redis/cluster/slots.ts';
import type { Command, RawConnection } from '../redis/raw-connection.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import type { Pair } from '../verify/key-comparison.ts';
import { markSource, waitForMark } from '../verify/lag.ts';
import type { Lane } from './lanes.ts';

/** What became of a write: done, or why not. */
export type Outcome = 'written' | 'moved' | ErrorReply;

/** Keys that are written together: of a cluster all in one slot. */
export type Place = { readonly lane: Lane; readonly db: number; readonly keys: readonly Buffer[] };

/**
 * Writes to the target what was read from the source, exactly as if the sync had always had it so, also beside a sync
 * that applies the source's stream to the same keys:
 *
 *   1. WATCH the keys at the target
 *   2. read them at the source: they are as the stream has left them at some offset o
 *   3. wait until the target has applied the stream up to an offset that is not before o
 *   4. MULTI, write, EXEC
 *
 * What the stream did to the keys up to o is applied by 3, and is in what was read: nothing of it can come after the
 * write. What it did after o comes either behind the EXEC, on top of what was read, as it should, or before it, and then
 * the target has refused the EXEC because of 1: nothing was written, and it is tried again later. So neither does an
 * older value replace a newer one, nor is an INCR done twice. Without a sync there is nothing to wait for, and any other
 * writer of the key makes the EXEC fail as well.
 *
 * `read` returns the commands that write, each on one of the keys; one outcome for each key comes back. The source is
 * only read.
 *
 * @throws sync-behind, target-unreachable, and the codes of the reads
 */
export async function writeGuarded(
  pair: Pair,
  { lane, db, keys }: Place,
  read: () => Promise<readonly (readonly Command[])[]>,
): Promise<readonly Outcome[]> {
  const [first] = keys;
  if (first === undefined) return [];
  const connection = lane.connectionOf(keySlot(first, 0, first.length));
  const watches = await connection.send([['SELECT', db], ...keys.map((key): Command => ['WATCH', key])]);
  const refusal = watches.find((reply) => reply instanceof ErrorReply);
  if (refusal instanceof ErrorReply) return keys.map(() => refusal);
  try {
    const writes = await read();
    if (writes.every((commands) => commands.length === 0)) return keys.map(() => 'written');
    await waitForMark(pair, await markSource(pair, lane.clock), lane);
    return await execute(connection, writes);
  } finally {
    await forget(connection);
  }
}

async function execute(
  connection: RawConnection,
  writes: readonly (readonly Command[])[],
): Promise<readonly Outcome[]> {
  const replies = await connection.send([['MULTI'], ...writes.flat(), ['EXEC']]);
  const results = replies.at(-1) ?? null;
  if (results === null) return writes.map(() => 'moved');
  // EXECABORT: one of them was refused before all began.
  const refused = replies.slice(1, -1).find((reply) => reply instanceof ErrorReply);
  if (!Array.isArray(results)) return writes.map(() => errorOf(refused) ?? errorOf(results) ?? 'moved');
  let from = 0;
  return writes.map((commands) => {
    const part = results.slice(from, from + commands.length);
    from += commands.length;
    return errorOf(part.find((reply) => reply instanceof ErrorReply)) ?? 'written';
  });
}

function errorOf(reply: Reply | undefined): ErrorReply | undefined {
  return reply instanceof ErrorReply ? reply : undefined;
}

/** EXEC has done it where it was reached. */
async function forget(connection: RawConnection): Promise<void> {
  try {
    await connection.send([['UNWATCH']]);
  } catch (error) {
    // The connection is gone, and its watches with it; whatever uses it next says so.
    if (!isMigrationError(error)) throw error;
  }
}
