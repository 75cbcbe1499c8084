import type { ReplyCursor } from '../redis/reply-bytes.ts';
import { type CommandFrame, commandAround } from '../verify/request.ts';

const FIRST_BYTES = 128 * 1024;
/** A buffer that has grown beyond this for a large value is given back. */
const KEPT_BYTES = 4 * 1024 * 1024;
/** Heads of arguments, expiry times and options: all of a command but its key and its value. */
const FRAME_BYTES_MAX = 192;
const BY_HAND_BYTES_MAX = 24;
const [DOLLAR, CR, LF] = [36, 13, 10];

const text = (ascii: string): Buffer => Buffer.from(ascii, 'latin1');
const SET = text('*3\r\n$3\r\nSET\r\n');
const SET_EXPIRING = text('*5\r\n$3\r\nSET\r\n');
const PXAT = text('$4\r\nPXAT\r\n');
const RESTORE = text('*6\r\n$7\r\nRESTORE\r\n');
const REPLACE_AT = text('$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n');
const UNLINK: CommandFrame = commandAround(['UNLINK']);

/** A part of a buffer. */
export type Part = { readonly bytes: Buffer; readonly start: number; readonly end: number };

/** Writing commands for the target, encoded one behind the other, without an object for any of them. */
export class CommandBuffer {
  #bytes: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);
  #at = 0;
  /** How many replies they will get. */
  count = 0;

  /** The commands so far. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  /** Begins anew. */
  clear(): void {
    this.#at = 0;
    this.count = 0;
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  }

  /** `SET key value [PXAT expireAtMs]`; -1: it never expires. */
  set(key: Buffer, value: Part, expireAtMs: number): void {
    this.#reserve(key.length + value.end - value.start);
    this.#put(expireAtMs < 0 ? SET : SET_EXPIRING, 0);
    this.#putBulk(key, 0, key.length);
    this.#putBulk(value.bytes, value.start, value.end);
    if (expireAtMs < 0) return;
    this.#put(PXAT, 0);
    this.#putNumber(Math.max(1, expireAtMs));
  }

  /** `RESTORE key expireAtMs payload REPLACE ABSTTL`; -1: it never expires. */
  restore(key: Buffer, payload: Part, expireAtMs: number): void {
    this.#reserve(key.length + payload.end - payload.start);
    this.#put(RESTORE, 0);
    this.#putBulk(key, 0, key.length);
    // To RESTORE 0 means never, and a time in the past deletes what is there, as it should.
    this.#putNumber(expireAtMs < 0 ? 0 : Math.max(1, expireAtMs));
    this.#putBulk(payload.bytes, payload.start, payload.end);
    this.#put(REPLACE_AT, 0);
  }

  /** `UNLINK key` */
  remove(key: Buffer): void {
    this.#reserve(key.length);
    this.#put(UNLINK.head, 0);
    this.#putBulk(key, 0, key.length);
  }

  /** Adds a command that is encoded already. */
  whole(command: Buffer): void {
    this.#reserve(command.length);
    this.#putBytes(command, 0, command.length);
  }

  #reserve(size: number): void {
    this.count += 1;
    const needed = this.#at + size + FRAME_BYTES_MAX;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }

  #put(bytes: Buffer, start: number): void {
    this.#putBytes(bytes, start, bytes.length);
  }

  /** Few bytes are copied one by one: calling out for them takes longer than the copy itself. */
  #putBytes(bytes: Buffer, start: number, end: number): void {
    const target = this.#bytes;
    let at = this.#at;
    if (end - start > BY_HAND_BYTES_MAX) bytes.copy(target, at, start, end);
    else for (let from = start; from < end; from++) target[at++] = bytes[from] ?? 0;
    this.#at += end - start;
  }

  #putBulk(bytes: Buffer, start: number, end: number): void {
    this.#bytes[this.#at++] = DOLLAR;
    this.#putDigits(end - start);
    this.#putLineEnd();
    this.#putBytes(bytes, start, end);
    this.#putLineEnd();
  }

  #putNumber(value: number): void {
    this.#bytes[this.#at++] = DOLLAR;
    this.#putDigits(digitCount(value));
    this.#putLineEnd();
    this.#putDigits(value);
    this.#putLineEnd();
  }

  #putLineEnd(): void {
    this.#bytes[this.#at++] = CR;
    this.#bytes[this.#at++] = LF;
  }

  #putDigits(value: number): void {
    const end = this.#at + digitCount(value);
    let rest = value;
    for (let at = end - 1; at >= this.#at; at--) {
      const quotient = Math.floor(rest / 10);
      this.#bytes[at] = 48 + rest - quotient * 10;
      rest = quotient;
    }
    this.#at = end;
  }
}

/** What a cursor stands on, as a part. */
export function partUnder({ bytes, start, end }: ReplyCursor): Part {
  return { bytes, start, end };
}

function digitCount(value: number): number {
  let count = 1;
  for (let power = 10; power <= value; power *= 10) count += 1;
  return count;
}
