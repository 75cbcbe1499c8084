import type { Command, RawConnection } from '../redis/raw-connection.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { toServerError } from '../redis/server-error.ts';

/** A key with the time at which it expires, in milliseconds since the epoch. */
export type ExpiringKey = { readonly key: Buffer; readonly atMs: number };

/** Says which of the keys are to expire at another time, and when. */
export type Rewrite = (keys: readonly ExpiringKey[]) => Promise<readonly ExpiringKey[]>;

/** How many keys a step of SCAN looks at, by how many bytes of names the last one has brought. */
const SCAN_COUNT_FIRST = 100;
const SCAN_COUNT_MAX = 2_000;
const FEW_BYTES = 128 * 1024;
const MANY_BYTES = 512 * 1024;

/**
 * Goes once over the keys of the connection's database that expire, and writes the times that `rewrite` gives them.
 *
 * What a step writes, what it reads of the keys found by the step before, and the next SCAN are one batch. Every key
 * that is there all the time is visited at least once, so on a target that nobody else writes to all are, and a pass
 * that was interrupted is simply made again.
 *
 * @throws target-unreachable, target-not-ready, target-read-only, target-permission-denied
 */
export async function rewriteExpiries(connection: RawConnection, rewrite: Rewrite): Promise<number> {
  let rewritten = 0;
  let step: Step = { cursor: '0', isOver: false, count: SCAN_COUNT_FIRST, keys: [] };
  let writes: readonly ExpiringKey[] = [];
  while (!step.isOver || step.keys.length > 0 || writes.length > 0) {
    const replies = await exchange(connection, [
      ...writes.map(({ key, atMs }): Command => ['PEXPIREAT', key, atMs]),
      ...step.keys.map((key): Command => ['PEXPIRETIME', key]),
      ...(step.isOver ? [] : [['SCAN', step.cursor, 'COUNT', step.count]]),
    ]);
    rewritten += writes.length;
    const times = replies.slice(writes.length, writes.length + step.keys.length).map(Number);
    const expiring = step.keys.map((key, index) => ({ key, atMs: times[index] ?? -1 }));
    writes = await rewrite(expiring.filter(({ atMs }) => atMs >= 0));
    step = step.isOver ? { ...step, keys: [] } : readStep(replies.at(-1), step.count);
  }
  return rewritten;
}

/** Where a scan is: what the last step found, and how the next one is asked for. */
type Step = {
  readonly cursor: string;
  readonly isOver: boolean;
  readonly count: number;
  readonly keys: readonly Buffer[];
};

/** Reads `[cursor, [key...]]`. */
function readStep(reply: Reply | undefined, count: number): Step {
  const [cursor, found] = Array.isArray(reply) ? reply : [];
  if (!Buffer.isBuffer(cursor) || !Array.isArray(found)) throw new Error('SCAN answered no cursor with keys');
  const keys = found.filter((key) => Buffer.isBuffer(key));
  const bytes = keys.reduce((sum, key) => sum + key.length, 0);
  const next = cursor.toString('latin1');
  return { cursor: next, isOver: next === '0', count: nextCount(count, bytes), keys };
}

/** Keeps the names that a step holds in memory within bounds, whatever their length. */
function nextCount(count: number, bytes: number): number {
  if (bytes > MANY_BYTES) return Math.max(1, Math.floor(count / 4));
  return bytes < FEW_BYTES ? Math.min(SCAN_COUNT_MAX, count * 2) : count;
}

/** Sends a batch and throws what the server refused; none of the commands may fail because of the data. */
export async function exchange(
  connection: RawConnection,
  batch: readonly Command[],
): Promise<readonly Reply[]> {
  const replies = await connection.send(batch);
  const refusal = replies.findIndex((reply) => reply instanceof ErrorReply);
  if (refusal !== -1) {
    throw toServerError(connection.access, `running ${batch[refusal]?.[0]}`, replies[refusal]);
  }
  return replies;
}
