import { closeSync, mkdirSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { openNameless, toSpoolError } from './spool.ts';

const READ_BYTES = 256 * 1024;

/** Encoded bytes in memory, or some of those on disk. */
export type Part = Buffer | { readonly held: HeldBytes; readonly start: number; readonly end: number };

/** How many bytes a part has. */
export function partBytes(part: Part): number {
  return Buffer.isBuffer(part) ? part.length : part.end - part.start;
}

/** Bytes of one value that are kept on disk until their number is known; nothing is left of them afterwards. */
export class HeldBytes implements Disposable {
  readonly #path: string;
  readonly #file: number;
  #size = 0;

  /** Throws spool-full, spool-failed. */
  constructor(file: string) {
    this.#path = file;
    this.#file = this.#guard(() => {
      mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
      return openNameless(file);
    });
  }

  /** How many there are. */
  get size(): number {
    return this.#size;
  }

  /** Appends a copy of the bytes. @throws spool-full, spool-failed */
  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const from = at;
      at += this.#guard(() => writeSync(this.#file, bytes, from, bytes.length - from, this.#size + from));
    }
    this.#size += bytes.length;
  }

  /** Those from `start` to before `end`, all by default, in pieces that hold until the next is asked for. @throws spool-failed */
  *pieces(start = 0, end = this.#size): Generator<Buffer> {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    for (let at = start; at < end; ) {
      const from = at;
      const wanted = Math.min(READ_BYTES, end - from);
      const count = this.#guard(() => readSync(this.#file, buffer, 0, wanted, from));
      if (count === 0) return;
      at += count;
      yield buffer.subarray(0, count);
    }
  }

  /** The same as one buffer: for what must be whole in memory. @throws spool-failed */
  read(start = 0, end = this.#size): Buffer {
    const whole = Buffer.allocUnsafe(end - start);
    let at = 0;
    for (const piece of this.pieces(start, end)) at += piece.copy(whole, at);
    return whole.subarray(0, at);
  }

  /** Gives the disk back. */
  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #guard<Result>(act: () => Result): Result {
    try {
      return act();
    } catch (error) {
      throw toSpoolError(error, path.dirname(this.#path));
    }
  }
}
