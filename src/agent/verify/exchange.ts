import { BULK_BYTES_MAX, ReplyBytes, ReplyCursor } from '../redis/reply-bytes.ts';
import type { Pair } from './key-comparison.ts';
import type { Request } from './request.ts';

/** The replies of both sides to the same request, or to two that mean the same. */
export type BothReplies = {
  readonly source: ReplyCursor;
  readonly target: ReplyCursor;
  /** Whether both sides answered the same bytes, so that every reply is equal. */
  readonly isSame: boolean;
};

/** What is asked of both sides. */
export type BothRequests = {
  readonly db: number;
  readonly request: Request;
  /** Where the target has to be asked in other words. */
  readonly requestAtTarget?: Request;
};

/** Memory that waits for its next use: making it for every batch would be most of what the collector has to do. */
const spare: ReplyBytes[] = [];

/**
 * Sends a request to each side at the same time, and has `use` look at the replies, which hold until it returns.
 * The requests are used up.
 *
 * @throws the codes of {@link Session.exchange}
 */
export async function exchangeBoth<Result>(
  { source, target }: Pair,
  { db, request, requestAtTarget = request }: BothRequests,
  use: (replies: BothReplies) => Result,
): Promise<Result> {
  const [a, b] = [spare.pop() ?? new ReplyBytes(), spare.pop() ?? new ReplyBytes()];
  await Promise.all([source.exchange(db, request, a), target.exchange(db, requestAtTarget, b)]);
  request.release();
  if (requestAtTarget !== request) requestAtTarget.release();
  const isSame = a.end === b.end && a.bytes.compare(b.bytes, 0, b.end, 0, a.end) === 0;
  const result = use({ source: new ReplyCursor(a), target: new ReplyCursor(b), isSame });
  spare.push(a, b);
  return result;
}

/** What is asked of the target first, and then, by what it answered, of the source. */
export type InTurn = {
  readonly db: number;
  readonly request: Request;
  /** Looks at the replies of the target; what it returns the source is asked. */
  readonly next: (target: ReplyCursor) => Request;
  /** Longer bulk strings are not kept. */
  readonly bulkBytesMax: number;
};

/**
 * Asks the target, then the source, and has `use` look at the replies of both, which hold until it returns. Returns
 * false when the target had one that is not kept: then the source is not asked.
 *
 * @throws the codes of {@link Session.exchange}
 */
export async function exchangeInTurn(
  { source, target }: Pair,
  { db, request, next, bulkBytesMax }: InTurn,
  use: (replies: { readonly source: ReplyBytes; readonly target: ReplyBytes }) => void,
): Promise<boolean> {
  const [a, b] = [spare.pop() ?? new ReplyBytes(), spare.pop() ?? new ReplyBytes()];
  a.bulkBytesMax = bulkBytesMax;
  b.bulkBytesMax = bulkBytesMax;
  await target.exchange(db, request, b);
  request.release();
  if (!b.isCut) {
    const nextRequest = next(new ReplyCursor(b));
    await source.exchange(db, nextRequest, a);
    nextRequest.release();
    use({ source: a, target: b });
  }
  a.bulkBytesMax = BULK_BYTES_MAX;
  b.bulkBytesMax = BULK_BYTES_MAX;
  spare.push(a, b);
  return !b.isCut;
}

/** Sends a request to the target alone; else as {@link exchangeBoth}. */
export async function exchangeAtTarget<Result>(
  { target }: Pair,
  { db, request }: { readonly db: number; readonly request: Request },
  use: (replies: ReplyCursor) => Result,
): Promise<Result> {
  const replies = spare.pop() ?? new ReplyBytes();
  await target.exchange(db, request, replies);
  request.release();
  const result = use(new ReplyCursor(replies));
  spare.push(replies);
  return result;
}
