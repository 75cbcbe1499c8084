import { ReplyBytes, ReplyCursor } from '../redis/reply-bytes.ts';
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

/** Sends a request to the source alone; else as {@link exchangeBoth}. */
export async function exchangeAtSource<Result>(
  { source }: Pair,
  { db, request }: { readonly db: number; readonly request: Request },
  use: (replies: ReplyCursor) => Result,
): Promise<Result> {
  const replies = spare.pop() ?? new ReplyBytes();
  await source.exchange(db, request, replies);
  request.release();
  const result = use(new ReplyCursor(replies));
  spare.push(replies);
  return result;
}
