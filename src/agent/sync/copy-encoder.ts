import { MigrationError } from '../../core/errors.ts';
import { padExpiry } from '../redis/expiry-pad.ts';
import { FOOTER_BYTES, FOOTER_VERSION, writeFooter } from '../redis/rdb/footer.ts';
import { VALUE_LAYOUTS } from '../redis/rdb/layouts.ts';
import type { RdbReader } from '../redis/rdb/reader.ts';
import { plainStringStart } from '../redis/rdb/string.ts';
import { isReservedKey } from '../redis/reserved-key.ts';
import { type TargetForm, toTargetValue, type Value } from './payload.ts';
import { SLOT_COMMAND_BYTES_MAX, type TargetWriter } from './target-writer.ts';

/** What a bulk string may hold unless the target is configured otherwise (proto-max-bulk-len). */
export const BULK_BYTES_MAX = 512 * 1024 * 1024;
/** Command name, lengths, expiry and options: all of a command but its key and its value. */
const FRAME_BYTES_MAX = 192;
const STRING_TYPE = 0;

type Key = RdbReader['key'];
type MutableValue = { -readonly [Name in keyof Value]: Value[Name] };
type Template = { readonly plain: Buffer; readonly expiring: Buffer };

const text = (ascii: string): Buffer => Buffer.from(ascii, 'latin1');
const SET: Template = {
  plain: text('*3\r\n$3\r\nSET\r\n'),
  expiring: text('*5\r\n$3\r\nSET\r\n'),
};
const RESTORE: Template = {
  plain: text('*5\r\n$7\r\nRESTORE\r\n'),
  expiring: text('*6\r\n$7\r\nRESTORE\r\n'),
};
const MSET = text('\r\n$4\r\nMSET\r\n');
const SET_EXPIRY = text('$4\r\nPXAT\r\n');
const NO_EXPIRY = text('$1\r\n0\r\n');
const REPLACE = text('$7\r\nREPLACE\r\n');
const REPLACE_AT = text('$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n');

/** So many small strings are set by one command; more of them gain nothing. */
const TOGETHER_KEYS = 50;
/** Keys and values up to this size altogether count as small. */
const TOGETHER_PAIR_BYTES_MAX = 1024;
const TOGETHER_BYTES = TOGETHER_KEYS * (TOGETHER_PAIR_BYTES_MAX + FRAME_BYTES_MAX);

/** What decides how keys are written; on a target in cluster mode no command has keys of several slots. */
export type CopyForm = TargetForm & { readonly isCluster?: boolean };

/**
 * Writes the keys of a full copy to the target, each in the cheapest form that is exact: small strings by MSET, other
 * plain ones by SET, all others by RESTORE with the very bytes of the RDB and a footer of our own.
 *
 * Nothing is allocated for a key of ordinary size: its command is put together in the slot of the writer, and those
 * of MSET beside it until they are enough. The order of keys does not matter within a database, which has each once;
 * `flush` must be called before the database is left and at the end.
 */
export class CopyEncoder {
  readonly #writer: TargetWriter;
  readonly #form: CopyForm;
  readonly #setName: number;
  readonly #restoreName: number;
  /** The place reached in the buffer that is being filled. */
  #at = 0;
  readonly #msetName: number;
  /** Pairs of MSET, as bulk strings. */
  readonly #together = Buffer.allocUnsafe(TOGETHER_BYTES);
  #togetherBytes = 0;
  #togetherKeys = 0;
  /** One object for all values of a copy. */
  readonly #value: MutableValue = {
    type: 0,
    bytes: Buffer.alloc(0),
    start: 0,
    end: 0,
    version: FOOTER_VERSION,
  };

  constructor(writer: TargetWriter, form: CopyForm) {
    this.#writer = writer;
    this.#form = form;
    this.#setName = writer.names.id('SET');
    this.#restoreName = writer.names.id('RESTORE');
    this.#msetName = writer.names.id('MSET');
  }

  /**
   * Writes the key that the reader stands on. A promise means that the key is large and must have been taken before
   * the reader goes on.
   *
   * @throws source-data-unsupported
   */
  write(reader: RdbReader): Promise<void> | undefined {
    const { key, type, window, valueStart, valueEnd } = reader;
    if (reader.db === 0 && isReserved(key)) return undefined;
    const expireAtMs = reader.expireAtMs === -1 ? -1 : padExpiry(reader.expireAtMs);
    const plainStart = type === STRING_TYPE ? plainStringStart(window, valueStart) : -1;
    if (plainStart !== -1) return this.#set(reader, plainStart, expireAtMs);
    const value = this.#value;
    value.type = type;
    value.bytes = window;
    value.start = valueStart;
    value.end = valueEnd;
    const isShared = VALUE_LAYOUTS.has(type);
    return this.#restore(key, isShared ? value : toTargetValue(value, this.#form), expireAtMs);
  }

  /** Writes the small strings that stand together until now. */
  flush(): void {
    if (this.#togetherKeys === 0) return;
    const slot = this.#writer.reserve(this.#togetherBytes + FRAME_BYTES_MAX);
    this.#at = this.#writer.offset;
    slot[this.#at++] = STAR;
    this.#putDigits(slot, 1 + 2 * this.#togetherKeys);
    this.#put(slot, MSET);
    this.#at += this.#together.copy(slot, this.#at, 0, this.#togetherBytes);
    this.#writer.commit(this.#msetName, this.#at);
    this.#togetherBytes = 0;
    this.#togetherKeys = 0;
  }

  #setTogether(reader: RdbReader, start: number): void {
    const { key, window, valueEnd } = reader;
    this.#at = this.#togetherBytes;
    this.#putBulk(this.#together, key.bytes, key.start, key.end);
    this.#putBulk(this.#together, window, start, valueEnd);
    this.#togetherBytes = this.#at;
    this.#togetherKeys += 1;
    if (this.#togetherKeys === TOGETHER_KEYS) this.flush();
  }

  #set(reader: RdbReader, start: number, expireAtMs: number): Promise<void> | undefined {
    const { key, window: bytes, valueEnd: end } = reader;
    const size = end - start;
    const isSmall = expireAtMs === -1 && key.end - key.start + size <= TOGETHER_PAIR_BYTES_MAX;
    if (isSmall && !this.#form.isCluster) {
      this.#setTogether(reader, start);
      return undefined;
    }
    const frame = key.end - key.start + FRAME_BYTES_MAX;
    const isLarge = frame + size > SLOT_COMMAND_BYTES_MAX;
    const target = isLarge ? Buffer.allocUnsafe(frame) : this.#writer.reserve(frame + size);
    this.#at = isLarge ? 0 : this.#writer.offset;
    this.#put(target, expireAtMs === -1 ? SET.plain : SET.expiring);
    this.#putBulk(target, key.bytes, key.start, key.end);
    this.#putHead(target, size);
    if (isLarge) {
      const head = target.subarray(0, this.#at);
      const tail = Buffer.allocUnsafe(FRAME_BYTES_MAX);
      this.#at = 0;
      this.#putSetTail(tail, expireAtMs);
      const parts = [head, bytes.subarray(start, end), tail.subarray(0, this.#at)];
      return this.#writer.writeLarge(this.#setName, parts);
    }
    this.#putBytes(target, bytes, start, end);
    this.#putSetTail(target, expireAtMs);
    this.#writer.commit(this.#setName, this.#at);
    return undefined;
  }

  #putSetTail(target: Buffer, expireAtMs: number): void {
    this.#putLineEnd(target);
    if (expireAtMs === -1) return;
    this.#put(target, SET_EXPIRY);
    this.#putNumber(target, expireAtMs);
  }

  #restore(key: Key, value: Value, expireAtMs: number): Promise<void> | undefined {
    const size = value.end - value.start;
    if (1 + size + FOOTER_BYTES > BULK_BYTES_MAX) throw tooLarge(size);
    const frame = key.end - key.start + FRAME_BYTES_MAX;
    const isLarge = frame + size > SLOT_COMMAND_BYTES_MAX;
    const target = isLarge ? Buffer.allocUnsafe(frame) : this.#writer.reserve(frame + size);
    this.#at = isLarge ? 0 : this.#writer.offset;
    this.#put(target, expireAtMs === -1 ? RESTORE.plain : RESTORE.expiring);
    this.#putBulk(target, key.bytes, key.start, key.end);
    if (expireAtMs === -1) this.#put(target, NO_EXPIRY);
    else this.#putNumber(target, expireAtMs);
    this.#putHead(target, 1 + size + FOOTER_BYTES);
    target[this.#at++] = value.type;
    if (isLarge) {
      const head = target.subarray(0, this.#at);
      const tail = Buffer.allocUnsafe(FRAME_BYTES_MAX);
      this.#at = 0;
      this.#putRestoreTail(tail, value, expireAtMs);
      const parts = [head, value.bytes.subarray(value.start, value.end), tail.subarray(0, this.#at)];
      return this.#writer.writeLarge(this.#restoreName, parts);
    }
    this.#putBytes(target, value.bytes, value.start, value.end);
    this.#putRestoreTail(target, value, expireAtMs);
    this.#writer.commit(this.#restoreName, this.#at);
    return undefined;
  }

  #putRestoreTail(target: Buffer, value: Value, expireAtMs: number): void {
    writeFooter(target, this.#at, value);
    this.#at += FOOTER_BYTES;
    this.#putLineEnd(target);
    this.#put(target, expireAtMs === -1 ? REPLACE : REPLACE_AT);
  }

  #put(target: Buffer, bytes: Buffer): void {
    this.#putBytes(target, bytes, 0, bytes.length);
  }

  /** Few bytes are copied one by one: calling out for them takes longer than the copy itself. */
  #putBytes(target: Buffer, bytes: Buffer, start: number, end: number): void {
    let at = this.#at;
    if (end - start > BY_HAND_BYTES_MAX) {
      bytes.copy(target, at, start, end);
    } else {
      for (let from = start; from < end; from++) target[at++] = bytes[from] ?? 0;
    }
    this.#at += end - start;
  }

  #putLineEnd(target: Buffer): void {
    target[this.#at++] = CR;
    target[this.#at++] = LF;
  }

  #putBulk(target: Buffer, bytes: Buffer, start: number, end: number): void {
    this.#putHead(target, end - start);
    this.#putBytes(target, bytes, start, end);
    this.#putLineEnd(target);
  }

  /** `$length CRLF` */
  #putHead(target: Buffer, length: number): void {
    target[this.#at++] = DOLLAR;
    this.#putDigits(target, length);
    this.#putLineEnd(target);
  }

  /** An integer of 64 bits as a bulk string, see {@link integerText}. */
  #putNumber(target: Buffer, value: number): void {
    if (!Number.isSafeInteger(value)) {
      const digits = text(integerText(value));
      this.#putBulk(target, digits, 0, digits.length);
      return;
    }
    this.#putHead(target, digitCount(value));
    this.#putDigits(target, value);
    this.#putLineEnd(target);
  }

  #putDigits(target: Buffer, value: number): void {
    const end = this.#at + digitCount(value);
    let rest = value;
    for (let at = end - 1; at >= this.#at; at--) {
      const quotient = Math.floor(rest / 10);
      target[at] = 48 + rest - quotient * 10;
      rest = quotient;
    }
    this.#at = end;
  }
}

const STAR = 42;
const DOLLAR = 36;
const CR = 13;
const LF = 10;
const BY_HAND_BYTES_MAX = 24;
const INTEGER_MAX = '9223372036854775807';

function digitCount(value: number): number {
  let count = 1;
  for (let power = 10; power <= value; power *= 10) count += 1;
  return count;
}

/** An integer of 64 bits as servers read it; those beyond 2^53 come as the nearest that a number can hold. */
export function integerText(value: number): string {
  return value >= 2 ** 63 ? INTEGER_MAX : String(BigInt(value));
}

/** Whether the key is one of ours, which is not the source's to write. */
export function isReserved({ bytes, start, end }: Key): boolean {
  return isReservedKey(bytes, start, end);
}

/** The error for a value that no single command can carry. */
export function tooLarge(size: number): MigrationError {
  return new MigrationError(
    'source-data-unsupported',
    `The source holds a value of ${size} bytes serialised, more than the ${BULK_BYTES_MAX} that one command can carry.`,
  );
}
