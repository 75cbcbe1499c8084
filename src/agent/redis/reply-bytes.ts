import { ErrorReply, type Reply } from './reply-parser.ts';

/*
 * reply = "+" text CRLF | "-" text CRLF | ":" number CRLF
 *       | "$" length CRLF bytes CRLF | "*" count CRLF *reply        length or count -1: null
 */

/** The first byte of each kind of reply. */
export const REPLY_KIND = { text: 0x2b, error: 0x2d, integer: 0x3a, bulk: 0x24, array: 0x2a } as const;

const FIRST_BYTES = 64 * 1024;
/** A buffer that has grown beyond this for a large reply is given back before the next use. */
const KEPT_BYTES = 2 * 1024 * 1024;
const LINE_BYTES_MAX = 64 * 1024;
/** The longest bulk string there is, unless a server is configured otherwise (proto-max-bulk-len). */
export const BULK_BYTES_MAX = 512 * 1024 * 1024;
const LINE_FEED = 10;
const MINUS = 45;

/**
 * A number of replies as the bytes that arrived, one behind the other, in memory that is used again and again: who
 * compares two servers need not make anything of replies that are the same bytes.
 */
export class ReplyBytes {
  bytes: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  /** Where the replies end. */
  end = 0;
  /** Longer bulk strings are not kept: `isCut` tells, and what the replies hold is then of no use. */
  bulkBytesMax = BULK_BYTES_MAX;
  isCut = false;
  /** Bytes of a bulk string to come that is not kept. */
  #skipped = 0;
  /** Replies that are still to come, with the elements of arrays that have begun. */
  #missing = 0;
  /** Where the next reply begins; behind `end` while a bulk string has not arrived. */
  #next = 0;
  #refusal: ErrorReply | undefined;

  /** The first error among the replies that is not about the type or form of what was asked for. */
  get refusal(): ErrorReply | undefined {
    return this.#refusal;
  }

  /** Begins anew, for so many replies. */
  expect(count: number): void {
    this.#missing = count;
    this.#next = 0;
    this.end = 0;
    this.#refusal = undefined;
    this.isCut = false;
    this.#skipped = 0;
    if (this.bytes.length > KEPT_BYTES) this.bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  }

  /** Whether all have arrived. */
  get isComplete(): boolean {
    return this.#missing === 0 && this.#skipped === 0;
  }

  /** Copies what belongs to the replies from `chunk[from..]`; returns where it ends. Throws for what is no reply. */
  take(chunk: Buffer, from: number): number {
    const at = Math.min(chunk.length, from + this.#skipped);
    this.#skipped -= at - from;
    const size = chunk.length - at;
    if (size === 0 || this.isComplete) return at;
    if (this.end + size > this.bytes.length) this.#grow(this.end + size);
    chunk.copy(this.bytes, this.end, at);
    this.end += size;
    this.#advance();
    if (this.#missing > 0) return chunk.length;
    const surplus = this.end - this.#next;
    this.end = this.#next;
    return chunk.length - surplus;
  }

  #grow(size: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(size, 2 * this.bytes.length));
    this.bytes.copy(grown, 0, 0, this.end);
    this.bytes = grown;
  }

  #advance(): void {
    const { bytes, end } = this;
    while (this.#missing > 0 && this.#next < end) {
      const at = this.#next;
      // A line feed that has not arrived lies behind what there is, where older bytes stand.
      let lineEnd = at + 1;
      while (lineEnd < end && bytes[lineEnd] !== LINE_FEED) lineEnd += 1;
      if (lineEnd - at > LINE_BYTES_MAX) throw new Error('a reply line without an end');
      if (lineEnd === end) return;
      const next = this.#behind(at, lineEnd);
      if (next > end) {
        // The head is read again when the rest has come, which is rare and costs nothing.
        if (next > bytes.length) this.#grow(next);
        return;
      }
      this.#next = next;
    }
  }

  /** Where the reply at `at` ends whose first line ends at `lineEnd`; of an array, its first line. */
  #behind(at: number, lineEnd: number): number {
    switch (this.bytes[at]) {
      case REPLY_KIND.text:
      case REPLY_KIND.integer:
        this.#missing -= 1;
        return lineEnd + 1;
      case REPLY_KIND.error:
        this.#missing -= 1;
        this.#keepRefusal(at, lineEnd);
        return lineEnd + 1;
      case REPLY_KIND.bulk: {
        const length = parseInteger(this.bytes, at + 1, lineEnd - 1);
        if (length > BULK_BYTES_MAX) throw new Error(`a bulk string of ${length} bytes`);
        const next = length < 0 ? lineEnd + 1 : lineEnd + 1 + length + 2;
        if (length > this.bulkBytesMax) {
          this.isCut = true;
          this.#missing -= 1;
          this.#skipped = Math.max(0, next - this.end);
          return Math.min(next, this.end);
        }
        if (next <= this.end) this.#missing -= 1;
        return next;
      }
      case REPLY_KIND.array:
        this.#missing += Math.max(0, parseInteger(this.bytes, at + 1, lineEnd - 1)) - 1;
        return lineEnd + 1;
      default:
        throw new Error(`a reply cannot begin with byte ${this.bytes[at]}`);
    }
  }

  #keepRefusal(at: number, lineEnd: number): void {
    const text = this.bytes.toString('utf8', at + 1, lineEnd - 1);
    if (!/^(WRONGTYPE|ERR)\b/.test(text)) this.#refusal ??= new ErrorReply(text);
  }
}

/** Goes over replies one by one, the elements of an array like any other, without making objects of them. */
export class ReplyCursor {
  readonly bytes: Buffer;
  /** Where the next reply begins. */
  at = 0;
  /** Of the reply under the cursor: its first byte, see {@link REPLY_KIND}. */
  kind = 0;
  /** Where its content begins and ends; equal to each other for null, of which `isNull` tells. */
  start = 0;
  end = 0;
  isNull = false;

  constructor({ bytes }: Pick<ReplyBytes, 'bytes'>) {
    this.bytes = bytes;
  }

  /** Goes to the next reply; it must be there. */
  next(): void {
    const { bytes, at } = this;
    this.kind = bytes[at] ?? 0;
    let lineEnd = at + 1;
    while (bytes[lineEnd] !== LINE_FEED) lineEnd += 1;
    this.start = at + 1;
    this.end = lineEnd - 1;
    this.at = lineEnd + 1;
    this.isNull = false;
    if (this.kind !== REPLY_KIND.bulk) return;
    const length = parseInteger(bytes, this.start, this.end);
    this.isNull = length < 0;
    this.start = lineEnd + 1;
    this.end = this.start + Math.max(0, length);
    this.at = length < 0 ? this.start : this.end + 2;
  }

  /** The number in an integer, or in front of an array; not exact beyond 2^53. */
  integer(): number {
    return parseInteger(this.bytes, this.start, this.end);
  }

  /** The content as text. */
  text(): string {
    return this.bytes.toString('latin1', this.start, this.end);
  }

  /** The content, as a view that holds as long as the replies. */
  view(): Buffer {
    return this.bytes.subarray(this.start, this.end);
  }
}

/** Whether two replies under cursors are the same: kind and content. */
export function isSameReplyBytes(a: ReplyCursor, b: ReplyCursor): boolean {
  const length = a.end - a.start;
  if (a.kind !== b.kind || a.isNull !== b.isNull || length !== b.end - b.start) return false;
  return length === 0 || a.bytes.compare(b.bytes, b.start, b.end, a.start, a.end) === 0;
}

/** `["-"] 1*DIGIT` in `bytes[from, to)`. */
function parseInteger(bytes: Buffer, from: number, to: number): number {
  const isNegative = bytes[from] === MINUS;
  let value = 0;
  for (let at = isNegative ? from + 1 : from; at < to; at++) {
    const digit = (bytes[at] ?? 0) - 48;
    if (digit < 0 || digit > 9) throw new Error('a number in a reply is malformed');
    value = value * 10 + digit;
  }
  return isNegative ? 0 - value : value;
}

/** Encodes replies as the bytes in which a server would have sent them. */
export function encodeReplies(replies: readonly Reply[]): Buffer {
  const parts: (string | Buffer)[] = [];
  const add = (reply: Reply) => {
    if (reply === null) parts.push('$-1\r\n');
    else if (typeof reply === 'string') parts.push(`+${reply}\r\n`);
    else if (reply instanceof ErrorReply) parts.push(`-${reply.message}\r\n`);
    else if (Buffer.isBuffer(reply)) parts.push(`$${reply.length}\r\n`, reply, '\r\n');
    else if (typeof reply === 'object') {
      parts.push(`*${reply.length}\r\n`);
      for (const element of reply) add(element);
    } else parts.push(`:${reply}\r\n`);
  };
  for (const reply of replies) add(reply);
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));
}
