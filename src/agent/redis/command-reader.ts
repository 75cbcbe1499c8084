import { MigrationError } from '../../core/errors.ts';
import type { HeldBytes, Part } from './held-bytes.ts';
import { Spellings } from './spellings.ts';

/*
 * stream  = *( command | inline )
 * command = "*" count CRLF 1*( "$" length CRLF bytes CRLF )
 * inline  = [text] [CR] LF                     only empty ones, which keep the connection alive, and PING
 */

/** The largest command that is taken: a value of 512 MiB and its company. */
export const COMMAND_BYTES_MAX = 576 * 1024 * 1024;
/** An argument from this size on is kept on disk until its command is complete. */
export const HELD_ARGUMENT_BYTES_MIN = 2 * 1024 * 1024;
/** A command of this size of which only the first arguments matter: the others are kept on disk as they are encoded. */
const HELD_REST_BYTES_MIN = 4 * 1024 * 1024;
/** The name and what stands behind it: the key of most commands. */
const KNOWN_ARGUMENTS_MIN = 2;
const WINDOW_BYTES = 1024 * 1024;
const WINDOW_KEPT_BYTES = 8 * WINDOW_BYTES;
const ARGUMENTS_MAX = 1024 * 1024 * 1024;
const [STAR, DOLLAR, CARRIAGE_RETURN, LINE_FEED, ZERO] = [42, 36, 13, 10, 48];
/** The digits that the length of a small argument has at most. */
const SMALL_DIGITS_MAX = 5;

/** What was taken out of the window at a place, where now nothing is: an argument, or all from one on, encoded. */
type Cut = { readonly index: number; readonly isRest: boolean; at: number; readonly held: HeldBytes };

/** How a {@link CommandReader} keeps large commands. */
export type CommandReaderOptions = {
  /** Opens a place on disk. */
  readonly hold: () => HeldBytes;
  /** Whether all arguments of a command must be known, by its name as it was spelled; else a large one is only passed on. */
  readonly isTranslated: (name: string) => boolean;
  readonly heldArgumentBytesMin?: number;
  readonly heldRestBytesMin?: number;
};

/**
 * Cuts the command stream of a source into commands, as ranges in one window: most are passed on as they are.
 *
 * A command that is not complete yet is continued where it was left, so that one of any size is looked at once. Its
 * large arguments wait on disk: whether and how it is translated shows only at its end, and the memory must not depend
 * on what clients write.
 */
export class CommandReader implements Disposable {
  window: Buffer = Buffer.allocUnsafe(WINDOW_BYTES);
  /** The bytes of the current command in the window. */
  start = 0;
  end = 0;
  /** How many arguments the current command has, its name included; 0 for an empty line. */
  argumentCount = 0;
  /** Where each argument begins and ends in the window. */
  #ranges: Int32Array = new Int32Array(2 * 1024);
  /** Bytes before the window. */
  #windowOffset = 0;
  #filled = 0;
  #scanned = 0;
  #found = 0;
  #announced = -1;
  /** The large arguments of the command under way. */
  #cuts: Cut[] = [];
  /** The last of them, when it holds all arguments but the first. */
  #rest: Cut | undefined;
  /** How much of the last of them is still to come; -1 when none is under way. */
  #cutLeft = -1;
  readonly #spellings = new Spellings((text) => text);
  /** How many of the arguments found have a range. */
  #ranged = 0;
  readonly #options: Required<CommandReaderOptions>;
  /** Nothing of a command below this size is taken out of the window. */
  readonly #smallBytesMax: number;

  constructor(options: CommandReaderOptions) {
    const bounds = {
      heldArgumentBytesMin: HELD_ARGUMENT_BYTES_MIN,
      heldRestBytesMin: HELD_REST_BYTES_MIN,
    };
    this.#options = { ...bounds, ...options };
    const { heldArgumentBytesMin, heldRestBytesMin } = this.#options;
    this.#smallBytesMax = Math.min(heldArgumentBytesMin, heldRestBytesMin);
  }

  /** Bytes of the stream up to the end of the current command. */
  get consumed(): number {
    return this.#windowOffset + this.end;
  }

  /** Takes over a copy of the next bytes of the stream. */
  push(chunk: Buffer): void {
    if (this.#filled + chunk.length > this.window.length) this.#makeRoom(chunk.length);
    chunk.copy(this.window, this.#filled);
    this.#filled += chunk.length;
  }

  /** Goes to the next command; false when its bytes have not all arrived. Throws source-protocol-error. */
  next(): boolean {
    if (this.#announced === -1) {
      if (this.#cuts.length > 0) this[Symbol.dispose]();
      const small = this.#readSmall();
      if (small !== 'other') return small === 'found';
      this.start = this.end;
      if (this.start >= this.#filled) return false;
      if (this.window[this.start] !== STAR) return this.#readInline();
      const count = this.#readNumber(this.start);
      if (count === -1) return false;
      if (count > ARGUMENTS_MAX) throw malformedStream();
      this.#announced = count;
      this.#found = 0;
      this.#ranged = 0;
    }
    while (this.#found < this.#announced) {
      if (this.#cutLeft !== -1) {
        if (!this.#endCut()) return false;
        continue;
      }
      if (this.#scanned >= this.#filled) return false;
      if (this.window[this.#scanned] !== DOLLAR) throw malformedStream();
      const at = this.#scanned;
      const length = this.#readNumber(at);
      if (length === -1) return false;
      const from = this.#scanned;
      if (from + length + 2 - this.start + this.#heldBytes > COMMAND_BYTES_MAX) throw tooLarge();
      if (length >= this.#options.heldArgumentBytesMin) {
        if (this.#rest !== undefined) this.#cutRest();
        else this.#cuts.push({ index: this.#found, isRest: false, at: from, held: this.#options.hold() });
        this.#cutLeft = length;
        continue;
      }
      if (from + length + 2 > this.#filled) {
        this.#scanned = at;
        return false;
      }
      this.#addRange(from, from + length);
      this.#scanned = from + length + 2;
      if (this.#scanned - this.start >= this.#options.heldRestBytesMin) this.#cutRest();
    }
    this.argumentCount = this.#announced;
    this.#announced = -1;
    this.end = this.#scanned;
    this.#windowOffset += this.#heldBytes;
    return true;
  }

  /** The argument's bytes: a view that holds until the next `push`; of one on disk a copy of all of it. */
  argument(index: number): Buffer {
    if (this.#cuts.length > 0) {
      const held = this.heldArgument(index);
      if (held !== undefined) return held.read();
      if (index >= this.#ranged) throw new Error(`argument ${index} was not kept apart`);
    }
    return this.window.subarray(this.#ranges[2 * index], this.#ranges[2 * index + 1]);
  }

  /** Where the argument begins in the window; only of a command that is not held. */
  argumentStart(index: number): number {
    return this.#ranges[2 * index] ?? 0;
  }

  /** Where the argument ends in the window. */
  argumentEnd(index: number): number {
    return this.#ranges[2 * index + 1] ?? 0;
  }

  /** Whether arguments of the current command are on disk: then its bytes in the window are not all of it. */
  get isHeld(): boolean {
    return this.#cuts.length > 0;
  }

  /** The argument on disk, until the next command; undefined when it is in the window. */
  heldArgument(index: number): HeldBytes | undefined {
    return this.#cuts.find((cut) => cut.index === index && !cut.isRest)?.held;
  }

  /** The whole command as it came: views like the arguments. */
  parts(): readonly Part[] {
    return this.#partsOf(this.start, this.end);
  }

  /**
   * The command in pieces, with `replacement`, encoded bulk strings, instead of the arguments from `from` to before
   * `to`, as many as it holds: views like the arguments, so that a large value beside them is not copied.
   */
  replaced(from: number, to: number, replacement: Buffer): readonly Part[] {
    const before = (this.#ranges[2 * from - 1] ?? 0) + LINE_END_BYTES;
    const behind = (this.#ranges[2 * to - 1] ?? 0) + LINE_END_BYTES;
    return [...this.#partsOf(this.start, before), replacement, ...this.#partsOf(behind, this.end)];
  }

  /** Gives back what the arguments on disk take. */
  [Symbol.dispose](): void {
    for (const { held } of this.#cuts) held[Symbol.dispose]();
    this.#cuts = [];
    this.#rest = undefined;
  }

  #partsOf(from: number, to: number): Part[] {
    const parts: Part[] = [];
    let at = from;
    for (const cut of this.#cuts) {
      if (cut.at < from || cut.at > to) continue;
      parts.push(this.window.subarray(at, cut.at), { held: cut.held, start: 0, end: cut.held.size });
      at = cut.at;
    }
    parts.push(this.window.subarray(at, to));
    return parts;
  }

  get #heldBytes(): number {
    let bytes = 0;
    for (const { held } of this.#cuts) bytes += held.size;
    return bytes + Math.max(0, this.#cutLeft);
  }

  /** Takes what has come of the argument under way out of the window; true when it is complete, with its line end. */
  #endCut(): boolean {
    const cut = this.#cuts.at(-1);
    const count = Math.min(this.#cutLeft, this.#filled - this.#scanned);
    if (count > 0) {
      cut?.held.push(this.window.subarray(this.#scanned, this.#scanned + count));
      this.window.copyWithin(this.#scanned, this.#scanned + count, this.#filled);
      this.#filled -= count;
      this.#cutLeft -= count;
    }
    if (this.#cutLeft > 0 || this.#scanned + LINE_END_BYTES > this.#filled) return false;
    this.#addRange(this.#scanned, this.#scanned);
    this.#scanned += LINE_END_BYTES;
    this.#cutLeft = -1;
    return true;
  }

  /** Takes what is scanned of a command out of the window, but for the first arguments, unless all are needed. */
  #cutRest(): void {
    let rest = this.#rest;
    if (rest === undefined) {
      if (this.#found <= KNOWN_ARGUMENTS_MIN || this.#cuts.length > 0) return;
      if (this.#options.isTranslated(this.name)) return;
      const at = (this.#ranges[2 * KNOWN_ARGUMENTS_MIN - 1] ?? 0) + LINE_END_BYTES;
      rest = { index: KNOWN_ARGUMENTS_MIN, isRest: true, at, held: this.#options.hold() };
      this.#cuts.push(rest);
      this.#rest = rest;
      this.#ranged = KNOWN_ARGUMENTS_MIN;
    }
    rest.held.push(this.window.subarray(rest.at, this.#scanned));
    this.window.copyWithin(rest.at, this.#scanned, this.#filled);
    this.#filled -= this.#scanned - rest.at;
    this.#scanned = rest.at;
  }

  /** The name as it is spelled. */
  get name(): string {
    return this.#spellings.find(this.window, this.#ranges[0] ?? 0, this.#ranges[1] ?? 0);
  }

  /** The argument as text. */
  text(index: number): string {
    return this.window.toString('latin1', this.#ranges[2 * index], this.#ranges[2 * index + 1]);
  }

  /** Whether the argument's bytes are these. */
  isArgument(index: number, bytes: Buffer): boolean {
    const start = this.#ranges[2 * index] ?? 0;
    const end = this.#ranges[2 * index + 1] ?? 0;
    return end - start === bytes.length && this.window.compare(bytes, 0, bytes.length, start, end) === 0;
  }

  /**
   * Goes to the next command when it is one as nearly all are: few arguments, none large, all arrived. Whatever it
   * finds else is looked at anew. The plain way took three times as long for these.
   *
   * What lies behind the bytes that have arrived is of an earlier time: who comes to stand there has not got all of a
   * command, whatever it seems to be. That is told here, because it happens at the end of every piece.
   */
  #readSmall(): 'found' | 'partial' | 'other' {
    const window = this.window;
    const ranges = this.#ranges;
    const start = this.end;
    const count = (window[start + 1] ?? 0) - ZERO;
    if (window[start] !== STAR || count < 1 || count > 9 || window[start + 2] !== CARRIAGE_RETURN)
      return 'other';
    let at = start + 4;
    for (let slot = 0; slot < 2 * count; slot += 2) {
      if (window[at] !== DOLLAR) return 'other';
      let length = 0;
      const digits = at + 1;
      for (at = digits; window[at] !== CARRIAGE_RETURN; at++) {
        const digit = (window[at] ?? 0) - ZERO;
        if (digit < 0 || digit > 9 || at - digits >= SMALL_DIGITS_MAX) return 'other';
        length = length * 10 + digit;
      }
      if (at === digits) return 'other';
      at += 2;
      ranges[slot] = at;
      at += length;
      ranges[slot + 1] = at;
      at += 2;
      if (at - start >= this.#smallBytesMax) return 'other';
      if (at > this.#filled) return 'partial';
    }
    this.start = start;
    this.end = at;
    this.#scanned = at;
    this.#ranged = count;
    this.argumentCount = count;
    return 'found';
  }

  #readInline(): boolean {
    const lineEnd = this.window.subarray(this.start, this.#filled).indexOf(LINE_FEED);
    if (lineEnd === -1) {
      if (this.#filled - this.start > INLINE_BYTES_MAX) throw malformedStream();
      return false;
    }
    const line = this.window.toString('latin1', this.start, this.start + lineEnd).trim();
    if (line !== '' && !/^ping$/i.test(line)) throw malformedStream();
    this.end = this.start + lineEnd + 1;
    this.#scanned = this.end;
    this.argumentCount = 0;
    return true;
  }

  /** Reads `digits CRLF` behind the mark at `at`, and stands behind it; -1 when it is not complete. */
  #readNumber(at: number): number {
    let value = 0;
    let index = at + 1;
    for (; index < this.#filled; index++) {
      const byte = this.window[index] ?? 0;
      if (byte === CARRIAGE_RETURN) break;
      if (byte < 48 || byte > 57 || index - at > 10) throw malformedStream();
      value = value * 10 + byte - 48;
    }
    if (index + 1 >= this.#filled) return -1;
    if (index === at + 1) throw malformedStream();
    this.#scanned = index + 2;
    return value;
  }

  #addRange(from: number, to: number): void {
    this.#found += 1;
    if (this.#rest !== undefined) return;
    const slot = 2 * this.#ranged;
    if (slot >= this.#ranges.length) {
      const larger = new Int32Array(this.#ranges.length * 2);
      larger.set(this.#ranges);
      this.#ranges = larger;
    }
    this.#ranges[slot] = from;
    this.#ranges[slot + 1] = to;
    this.#ranged += 1;
  }

  #makeRoom(bytes: number): void {
    const from = this.#announced === -1 ? this.end : this.start;
    const pending = this.#filled - from;
    const needed = pending + bytes;
    let size = this.window.length;
    if (size > WINDOW_KEPT_BYTES && needed < WINDOW_BYTES) size = WINDOW_BYTES;
    if (size < needed) size = Math.max(needed, size * 2);
    if (size > COMMAND_BYTES_MAX * 2) throw tooLarge();
    const { window } = this;
    if (size === window.length) {
      window.copyWithin(0, from, this.#filled);
    } else {
      this.window = Buffer.allocUnsafe(size);
      window.copy(this.window, 0, from, this.#filled);
    }
    this.#windowOffset += from;
    for (let slot = 0; slot < 2 * this.#ranged; slot++) {
      this.#ranges[slot] = (this.#ranges[slot] ?? 0) - from;
    }
    for (const cut of this.#cuts) cut.at -= from;
    this.start = 0;
    this.end -= from;
    this.#scanned = Math.max(0, this.#scanned - from);
    this.#filled = pending;
  }
}

const INLINE_BYTES_MAX = 64 * 1024;
const LINE_END_BYTES = 2;

function malformedStream(): MigrationError {
  return new MigrationError('source-protocol-error', 'The command stream of the source is malformed.', {
    remedy: 'Run the phase again: it resumes from the last checkpoint.',
  });
}

function tooLarge(): MigrationError {
  return new MigrationError(
    'source-data-unsupported',
    `The source sent a command of more than ${COMMAND_BYTES_MAX} bytes.`,
  );
}
