import { closeSync, mkdirSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { openNameless, toSpoolError } from '../redis/spool.ts';

const READ_BYTES = 256 * 1024;

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

  /** All of them, in pieces that hold until the next is asked for. @throws spool-failed */
  *pieces(): Generator<Buffer> {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    for (let at = 0; at < this.#size; ) {
      const from = at;
      const count = this.#guard(() => readSync(this.#file, buffer, 0, READ_BYTES, from));
      if (count === 0) return;
      at += count;
      yield buffer.subarray(0, count);
    }
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
