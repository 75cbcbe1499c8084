import { MigrationError } from '../../../core/errors.ts';
import { Crc64 } from './crc64.ts';
import { ExtentScanner } from './extent.ts';
import {
  type Layout,
  OPCODE,
  OPCODE_LAYOUTS,
  REDIS_LAYOUTS,
  SLOT_IMPORT_LAYOUT,
  TYPE_MODULE,
  TYPE_REDIS_HASH_LISTPACK_EX,
  VALKEY_LAYOUTS,
} from './layouts.ts';
import { malformedRdb } from './malformed.ts';
import { moduleName, moduleUnsupported } from './module-name.ts';
import {
  decodeString,
  type LengthCursor,
  plainStringStart,
  readLength,
  readStringHead,
  type StringHead,
  skipString,
} from './string.ts';

/*
 * RDB    = magic *item END checksum(8 bytes, little-endian, 0 when disabled)
 * magic  = "REDIS" 4 digits | "VALKEY" 3 digits
 * item   = opcode and what OPCODE_LAYOUTS says | type string(the key) value
 *
 * An expiry or an eviction hint stands before the key that it is about.
 * Source: rdb.c of redis 5.0-8.0 and valkey 7.2-9.1.
 */

/**
 * What {@link RdbReader.next} came upon. `need-more`: push further bytes first. The fields of the reader that belong
 * to the item hold until the next call.
 *
 * - `key`: `type`, `key`, `valueStart`, `valueEnd`, `expireAtMs`, `db`
 * - `large`: `type`, `key`, `expireAtMs`, `db` of a key whose value is too large to wait for. Who reads must take the
 *   value out by the `take…` methods before the next call; `key` holds that long
 * - `function`: `text` is the code of the library
 * - `aux`: `auxName`, `text`
 * - `database`: `db`
 * - `sizes`: `databaseKeys`, how many keys the database has
 */
export type RdbItem = 'need-more' | 'key' | 'large' | 'function' | 'aux' | 'database' | 'sizes' | 'end';

/** The largest serialised value that is taken: what a bulk string of RESTORE or SET may be, and its head. */
export const VALUE_BYTES_MAX = 512 * 1024 * 1024 + 16;
/** Values up to this size, serialised, are waited for and given whole. */
export const WHOLE_VALUE_BYTES_MAX = 2 * 1024 * 1024;
/** Strings within a large value that are longer come in pieces. */
export const WHOLE_STRING_BYTES_MAX = 64 * 1024;
const WINDOW_BYTES = 1024 * 1024;
/** A window that has grown beyond this for one large value is given back after it. */
const WINDOW_KEPT_BYTES = 8 * WINDOW_BYTES;
const MAGIC_BYTES = 9;
const CHECKSUM_BYTES = 8;

/**
 * Reads an RDB stream piece by piece: finds its keys and the extent of their values, and decodes nothing else.
 *
 * One window holds what is not read yet. A value that is larger than `wholeValueBytesMax` does not wait in it to be
 * complete: it is taken out as it comes. What still makes the window grow are keys, function libraries, values of
 * modules, and what a `takeWhole` asks for. No object is made per key: the fields are overwritten by each `next`, and
 * ranges are positions in `window`.
 *
 * Its methods throw source-protocol-error for a damaged stream, source-data-unsupported for types that are not
 * known and values that are too large, source-modules-unsupported for the values of modules.
 */
export class RdbReader {
  window: Buffer = Buffer.allocUnsafe(WINDOW_BYTES);
  type = 0;
  /** The plain bytes of the key. */
  key: { bytes: Buffer; start: number; end: number } = { bytes: this.window, start: 0, end: 0 };
  valueStart = 0;
  valueEnd = 0;
  /** -1: the key does not expire. */
  expireAtMs = -1;
  db = 0;
  databaseKeys = 0;
  auxName = '';
  text: Buffer = Buffer.alloc(0);

  #at = 0;
  #end = 0;
  #family: 'redis' | 'valkey' | undefined;
  #layouts: ReadonlyMap<number, Layout> = REDIS_LAYOUTS;
  #isInExtent = false;
  #isEnded = false;
  /** Bytes of the stream before the window. */
  #windowOffset = 0;
  #summedTo = 0;
  #nextExpireAtMs = -1;
  readonly #sum = new Crc64();
  readonly #extent = new ExtentScanner();
  readonly #cursor: LengthCursor = { value: 0, next: 0 };
  readonly #wholeValueBytesMax: number;

  constructor({ wholeValueBytesMax = WHOLE_VALUE_BYTES_MAX } = {}) {
    this.#wholeValueBytesMax = wholeValueBytesMax;
  }

  /** Bytes of the stream that are read: up to the end of the last item. */
  get consumed(): number {
    return this.#windowOffset + this.#at;
  }

  /** Takes over a copy of the next bytes of the stream. */
  push(chunk: Buffer): void {
    if (this.#end + chunk.length > this.window.length) this.#makeRoom(chunk.length);
    chunk.copy(this.window, this.#end);
    this.#end += chunk.length;
  }

  /** What was pushed beyond the end of the RDB; only after `end`. */
  rest(): Buffer {
    return Buffer.from(this.window.subarray(this.#at, this.#end));
  }

  /** Goes to the next item. */
  next(): RdbItem {
    if (this.#family === undefined && !this.#readMagic()) return 'need-more';
    for (;;) {
      if (this.#isEnded) return 'end';
      if (this.#at >= this.#end) return 'need-more';
      const first = this.window[this.#at] ?? 0;
      if (first === OPCODE.end) return this.#readEnd();
      const layout = this.#opcodeLayout(first);
      if (layout === undefined) return this.#readKey(first);
      if (!this.#isInExtent) this.#extent.begin(layout, this.#at + 1);
      if (!this.#isExtentComplete()) return 'need-more';
      const start = this.#at + 1;
      this.#at = this.#extent.position;
      const item = this.#takeOpcode(first, start, this.#at);
      if (item !== undefined) return item;
    }
  }

  #readMagic(): boolean {
    if (this.#end < MAGIC_BYTES) return false;
    const magic = this.window.toString('latin1', 0, MAGIC_BYTES);
    if (!/^(REDIS\d{4}|VALKEY\d{3})$/.test(magic)) throw malformedRdb('it does not begin as an RDB');
    this.#family = magic.startsWith('VALKEY') ? 'valkey' : 'redis';
    this.#layouts = this.#family === 'valkey' ? VALKEY_LAYOUTS : REDIS_LAYOUTS;
    this.#at = MAGIC_BYTES;
    return true;
  }

  #opcodeLayout(opcode: number): Layout | undefined {
    if (opcode < OPCODE.slotImport) return undefined;
    if (opcode === OPCODE.slotImport && this.#family === 'valkey') return SLOT_IMPORT_LAYOUT;
    const layout = OPCODE_LAYOUTS.get(opcode);
    if (layout === undefined) throw this.#unsupported(`the opcode ${opcode}`);
    return layout;
  }

  /** Goes on with the extent under way; the place it has reached is kept while bytes are missing. */
  #isExtentComplete(): boolean {
    this.#isInExtent = !this.#extent.advance(this.window, this.#end);
    if (this.#extent.position - this.#at > VALUE_BYTES_MAX) {
      throw this.#unsupported(`a value of more than ${VALUE_BYTES_MAX} bytes`);
    }
    return !this.#isInExtent;
  }

  #takeOpcode(opcode: number, start: number, end: number): RdbItem | undefined {
    const { window } = this;
    switch (opcode) {
      case OPCODE.expireTimeMs:
        this.#nextExpireAtMs = Number(window.readBigInt64LE(start));
        return undefined;
      case OPCODE.expireTime:
        this.#nextExpireAtMs = window.readInt32LE(start) * 1000;
        return undefined;
      case OPCODE.selectDb:
        readLength(window, start, end, this.#cursor);
        if (this.#cursor.value > DATABASE_MAX) throw malformedRdb(`no database ${this.#cursor.value}`);
        this.db = this.#cursor.value;
        return 'database';
      case OPCODE.resizeDb:
        readLength(window, start, end, this.#cursor);
        this.databaseKeys = this.#cursor.value;
        return 'sizes';
      case OPCODE.aux: {
        const nameEnd = skipString(window, start, end);
        this.auxName = decodeString(window, start, nameEnd).toString('latin1');
        this.text = decodeString(window, nameEnd, end);
        return 'aux';
      }
      case OPCODE.function2:
        this.text = decodeString(window, start, end);
        return 'function';
      default:
        // Hints for eviction, slots of a cluster and what modules remember: nothing that a target could take.
        return undefined;
    }
  }

  #readKey(type: number): RdbItem {
    const keyStart = this.#at + 1;
    const keyEnd = skipString(this.window, keyStart, this.#end);
    if (keyEnd === -1 || keyEnd > this.#end) {
      if (keyEnd - this.#at > VALUE_BYTES_MAX) throw this.#unsupported('a key of more than 512 MiB');
      return 'need-more';
    }
    if (type === 0 && !this.#isInExtent) {
      // The shortest way for the most frequent type.
      const end = skipString(this.window, keyEnd, this.#end);
      if (end === -1) return 'need-more';
      this.#extent.begin(NOTHING, end);
    } else if (!this.#isInExtent) {
      const layout = this.#layouts.get(type);
      if (layout === undefined) throw this.#unsupported(`a value of the type ${type}`);
      this.#extent.begin(layout, keyEnd);
    }
    if (type === TYPE_MODULE) this.#refuseModule(keyEnd);
    const isComplete = this.#isExtentComplete();
    const isLarge =
      !isComplete && Math.max(this.#extent.position, this.#end) - keyEnd > this.#wholeValueBytesMax;
    if (!isComplete && (!isLarge || NEVER_LARGE.has(type))) return 'need-more';
    this.type = type;
    this.#setKey(keyStart, keyEnd);
    this.expireAtMs = this.#nextExpireAtMs;
    this.#nextExpireAtMs = -1;
    if (isLarge) return this.#beginLarge(keyEnd);
    this.valueStart = keyEnd;
    this.valueEnd = this.#extent.position;
    this.#at = this.valueEnd;
    return 'key';
  }

  #beginLarge(valueStart: number): RdbItem {
    const { bytes, start, end } = this.key;
    // A copy, because the window moves on while the value is taken.
    this.key.bytes = Buffer.from(bytes.subarray(start, end));
    this.key.start = 0;
    this.key.end = end - start;
    this.#at = valueStart;
    this.#isInExtent = false;
    this.#extent.begin(this.#layouts.get(this.type) ?? NOTHING, valueStart);
    return 'large';
  }

  /** Takes a length out of a large value; -1 when it has not all arrived. */
  takeLength(): number {
    readLength(this.window, this.#at, this.#end, this.#cursor);
    if (this.#cursor.next === -1) return -1;
    this.#at = this.#cursor.next;
    return this.#cursor.value;
  }

  /** Takes so many bytes: a view that holds until the next `push`; undefined when they have not all arrived. */
  takeBytes(count: number): Buffer | undefined {
    if (this.#at + count > this.#end) return undefined;
    this.#at += count;
    return this.window.subarray(this.#at - count, this.#at);
  }

  /** Takes what there is, at most so many bytes: a view that holds until the next `push`, possibly empty. */
  takeSome(bytesMax: number): Buffer {
    const from = this.#at;
    this.#at = Math.min(this.#end, from + bytesMax);
    return this.window.subarray(from, this.#at);
  }

  /** Takes a string, decoded, however long: it holds until the next `push`; undefined when it has not all arrived. */
  takeWhole(): Buffer | undefined {
    const from = this.#at;
    const end = skipString(this.window, from, this.#end);
    if (end - from > VALUE_BYTES_MAX)
      throw this.#unsupported(`a string of more than ${VALUE_BYTES_MAX} bytes`);
    if (end === -1 || end > this.#end) return undefined;
    this.#at = end;
    return decodeString(this.window, from, end);
  }

  /** Takes a string, or of a long one its head: its bytes must then be taken by `takeSome`. Undefined as above. */
  takeString(): Buffer | StringHead | undefined {
    const end = skipString(this.window, this.#at, this.#end);
    if (end === -1) return undefined;
    const isShort = end - this.#at <= WHOLE_STRING_BYTES_MAX;
    if (isShort && this.window[this.#at] !== COMPRESSED) return this.takeWhole();
    const head = readStringHead(this.window, this.#at, this.#end);
    if (head === undefined) return undefined;
    if (head.plainBytes <= WHOLE_STRING_BYTES_MAX) return this.takeWhole();
    this.#at += head.headBytes;
    return head;
  }

  /** Takes the value as it is serialised, piece by piece; to be called after `push` until `isLast`. */
  takeRaw(): { bytes: Buffer; isLast: boolean } {
    const isLast = this.#extent.advance(this.window, this.#end);
    const bytes = this.takeSome(this.#extent.position - this.#at);
    return { bytes, isLast };
  }

  /** Where the next `take…` begins, to come back to before the next `push`. */
  get place(): number {
    return this.#at;
  }

  /** Up to where the window is filled. */
  get filledTo(): number {
    return this.#end;
  }

  /** Goes back to a {@link place}. */
  returnTo(place: number): void {
    this.#at = place;
  }

  #setKey(start: number, end: number): void {
    const plainStart = plainStringStart(this.window, start);
    if (plainStart === -1) {
      const bytes = decodeString(this.window, start, end);
      this.key.bytes = bytes;
      this.key.start = 0;
      this.key.end = bytes.length;
    } else {
      this.key.bytes = this.window;
      this.key.start = plainStart;
      this.key.end = end;
    }
  }

  #refuseModule(valueStart: number): void {
    readLength(this.window, valueStart, this.#end, this.#cursor);
    if (this.#cursor.next === -1) return;
    throw moduleUnsupported(moduleName(this.window, valueStart));
  }

  #readEnd(): RdbItem {
    const sumAt = this.#at + 1;
    if (sumAt + CHECKSUM_BYTES > this.#end) return 'need-more';
    this.#sum.update(this.window, this.#summedTo, sumAt);
    const isDisabled = this.window.readBigUInt64LE(sumAt) === 0n;
    if (!isDisabled && !this.#sum.equals(this.window, sumAt)) {
      throw malformedRdb('its checksum does not fit its content');
    }
    this.#at = sumAt + CHECKSUM_BYTES;
    this.#isEnded = true;
    return 'end';
  }

  /** Drops what is read, and grows the window when the item under way needs more. */
  #makeRoom(bytes: number): void {
    const at = this.#at;
    const pending = this.#end - at;
    this.#sum.update(this.window, this.#summedTo, at);
    const known = this.#isInExtent ? Math.min(this.#extent.position - at, VALUE_BYTES_MAX) : 0;
    const needed = Math.max(pending, known) + bytes;
    let size = this.window.length;
    if (size > WINDOW_KEPT_BYTES && needed < WINDOW_BYTES) size = WINDOW_BYTES;
    if (size < needed) size = Math.max(needed, Math.min(size * 2, VALUE_BYTES_MAX));
    const window = size === this.window.length ? this.window : Buffer.allocUnsafe(size);
    this.window.copy(window, 0, at, this.#end);
    this.window = window;
    this.#windowOffset += at;
    this.#extent.position -= at;
    this.#at = 0;
    this.#end = pending;
    this.#summedTo = 0;
  }

  #unsupported(what: string): MigrationError {
    return new MigrationError(
      'source-data-unsupported',
      `The source sent ${what} at byte ${this.consumed} of its RDB, in database ${this.db}, which this version does not carry.`,
    );
  }
}

const DATABASE_MAX = 2 ** 31 - 1;
const COMPRESSED = 0xc3;
/** A module's value is refused, and a listpack with expiries, which is small by its configuration, is converted. */
const NEVER_LARGE: ReadonlySet<number> = new Set([TYPE_MODULE, TYPE_REDIS_HASH_LISTPACK_EX]);
const NOTHING: Layout = [];
