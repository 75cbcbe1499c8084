import { encodeCommands, type RawConnection } from '../redis/raw-connection.ts';
import { ReplyBytes, ReplyCursor } from '../redis/reply-bytes.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { toServerError } from '../redis/server-error.ts';
import type { SyncLimits } from '../sync/meter.ts';
import { Request } from '../verify/request.ts';
import { CommandBuffer } from './command-buffer.ts';

const LARGEST_EXPECTED_BYTES = 1024 * 1024;
/** What was large once counts for some dozens of requests. */
const FORGETTING = 0.95;

/** What a reader makes of the replies of the source: commands for the target, or none. */
export type ToWrites = (replies: ReplyCursor, writes: CommandBuffer) => void;

/** Replies that are no success, by the place of their command among the writes. */
export type Refusals = ReadonlyMap<number, string>;

/** What a line is made of. */
export type LineOptions = {
  readonly source: RawConnection;
  readonly target: RawConnection;
  readonly limits: SyncLimits;
};

/**
 * The way from the source to the target: one connection to each, and what is read is written at once.
 *
 * Replies come in the order of the reads, and nothing is waited for between a reply and the write that it makes. So
 * the writes reach the target in the order of the reads, whatever is under way beside one another, and the last read
 * of a key is what the target ends with.
 */
export class Line {
  readonly #source: RawConnection;
  readonly #target: RawConnection;
  readonly #limits: SyncLimits;
  #sourceDb = 0;
  #targetDb = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #largestRecently = LARGEST_EXPECTED_BYTES;
  readonly #spareReplies: ReplyBytes[] = [];
  readonly #spareWrites: CommandBuffer[] = [];

  constructor({ source, target, limits }: LineOptions) {
    this.#source = source;
    this.#target = target;
    this.#limits = limits;
  }

  /** How many bytes the replies to one request have had lately, at the most; much before anything is known. */
  get largestRecently(): number {
    return this.#largestRecently;
  }

  /** Waits until the limits allow another read. Rejects with the signal's reason. */
  async ready(signal: AbortSignal): Promise<void> {
    await this.#limits.source?.ready(signal);
    await this.#limits.target?.ready(signal);
  }

  /**
   * Sends reads to the source; their replies hold until `toWrites` returns. What it makes of them goes to the target,
   * and the refusals come back. The request is used up.
   *
   * @throws the codes of {@link RawConnection.exchange} of either side
   */
  async carry(db: number, request: Request, toWrites: ToWrites): Promise<Refusals> {
    const replies = this.#spareReplies.pop() ?? new ReplyBytes();
    const selecting = this.#selectAtSource(db, request.count);
    replies.expect(request.count);
    const [chosen] = await this.#inTurn(
      Promise.all([selecting, this.#source.exchange(request.bytes, replies)]),
    );
    const missing = chosen?.[0];
    // What was read then is of another database.
    if (missing instanceof ErrorReply)
      throw toServerError(this.#source.access, `selecting database ${db}`, missing);
    this.#limits.source?.take(replies.end);
    this.#largestRecently = Math.max(replies.end, this.#largestRecently * FORGETTING);
    const writes = this.#spareWrites.pop() ?? new CommandBuffer();
    writes.clear();
    const isSelected = this.#targetDb === db;
    toWrites(new ReplyCursor(replies), writes);
    request.release();
    if (writes.count === 0) {
      this.#giveBack(replies, writes);
      return NO_REFUSALS;
    }
    const { count } = writes;
    this.#limits.target?.take(count);
    this.#targetDb = db;
    const selected = isSelected ? undefined : this.#target.send([['SELECT', db]]);
    replies.expect(count);
    const [select] = await Promise.all([selected, this.#target.exchange(writes.bytes, replies)]);
    const refusals = readRefusals(new ReplyCursor(replies), count);
    this.#giveBack(replies, writes);
    const refusal = select?.[0];
    return refusal instanceof ErrorReply ? new Map([[SELECT_REFUSED, `-${refusal.message}`]]) : refusals;
  }

  /**
   * Resolves in the order of the calls: a cluster answers a request when the last of its primaries has, and one that is
   * sent later may be answered sooner.
   */
  #inTurn<Answer>(reading: Promise<Answer>): Promise<Answer> {
    reading.catch(() => {
      // Whoever waits for the turn is told.
    });
    const turn = this.#turn.then(() => reading);
    this.#turn = turn;
    return turn;
  }

  #selectAtSource(db: number, count: number): Promise<readonly Reply[]> | undefined {
    if (this.#sourceDb === db || count === 0) return undefined;
    this.#sourceDb = db;
    return this.#source.send([['SELECT', db]]);
  }

  #giveBack(replies: ReplyBytes, writes: CommandBuffer): void {
    this.#spareReplies.push(replies);
    this.#spareWrites.push(writes);
  }
}

/** The place under which the target's refusal of a database stands. */
export const SELECT_REFUSED = -1;
const NO_REFUSALS: Refusals = new Map();
const MINUS = 45;

function readRefusals(replies: ReplyCursor, count: number): Refusals {
  let refusals: Map<number, string> | undefined;
  for (let index = 0; index < count; index++) {
    replies.next();
    if (replies.kind !== MINUS) continue;
    refusals ??= new Map();
    refusals.set(index, `-${replies.text()}`);
  }
  return refusals ?? NO_REFUSALS;
}

/** A request of a few commands. */
export function requestOf(commands: Parameters<typeof encodeCommands>[0]): Request {
  const request = new Request();
  for (const command of commands) request.addWhole(encodeCommands([command]));
  return request;
}
