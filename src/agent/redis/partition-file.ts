import { closeSync, mkdirSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { openNameless, toSpoolError } from './spool.ts';

/** What is gathered of each partition before it is written. */
const GATHERED_BYTES = 16 * 1024;

type Stretch = { readonly at: number; readonly bytes: number };
type Partition = { count: number; buffer: Buffer | undefined; used: number; readonly stretches: Stretch[] };

/** Records on disk, each in one of a number of partitions that are read back one by one; nothing is left afterwards. */
export class PartitionFile implements Disposable {
  readonly #path: string;
  readonly #file: number;
  readonly #partitions: Partition[];
  #size = 0;

  /** Throws spool-full, spool-failed. */
  constructor(file: string, partitions: number) {
    this.#path = file;
    this.#partitions = Array.from({ length: partitions }, () => ({
      count: 0,
      buffer: undefined,
      used: 0,
      stretches: [],
    }));
    this.#file = this.#guard(() => {
      mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
      return openNameless(file);
    });
  }

  /** Appends a copy of the bytes to a partition. @throws spool-full, spool-failed */
  push(partition: number, bytes: Buffer): void {
    const gathered = this.#partition(partition);
    gathered.count += 1;
    if (gathered.used + bytes.length > GATHERED_BYTES) this.#flush(gathered);
    if (bytes.length > GATHERED_BYTES) {
      this.#write(gathered, bytes);
      return;
    }
    gathered.buffer ??= Buffer.allocUnsafeSlow(GATHERED_BYTES);
    gathered.used += bytes.copy(gathered.buffer, gathered.used);
  }

  /** How many records a partition has. */
  count(partition: number): number {
    return this.#partition(partition).count;
  }

  /** Everything in a partition, in the order of `push`. A record may go over the end of a piece. @throws spool-failed */
  *pieces(partition: number): Generator<Buffer> {
    const { stretches, buffer, used } = this.#partition(partition);
    for (const { at, bytes } of stretches) {
      const piece = Buffer.allocUnsafe(bytes);
      for (let read = 0; read < bytes; ) {
        const from = read;
        const count = this.#guard(() => readSync(this.#file, piece, from, bytes - from, at + from));
        if (count === 0) throw toSpoolError(new Error('a file has become shorter'), path.dirname(this.#path));
        read += count;
      }
      yield piece;
    }
    if (buffer !== undefined && used > 0) yield buffer.subarray(0, used);
  }

  /** Gives the disk back. */
  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #partition(index: number): Partition {
    const partition = this.#partitions[index];
    if (partition === undefined) throw new Error(`there is no partition ${index}`);
    return partition;
  }

  #flush(partition: Partition): void {
    if (partition.buffer === undefined || partition.used === 0) return;
    this.#write(partition, partition.buffer.subarray(0, partition.used));
    partition.used = 0;
  }

  #write({ stretches }: Partition, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const from = at;
      at += this.#guard(() => writeSync(this.#file, bytes, from, bytes.length - from, this.#size + from));
    }
    stretches.push({ at: this.#size, bytes: bytes.length });
    this.#size += bytes.length;
  }

  #guard<Result>(act: () => Result): Result {
    try {
      return act();
    } catch (error) {
      throw toSpoolError(error, path.dirname(this.#path));
    }
  }
}
