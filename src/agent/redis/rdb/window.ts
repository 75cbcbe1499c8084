import { MigrationError } from '../../../core/errors.ts';
import {
  decodeString,
  type LengthCursor,
  readLength,
  readStringHead,
  type StringHead,
  skipString,
} from './string.ts';

/** The largest serialised value that is taken: what a bulk string of RESTORE or SET may be, and its head. */
export const VALUE_BYTES_MAX = 512 * 1024 * 1024 + 16;
/** Strings within a large value that are longer come in pieces. */
export const WHOLE_STRING_BYTES_MAX = 64 * 1024;
const WINDOW_BYTES = 1024 * 1024;
/** A window that has grown beyond this for one large value is given back after it. */
const WINDOW_KEPT_BYTES = 8 * WINDOW_BYTES;

/**
 * Serialised bytes that are not read yet, and the parts that are taken out of them one after the other.
 *
 * What has been taken stays where it is until the next `push`, which may move what is left. No object is made for a
 * part. Its methods throw source-protocol-error for what is no serialisation, source-data-unsupported for what is too
 * large.
 */
export class RdbWindow {
  window: Buffer = Buffer.allocUnsafe(WINDOW_BYTES);
  /** Where the next part begins, and up to where the window is filled. */
  protected at = 0;
  protected end = 0;
  /** Bytes before the window. */
  #offset = 0;
  readonly #cursor: LengthCursor = { value: 0, next: 0 };

  /** Bytes that are read: up to the end of the last part. */
  get consumed(): number {
    return this.#offset + this.at;
  }

  /** Takes over a copy of the next bytes. */
  push(chunk: Buffer): void {
    if (this.end + chunk.length > this.window.length) this.#makeRoom(chunk.length);
    chunk.copy(this.window, this.end);
    this.end += chunk.length;
  }

  /** Takes a length out of a large value; -1 when it has not all arrived. */
  takeLength(): number {
    readLength(this.window, this.at, this.end, this.#cursor);
    if (this.#cursor.next === -1) return -1;
    this.at = this.#cursor.next;
    return this.#cursor.value;
  }

  /** Takes so many bytes: a view that holds until the next `push`; undefined when they have not all arrived. */
  takeBytes(count: number): Buffer | undefined {
    if (this.at + count > this.end) return undefined;
    this.at += count;
    return this.window.subarray(this.at - count, this.at);
  }

  /** Takes what there is, at most so many bytes: a view that holds until the next `push`, possibly empty. */
  takeSome(bytesMax: number): Buffer {
    const from = this.at;
    this.at = Math.min(this.end, from + bytesMax);
    return this.window.subarray(from, this.at);
  }

  /** Takes a string, decoded, however long: it holds until the next `push`; undefined when it has not all arrived. */
  takeWhole(): Buffer | undefined {
    const from = this.at;
    const end = skipString(this.window, from, this.end);
    if (end - from > VALUE_BYTES_MAX) throw tooLong();
    if (end === -1 || end > this.end) return undefined;
    this.at = end;
    return decodeString(this.window, from, end);
  }

  /** Takes a string, or of a long one its head: its bytes must then be taken by `takeSome`. Undefined as above. */
  takeString(): Buffer | StringHead | undefined {
    const end = skipString(this.window, this.at, this.end);
    if (end === -1) return undefined;
    const isShort = end - this.at <= WHOLE_STRING_BYTES_MAX;
    if (isShort && this.window[this.at] !== COMPRESSED) return this.takeWhole();
    const head = readStringHead(this.window, this.at, this.end);
    if (head === undefined) return undefined;
    if (head.plainBytes <= WHOLE_STRING_BYTES_MAX) return this.takeWhole();
    this.at += head.headBytes;
    return head;
  }

  /** Where the next `take…` begins, to come back to before the next `push`. */
  get place(): number {
    return this.at;
  }

  /** Up to where the window is filled. */
  get filledTo(): number {
    return this.end;
  }

  /** Goes back to a {@link place}. */
  returnTo(place: number): void {
    this.at = place;
  }

  /** Told before the first `count` bytes leave the window, and all positions become smaller by as many. */
  protected onDrop(_count: number): void {}

  /** Drops what is read, and grows the window when the part under way needs more. */
  #makeRoom(bytes: number): void {
    const { at } = this;
    const pending = this.end - at;
    // By what has come, not by what a length claims: a damaged one claims anything.
    const needed = pending + bytes;
    this.onDrop(at);
    let size = this.window.length;
    if (size > WINDOW_KEPT_BYTES && needed < WINDOW_BYTES) size = WINDOW_BYTES;
    if (size < needed) size = Math.max(needed, Math.min(size * 2, VALUE_BYTES_MAX));
    const window = size === this.window.length ? this.window : Buffer.allocUnsafe(size);
    this.window.copy(window, 0, at, this.end);
    this.window = window;
    this.#offset += at;
    this.at = 0;
    this.end = pending;
  }
}

const COMPRESSED = 0xc3;

function tooLong(): MigrationError {
  return new MigrationError(
    'source-data-unsupported',
    `The source holds a string of more than ${VALUE_BYTES_MAX} bytes, which this version does not carry.`,
  );
}
