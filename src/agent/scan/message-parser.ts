/*
 * What a server sends to a connection that has subscribed:
 *
 *   message = "*4" CRLF "pmessage" pattern channel payload      an event
 *           | "*3" CRLF "psubscribe" pattern count
 *           | "*2" CRLF "pong" text                             the reply to PING text
 *   each element a bulk string "$" length CRLF bytes CRLF, but count, which is ":" number CRLF
 *
 * Source: the documentation of Redis on Pub/Sub and PING.
 */

/** The elements of the message under the parser: `bytes[starts[n], ends[n])`, which holds until the next is read. */
export type Message = {
  readonly bytes: Buffer;
  readonly count: number;
  readonly starts: readonly number[];
  readonly ends: readonly number[];
};

const ELEMENTS_MAX = 4;
const LINE_BYTES_MAX = 64 * 1024;
const [STAR, DOLLAR, COLON, PLUS, MINUS, LINE_FEED] = [42, 36, 58, 43, 45, 10];

/** Reads messages without making objects of them: a busy source sends a hundred thousand a second. */
export class MessageParser {
  readonly #onMessage: (message: Message) => void;
  readonly #starts = [0, 0, 0, 0];
  readonly #ends = [0, 0, 0, 0];
  #rest: Buffer = Buffer.alloc(0);
  /** So many bytes the message under way needs at least; saves reading its beginning with every piece. */
  #needed = 0;

  constructor(onMessage: (message: Message) => void) {
    this.#onMessage = onMessage;
  }

  /** Takes the next bytes, which are only lent; throws a plain Error for what is no message. */
  push(piece: Buffer): void {
    const bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    let at = 0;
    while (at < bytes.length && bytes.length >= this.#needed) {
      const end = this.#read(bytes, at);
      if (end === -1) break;
      this.#needed = 0;
      at = end;
    }
    if (at > 0) this.#needed = Math.max(0, this.#needed - at);
    this.#rest = Buffer.from(bytes.subarray(at));
  }

  /** Reads one message; returns where it ends, or -1 when bytes are missing. */
  #read(bytes: Buffer, from: number): number {
    const lineEnd = findLineFeed(bytes, from);
    if (lineEnd === -1) return -1;
    if (bytes[from] === PLUS || bytes[from] === MINUS) return this.#readLine(bytes, from, lineEnd);
    const count = readNumber(bytes, from + 1, lineEnd - 1);
    if (bytes[from] !== STAR || count < 1 || count > ELEMENTS_MAX) throw new Error('no message of a channel');
    let at = lineEnd + 1;
    for (let element = 0; element < count; element++) {
      const end = findLineFeed(bytes, at);
      if (end === -1) return -1;
      if (bytes[at] === COLON) {
        this.#starts[element] = at + 1;
        this.#ends[element] = end - 1;
        at = end + 1;
        continue;
      }
      if (bytes[at] !== DOLLAR) throw new Error('no element of a message');
      const length = Math.max(0, readNumber(bytes, at + 1, end - 1));
      at = end + 1 + length + 2;
      if (at > bytes.length) {
        this.#needed = at;
        return -1;
      }
      this.#starts[element] = end + 1;
      this.#ends[element] = end + 1 + length;
    }
    this.#onMessage({ bytes, count, starts: this.#starts, ends: this.#ends });
    return at;
  }

  /** A reply of one line, as AUTH gets it: a message of one element, its sign included. */
  #readLine(bytes: Buffer, from: number, lineEnd: number): number {
    this.#starts[0] = from;
    this.#ends[0] = lineEnd - 1;
    this.#onMessage({ bytes, count: 1, starts: this.#starts, ends: this.#ends });
    return lineEnd + 1;
  }
}

function findLineFeed(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at] !== LINE_FEED) at += 1;
  if (at - from > LINE_BYTES_MAX) throw new Error('a line without an end');
  return at < bytes.length ? at : -1;
}

/** `["-"] 1*DIGIT` in `bytes[from, to)`. */
function readNumber(bytes: Buffer, from: number, to: number): number {
  if (bytes[from] === MINUS) return -1;
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = (bytes[at] ?? 0) - 48;
    if (digit < 0 || digit > 9) throw new Error('a number in a message is malformed');
    value = value * 10 + digit;
  }
  return value;
}
