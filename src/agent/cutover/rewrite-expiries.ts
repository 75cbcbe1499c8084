import { isPadded, unpadExpiry } from '../redis/expiry-pad.ts';
import type { Command, RawConnection } from '../redis/raw-connection.ts';
import { ReplyBytes, ReplyCursor } from '../redis/reply-bytes.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { toServerError } from '../redis/server-error.ts';
import { commandAround, Request } from '../verify/request.ts';

/** A key with the time at which it expires, in milliseconds since the epoch. */
export type ExpiringKey = { readonly key: Buffer; readonly atMs: number };

/** Says which of the keys are to expire at another time, and when. */
export type Rewrite = (
  keys: readonly ExpiringKey[],
) => Promise<readonly ExpiringKey[]> | readonly ExpiringKey[];

/** How many keys a step of SCAN looks at, by how many bytes of names the last one has brought. */
const SCAN_COUNT_FIRST = 100;
const SCAN_COUNT_MAX = 2_000;
const FEW_BYTES = 128 * 1024;
const MANY_BYTES = 512 * 1024;

/**
 * Goes once over the keys of the connection's database that expire, and writes the times that `rewrite` gives them.
 *
 * The next SCAN is on its way while the keys of the one before are looked at, so that neither side waits. Every key
 * that is there all the time is visited at least once, so on a target that nobody else writes to all are, and a pass
 * that was interrupted is simply made again.
 *
 * @throws target-unreachable, target-not-ready, target-read-only, target-permission-denied
 */
export async function rewriteExpiries(connection: RawConnection, rewrite: Rewrite): Promise<number> {
  let rewritten = 0;
  const rewriteStep = async (keys: readonly Buffer[]) => {
    rewritten += await rewriteExpiriesOf(connection, keys, rewrite);
  };
  const scan = async ({ cursor, count }: Pick<Step, 'cursor' | 'count'>) => {
    const [reply] = await exchange(connection, [['SCAN', cursor, 'COUNT', count]]);
    return readStep(reply, count);
  };
  let step = await scan({ cursor: '0', count: SCAN_COUNT_FIRST });
  for (;;) {
    if (step.cursor === '0') {
      await rewriteStep(step.keys);
      return rewritten;
    }
    [step] = await Promise.all([scan(step), rewriteStep(step.keys)]);
  }
}

/** The same for these keys only; those that never expire, or are not there, are passed over. */
export async function rewriteExpiriesOf(
  connection: RawConnection,
  keys: readonly Buffer[],
  rewrite: Rewrite,
): Promise<number> {
  const request = new Request();
  for (const key of keys) request.add(ASK_TIME, key);
  const replies = await exchangeRequest(connection, request, 'PEXPIRETIME');
  const expiring: ExpiringKey[] = [];
  for (const key of keys) {
    replies.next();
    const atMs = replies.integer();
    if (atMs >= 0) expiring.push({ key, atMs });
  }
  const writes = await rewrite(expiring);
  await writeExpiries(connection, writes);
  return writes.length;
}

/** Gives keys their times; those that are not there are passed over. Throws as {@link rewriteExpiries}. */
export async function writeExpiries(connection: RawConnection, keys: readonly ExpiringKey[]): Promise<void> {
  const request = new Request();
  for (const { key, atMs } of keys) {
    const time = String(atMs);
    request.add({ head: SET_TIME.head, tail: Buffer.from(`$${time.length}\r\n${time}\r\n`, 'latin1') }, key);
  }
  await exchangeRequest(connection, request, 'PEXPIREAT');
}

const ASK_TIME = commandAround(['PEXPIRETIME']);
const SET_TIME = commandAround(['PEXPIREAT'], [0]);

/** None of the commands may fail because of the data. The request is used up. */
async function exchangeRequest(
  connection: RawConnection,
  request: Request,
  what: string,
): Promise<ReplyCursor> {
  const replies = new ReplyBytes();
  replies.expect(request.count);
  await connection.exchange(request.bytes, replies);
  request.release();
  if (replies.refusal !== undefined) {
    throw toServerError(connection.access, `running ${what}`, replies.refusal);
  }
  return new ReplyCursor(replies);
}

/** Restores the exact times of those that have a pad. */
export const takePadOff: Rewrite = (keys) =>
  keys.filter(({ atMs }) => isPadded(atMs)).map(({ key, atMs }) => ({ key, atMs: unpadExpiry(atMs) }));

/** What a step of a scan found, and how the next one is asked for; its cursor is 0 when there is none. */
type Step = {
  readonly cursor: string;
  readonly count: number;
  readonly keys: readonly Buffer[];
};

/** Reads `[cursor, [key...]]`. */
function readStep(reply: Reply | undefined, count: number): Step {
  const [cursor, found] = Array.isArray(reply) ? reply : [];
  if (!Buffer.isBuffer(cursor) || !Array.isArray(found)) throw new Error('SCAN answered no cursor with keys');
  const keys = found.filter((key) => Buffer.isBuffer(key));
  const bytes = keys.reduce((sum, key) => sum + key.length, 0);
  return { cursor: cursor.toString('latin1'), count: nextCount(count, bytes), keys };
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
