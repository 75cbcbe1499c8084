import { createHash } from 'node:crypto';
import type { Command, RawConnection } from '../redis/raw-connection.ts';
import { encodeReplies } from '../redis/reply-bytes.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import type { TouchedKeys } from '../touched/touched-keys.ts';
import type { DirtyKey, DirtyKeys } from './dirty-keys.ts';

/** A stream of the source. */
type Stream = DirtyKey & {
  /** What its groups were like when they were last looked at; undefined before. */
  print: string | undefined;
  /** As large as it was when it was last read. */
  bytes: number;
  /** Not before then it is looked at again. */
  dueAtMs: number;
};

/** Streams that are watched; beyond it only a comparison finds what their groups do. */
const STREAMS_MAX = 100_000;
/** How many are looked at together. */
const LOOK_KEYS = 200;
/** How often one is looked at, and how much of it may be read again a second. */
const LOOK_AGAIN_MS = 1_000;
const BYTES_PER_MS = 4_000;

/**
 * The streams of the source with their groups: XREADGROUP, XACK and XCLAIM change a group and no event tells of it, so
 * they are looked at now and then, and read again when they have changed. What XCLAIM alone moves from one consumer to
 * another does not show; a comparison finds it.
 */
export class StreamGroups {
  readonly #streams = new Map<string, Stream>();
  #next: Iterator<Stream> | undefined;
  #areAllKnown = true;

  /** Takes note of a stream that is read. */
  add({ db, key }: DirtyKey, bytes: number): void {
    const id = `${db} ${key.toString('latin1')}`;
    const known = this.#streams.get(id);
    if (known !== undefined) known.bytes = bytes;
    else if (this.#streams.size >= STREAMS_MAX) this.#areAllKnown = false;
    else this.#streams.set(id, { db, key: Buffer.from(key), print: undefined, bytes, dueAtMs: 0 });
  }

  /** Takes note that any of them may have changed without an event. */
  touchAll(touched: TouchedKeys): void {
    if (!this.#areAllKnown) touched.lose('there are too many streams to know what their groups did');
    for (const { db, key } of this.#streams.values()) touched.touch(db, key, 0, key.length);
  }

  /**
   * Looks at some of them; those of which the groups have changed become dirty. The connection stays on database 0.
   *
   * @throws the codes of {@link RawConnection.send}
   */
  async look(
    connection: RawConnection,
    { dirty, nowMs }: { dirty: DirtyKeys; nowMs: number },
  ): Promise<void> {
    const due = this.#takeDue(nowMs);
    const [first] = due;
    if (first === undefined) return;
    const questions = due.map(({ key }): Command => ['XINFO', 'GROUPS', key]);
    const replies = await connection.send([['SELECT', first.db], ...questions, ['SELECT', 0]]);
    for (const [index, stream] of due.entries()) {
      const print = printOf(replies[index + 1] ?? null);
      if (print === undefined || print === stream.print) continue;
      stream.print = print;
      dirty.add(stream.db, stream.key, 0, stream.key.length);
    }
  }

  /** The next ones that are due, of one database. */
  #takeDue(nowMs: number): readonly Stream[] {
    this.#next ??= this.#streams.values();
    const due: Stream[] = [];
    for (let looked = 0; looked < LOOK_KEYS; looked++) {
      const next = this.#next.next();
      if (next.done === true) {
        this.#next = undefined;
        break;
      }
      const stream = next.value;
      // Those of another database come with the next round.
      if (stream.dueAtMs > nowMs || stream.db !== (due[0]?.db ?? stream.db)) continue;
      stream.dueAtMs = nowMs + Math.max(LOOK_AGAIN_MS, stream.bytes / BYTES_PER_MS);
      due.push(stream);
    }
    return due;
  }
}

/** Undefined where there are no groups, or no stream any more: of that there was an event. */
function printOf(reply: Reply): string | undefined {
  if (reply instanceof ErrorReply || !Array.isArray(reply) || reply.length === 0) return undefined;
  return createHash('md5')
    .update(encodeReplies([reply]))
    .digest('base64');
}
