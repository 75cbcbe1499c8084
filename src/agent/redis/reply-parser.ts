/**
 * Reads replies of RESP2, whatever the chunks they arrive in.
 *
 *     reply   = "+" text CRLF                     simple string
 *             | "-" text CRLF                     error
 *             | ":" integer CRLF
 *             | "$" length CRLF bytes CRLF        bulk string, length -1: nil
 *             | "*" count CRLF *reply             array, count -1: nil
 *
 * Source: the Redis serialization protocol specification, version 2.
 */

/** An error that a server answered: a value among replies, since others of the same batch may have succeeded. */
export class ErrorReply extends Error {
  override readonly name = 'ErrorReply';
}

/**
 * One reply. A simple string is text, a bulk string a Buffer, an integer a bigint only where a number cannot hold it.
 *
 * Buffers may be views into the chunk they arrived in: who keeps one for long copies it.
 */
export type Reply = string | Buffer | number | bigint | null | ErrorReply | readonly Reply[];

/** The bounds beyond which a stream of bytes is not taken for replies of a server. */
export type ReplyLimits = {
  /** The longest simple string, error or header. */
  readonly lineBytes: number;
  /** The longest bulk string; the default is the highest `proto-max-bulk-len` that servers have unless told. */
  readonly bulkBytes: number;
  readonly arrayLength: number;
  readonly depth: number;
};

/** What a parser takes unless told otherwise. */
export const REPLY_LIMITS: ReplyLimits = {
  lineBytes: 64 * 1024,
  bulkBytes: 512 * 1024 * 1024,
  arrayLength: 4 * 1024 * 1024,
  depth: 16,
};

/** A parser of one connection: `push` takes the next chunk and calls `onReply` for each reply it completes. */
export type ReplyParser = {
  /**
   * Returns how many bytes at the end of the chunk it left untouched, because `onReply` asked it to stop; else 0.
   * Throws an Error that says what is wrong with the bytes; the parser is of no use afterwards.
   */
  push(chunk: Buffer): number;
};

/** Takes a reply; when it returns `stop`, what follows is for somebody else. */
export type ReplyReceiver = (reply: Reply) => unknown;

type OpenArray = { readonly items: Reply[]; missing: number };
type OpenBulk = { readonly bytes: Buffer; filled: number };

const CR = 13;
const LF = 10;
const MINUS = 45;

/** Makes a parser for a fresh connection. */
export function createReplyParser(onReply: ReplyReceiver, limits: ReplyLimits = REPLY_LIMITS): ReplyParser {
  const arrays: OpenArray[] = [];
  let rest: Buffer = Buffer.alloc(0);
  let bulk: OpenBulk | undefined;
  let isStopped = false;

  const deliver = (complete: Reply) => {
    let reply = complete;
    for (let array = arrays.at(-1); array !== undefined; array = arrays.at(-1)) {
      array.items.push(reply);
      array.missing -= 1;
      if (array.missing > 0) return;
      arrays.pop();
      reply = array.items;
    }
    isStopped = onReply(reply) === 'stop';
  };

  /** Reads one header or line at `offset`; returns where the next begins, or undefined when bytes are missing. */
  const readOne = (data: Buffer, offset: number): number | undefined => {
    const end = findLineEnd(data, offset, limits.lineBytes);
    if (end === undefined) return undefined;
    const next = end + 2;
    switch (data[offset]) {
      case 0x2b: // +
        deliver(data.toString('latin1', offset + 1, end));
        return next;
      case 0x2d: // -
        deliver(new ErrorReply(data.toString('utf8', offset + 1, end)));
        return next;
      case 0x3a: // :
        deliver(readInteger(data, offset + 1, end));
        return next;
      case 0x24: {
        const length = readLength({
          data,
          from: offset + 1,
          to: end,
          what: 'a bulk string',
          max: limits.bulkBytes,
        });
        if (length < 0) {
          deliver(null);
          return next;
        }
        if (next + length + 2 > data.length) {
          bulk = { bytes: Buffer.allocUnsafe(length + 2), filled: 0 };
          return next;
        }
        deliver(checkedBulk(data.subarray(next, next + length + 2)));
        return next + length + 2;
      }
      case 0x2a: {
        const length = readLength({
          data,
          from: offset + 1,
          to: end,
          what: 'an array',
          max: limits.arrayLength,
        });
        if (length <= 0) {
          deliver(length < 0 ? null : []);
          return next;
        }
        if (arrays.length >= limits.depth)
          throw new Error(`arrays are nested deeper than ${limits.depth} levels`);
        arrays.push({ items: [], missing: length });
        return next;
      }
      default:
        throw new Error(
          `a reply cannot begin with byte 0x${(data[offset] ?? 0).toString(16).padStart(2, '0')}`,
        );
    }
  };

  const fillBulk = (open: OpenBulk, data: Buffer): number => {
    const taken = data.copy(open.bytes, open.filled);
    open.filled += taken;
    if (open.filled === open.bytes.length) {
      bulk = undefined;
      deliver(checkedBulk(open.bytes));
    }
    return taken;
  };

  return {
    push: (chunk) => {
      const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let offset = 0;
      isStopped = false;
      while (offset < data.length && !isStopped) {
        const next =
          bulk === undefined ? readOne(data, offset) : offset + fillBulk(bulk, data.subarray(offset));
        if (next === undefined) break;
        offset = next;
      }
      // A reply ends within the chunk that completed it, so what is left of the data is left of the chunk.
      rest = isStopped ? Buffer.alloc(0) : data.subarray(offset);
      return isStopped ? data.length - offset : 0;
    },
  };
}

/** Where the CR of the line's CRLF is, or undefined when it has not arrived. */
function findLineEnd(data: Buffer, offset: number, lineBytesMax: number): number | undefined {
  const end = data.indexOf(CR, offset);
  const length = (end < 0 ? data.length : end) - offset;
  if (length > lineBytesMax) throw new Error(`a line is longer than ${lineBytesMax} bytes`);
  if (end < 0 || end + 1 >= data.length) return undefined;
  if (data[end + 1] !== LF) throw new Error('a line has a CR without LF');
  return end;
}

/** `":" ["-"] 1*DIGIT`, 64 bits signed. */
function readInteger(data: Buffer, from: number, to: number): number | bigint {
  const isNegative = data[from] === MINUS;
  const digitsFrom = isNegative ? from + 1 : from;
  if (to === digitsFrom || to - digitsFrom > 19) throw new Error('an integer is malformed');
  let value = 0;
  for (let index = digitsFrom; index < to; index++) {
    const digit = (data[index] ?? 0) - 48;
    if (digit < 0 || digit > 9) throw new Error('an integer is malformed');
    value = value * 10 + digit;
  }
  if (Number.isSafeInteger(value)) return isNegative ? 0 - value : value;
  return BigInt(data.toString('latin1', from, to));
}

type LengthField = {
  data: Buffer;
  from: number;
  to: number;
  what: 'a bulk string' | 'an array';
  max: number;
};

function readLength({ data, from, to, what, max }: LengthField): number {
  const length = readInteger(data, from, to);
  if (typeof length === 'bigint' || length < -1) throw new Error(`the length of ${what} is malformed`);
  if (length > max) throw new Error(`${what} of ${length} is longer than ${max}`);
  return length;
}

function checkedBulk(bytesAndEnd: Buffer): Buffer {
  const length = bytesAndEnd.length - 2;
  if (bytesAndEnd[length] !== CR || bytesAndEnd[length + 1] !== LF) {
    throw new Error('a bulk string does not end where its length says');
  }
  return bytesAndEnd.subarray(0, length);
}
