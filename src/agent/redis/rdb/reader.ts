import { MigrationError } from '../../../core/errors.ts';
import { Crc64 } from './crc64.ts';
import { ExtentScanner } from './extent.ts';
import {
  type Layout,
  MODULE_LAYOUT,
  OPCODE,
  OPCODE_LAYOUTS,
  REDIS_LAYOUTS,
  SLOT_IMPORT_LAYOUT,
  TYPE_MODULE,
  TYPE_REDIS_HASH_LISTPACK_EX,
  VALKEY_LAYOUTS,
  VALUE_LAYOUTS,
} from './layouts.ts';
import { MAGIC_BYTES, readFamily } from './magic.ts';
import { malformedRdb } from './malformed.ts';
import { moduleName } from './module-name.ts';
import { decodeString, type LengthCursor, plainStringStart, readLength, skipString } from './string.ts';
import { RdbWindow, VALUE_BYTES_MAX } from './window.ts';

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
 * - `module-data`: `moduleName` of a module that remembers something beside its keys; the data itself is dropped
 *
 * Of a `key` or `large` of {@link TYPE_MODULE}, `moduleName` says whose it is.
 */
export type RdbItem =
  | 'need-more'
  | 'key'
  | 'large'
  | 'function'
  | 'aux'
  | 'database'
  | 'sizes'
  | 'module-data'
  | 'end';

/** Values up to this size, serialised, are waited for and given whole. */
export const WHOLE_VALUE_BYTES_MAX = 2 * 1024 * 1024;
const CHECKSUM_BYTES = 8;

/**
 * Reads an RDB stream piece by piece: finds its keys and the extent of their values, and decodes nothing else.
 *
 * One window holds what is not read yet. A value that is larger than `wholeValueBytesMax` does not wait in it to be
 * complete: it is taken out as it comes. What still makes the window grow are keys, function libraries, and what a
 * `takeWhole` asks for. No object is made per key: the fields are overwritten by each `next`, and ranges are positions
 * in `window`.
 *
 * Its methods throw source-protocol-error for a damaged stream, source-version-unsupported for one of a version that
 * is not known, source-data-unsupported for types that are not known and values that are too large.
 */
export class RdbReader extends RdbWindow {
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
  moduleName = '';
  text: Buffer = Buffer.alloc(0);

  #family: 'redis' | 'valkey' | undefined;
  #layouts: ReadonlyMap<number, Layout> = REDIS_LAYOUTS;
  #isInExtent = false;
  #isInModuleData = false;
  /** Where the data of a module began, in bytes of the stream. */
  #moduleDataOffset = 0;
  #isEnded = false;
  #summedTo = 0;
  #nextExpireAtMs = -1;
  readonly #sum = new Crc64();
  readonly #extent = new ExtentScanner();
  readonly #cursor: LengthCursor = { value: 0, next: 0 };
  readonly #wholeValueBytesMax: number;

  constructor({ wholeValueBytesMax = WHOLE_VALUE_BYTES_MAX } = {}) {
    super();
    this.#wholeValueBytesMax = wholeValueBytesMax;
  }

  /** What was pushed beyond the end of the RDB; only after `end`. */
  rest(): Buffer {
    return Buffer.from(this.window.subarray(this.at, this.end));
  }

  /** Goes to the next item. */
  next(): RdbItem {
    if (this.#family === undefined && !this.#readMagic()) return 'need-more';
    for (;;) {
      if (this.#isEnded) return 'end';
      if (this.at >= this.end) return 'need-more';
      const first = this.window[this.at] ?? 0;
      if (this.#isInModuleData || first === OPCODE.moduleAux) {
        if (!this.#skipModuleData()) return 'need-more';
        if (this.consumed - this.#moduleDataOffset > MODULE_DATA_EMPTY_BYTES) return 'module-data';
        continue;
      }
      if (first === OPCODE.end) return this.#readEnd();
      const layout = this.#opcodeLayout(first);
      if (layout === undefined) return this.#readKey(first);
      if (!this.#isInExtent) this.#extent.begin(layout, this.at + 1);
      if (!this.#isExtentComplete()) return this.#waitForWhole();
      const start = this.at + 1;
      this.at = this.#extent.position;
      const item = this.#takeOpcode(first, start, this.at);
      if (item !== undefined) return item;
    }
  }

  #readMagic(): boolean {
    if (this.end < MAGIC_BYTES) return false;
    this.#family = readFamily(this.window.toString('latin1', 0, MAGIC_BYTES));
    this.#layouts = this.#family === 'valkey' ? VALKEY_LAYOUTS : REDIS_LAYOUTS;
    this.at = MAGIC_BYTES;
    return true;
  }

  /** Drops what a module remembers beside its keys, as it comes: nothing bounds its size. */
  #skipModuleData(): boolean {
    if (!this.#isInModuleData) {
      const start = this.at + 1;
      readLength(this.window, start, this.end, this.#cursor);
      if (this.#cursor.next === -1) return false;
      this.moduleName = moduleName(this.window, start);
      this.#moduleDataOffset = this.consumed;
      this.#extent.begin(MODULE_LAYOUT, start);
      this.#isInModuleData = true;
    }
    const isComplete = this.#extent.advance(this.window, this.end);
    this.at = Math.min(this.#extent.position, this.end);
    this.#isInModuleData = !isComplete;
    return isComplete;
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
    this.#isInExtent = !this.#extent.advance(this.window, this.end);
    return !this.#isInExtent;
  }

  /** What is not taken as it comes must fit into the window. */
  #waitForWhole(): 'need-more' {
    if (this.#extent.position - this.at > VALUE_BYTES_MAX) {
      throw this.#unsupported(`a value of more than ${VALUE_BYTES_MAX} bytes`);
    }
    return 'need-more';
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
    const keyStart = this.at + 1;
    const keyEnd = skipString(this.window, keyStart, this.end);
    if (keyEnd === -1 || keyEnd > this.end) {
      if (keyEnd - this.at > VALUE_BYTES_MAX) throw this.#unsupported('a key of more than 512 MiB');
      return 'need-more';
    }
    if (!this.#isInExtent) {
      if (SINGLE_STRINGS[type] === 1) {
        // The shortest way for the most frequent types.
        const end = skipString(this.window, keyEnd, this.end);
        if (end !== -1 && end <= this.end) return this.#giveKey(keyStart, keyEnd, end);
      }
      const layout = this.#layouts.get(type);
      if (layout === undefined) throw this.#unsupported(`a value of the type ${type}`);
      this.#extent.begin(layout, keyEnd);
    }
    const isComplete = this.#isExtentComplete();
    const isLarge =
      !isComplete && Math.max(this.#extent.position, this.end) - keyEnd > this.#wholeValueBytesMax;
    if (!isComplete && (!isLarge || NEVER_LARGE.has(type))) return this.#waitForWhole();
    const item = this.#giveKey(keyStart, keyEnd, this.#extent.position);
    if (type === TYPE_MODULE) this.moduleName = moduleName(this.window, keyEnd);
    return isLarge ? this.#beginLarge(keyEnd) : item;
  }

  #giveKey(start: number, valueStart: number, valueEnd: number): RdbItem {
    this.type = this.window[this.at] ?? 0;
    this.#setKey(start, valueStart);
    this.expireAtMs = this.#nextExpireAtMs;
    this.#nextExpireAtMs = -1;
    this.valueStart = valueStart;
    this.valueEnd = valueEnd;
    this.at = valueEnd;
    return 'key';
  }

  #beginLarge(valueStart: number): RdbItem {
    const { bytes, start, end } = this.key;
    // A copy, because the window moves on while the value is taken.
    this.key.bytes = Buffer.from(bytes.subarray(start, end));
    this.key.start = 0;
    this.key.end = end - start;
    this.at = valueStart;
    this.#isInExtent = false;
    this.#extent.begin(this.#layouts.get(this.type) ?? NOTHING, valueStart);
    return 'large';
  }

  /** Takes the value as it is serialised, piece by piece; to be called after `push` until `isLast`. */
  takeRaw(): { bytes: Buffer; isLast: boolean } {
    const isLast = this.#extent.advance(this.window, this.end);
    const bytes = this.takeSome(this.#extent.position - this.at);
    return { bytes, isLast };
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

  #readEnd(): RdbItem {
    const sumAt = this.at + 1;
    if (sumAt + CHECKSUM_BYTES > this.end) return 'need-more';
    this.#sum.update(this.window, this.#summedTo, sumAt);
    const isDisabled = this.window.readBigUInt64LE(sumAt) === 0n;
    if (!isDisabled && !this.#sum.equals(this.window, sumAt)) {
      throw malformedRdb('its checksum does not fit its content');
    }
    this.at = sumAt + CHECKSUM_BYTES;
    this.#isEnded = true;
    return 'end';
  }

  protected override onDrop(count: number): void {
    this.#sum.update(this.window, this.#summedTo, count);
    this.#summedTo = 0;
    this.#extent.position -= count;
  }

  #unsupported(what: string): MigrationError {
    return new MigrationError(
      'source-data-unsupported',
      `The source sent ${what} at byte ${this.consumed} of its RDB, in database ${this.db}, which this version does not carry.`,
    );
  }
}

const DATABASE_MAX = 2 ** 31 - 1;
/** A listpack with expiries is small by its configuration, and is converted as a whole. */
const NEVER_LARGE: ReadonlySet<number> = new Set([TYPE_REDIS_HASH_LISTPACK_EX]);
/** The opcode, the id of the module, one number that says when it was written, and the end: nothing else. */
const MODULE_DATA_EMPTY_BYTES = 1 + 9 + 2 + 1;
const NOTHING: Layout = [];
/** 1 for the types of which the value is a single string: plain ones, and the small collections of every kind. */
const SINGLE_STRINGS = new Uint8Array(256);
for (const [type, layout] of VALUE_LAYOUTS) {
  if (layout.length === 1 && layout[0]?.kind === 'string') SINGLE_STRINGS[type] = 1;
}
