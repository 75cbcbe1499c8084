import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, statfsSync } from 'node:fs';
import path from 'node:path';
import { PartitionFile } from '../redis/partition-file.ts';

/** A key that was not equal at first sight. */
export type Suspect = { readonly db: number; readonly key: Buffer };

/** Suspects that are kept in memory; more of them go to the disk. */
export const SUSPECTS_IN_MEMORY_MAX = 2048;
const BYTES_IN_MEMORY_MAX = 8 * 1024 * 1024;
/** The most that suspects take on the disk of the host, and the most of its free space. */
const BYTES_ON_DISK_MAX = 1024 ** 3;
const SHARE_OF_FREE_DISK = 1 / 4;
/** With less than this on the disk it is not used at all. */
const BYTES_ON_DISK_LEAST = 16 * 1024 * 1024;
/** A partition is read into memory as a whole, to leave out what is in it twice. */
const PARTITIONS = 256;
/** `db(4) length(4) key` */
const HEAD_BYTES = 8;

/**
 * Keys to be looked at again: few in memory, many in a file that is gone when the process is. A key may be added more
 * than once, since a scan may return it more than once; it comes out once.
 */
export class Suspects implements Disposable {
  readonly #directory: string;
  readonly #inMemory = new Map<string, Suspect>();
  #bytesInMemory = 0;
  #file: PartitionFile | undefined;
  #bytesOnDisk = 0;
  #bytesOnDiskMax = 0;
  #count = 0;

  /** `directory`: where the file is made when there are many. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** How many there are; on the disk a key that was added twice counts twice. */
  get count(): number {
    return this.#count;
  }

  /** Whether there is no room for more. */
  get isFull(): boolean {
    return this.#file === undefined
      ? this.#bytesInMemory >= BYTES_IN_MEMORY_MAX || this.#inMemory.size >= SUSPECTS_IN_MEMORY_MAX
      : this.#bytesOnDisk >= this.#bytesOnDiskMax;
  }

  /** Keeps a copy of the key. @throws spool-full, spool-failed */
  add({ db, key }: Suspect): void {
    if (this.#file !== undefined) {
      this.#write(this.#file, { db, key });
      return;
    }
    const id = idOf({ db, key });
    if (this.#inMemory.has(id)) return;
    // A copy: the key is a view into a chunk many times its size.
    this.#inMemory.set(id, { db, key: Buffer.from(key) });
    this.#bytesInMemory += key.length;
    this.#count += 1;
    if (this.isFull) this.#spill();
  }

  /** Each key once, in no particular order. @throws spool-failed */
  *unique(): Generator<Suspect> {
    if (this.#file === undefined) {
      yield* this.#inMemory.values();
      return;
    }
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const seen = new Set<string>();
      for (const suspect of readRecords(this.#file.pieces(partition))) {
        const id = idOf(suspect);
        if (seen.has(id)) continue;
        seen.add(id);
        yield suspect;
      }
    }
  }

  /** Gives memory and disk back. */
  [Symbol.dispose](): void {
    this.#inMemory.clear();
    this.#file?.[Symbol.dispose]();
    this.#file = undefined;
  }

  /** Where the disk has no room either it stays in memory, and full. */
  #spill(): void {
    this.#bytesOnDiskMax = roomOnDisk(this.#directory);
    if (this.#bytesOnDiskMax < BYTES_ON_DISK_LEAST) return;
    const name = `suspects-${randomBytes(6).toString('hex')}`;
    const file = new PartitionFile(path.join(this.#directory, name), PARTITIONS);
    this.#file = file;
    this.#count = 0;
    for (const suspect of this.#inMemory.values()) this.#write(file, suspect);
    this.#inMemory.clear();
    this.#bytesInMemory = 0;
  }

  #write(file: PartitionFile, { db, key }: Suspect): void {
    const record = Buffer.allocUnsafe(HEAD_BYTES + key.length);
    record.writeUInt32LE(db, 0);
    record.writeUInt32LE(key.length, 4);
    key.copy(record, HEAD_BYTES);
    file.push(partitionOf(record), record);
    this.#bytesOnDisk += record.length;
    this.#count += 1;
  }
}

/** Suspects of one database together, at most so many. */
export function* batchesOf(
  suspects: Iterable<Suspect>,
  size: number,
): Generator<{ readonly db: number; readonly batch: readonly Suspect[] }> {
  const byDatabase = new Map<number, Suspect[]>();
  for (const suspect of suspects) {
    const group = byDatabase.get(suspect.db);
    if (group === undefined) byDatabase.set(suspect.db, [suspect]);
    else group.push(suspect);
  }
  for (const [db, group] of byDatabase) {
    for (let from = 0; from < group.length; from += size) yield { db, batch: group.slice(from, from + size) };
  }
}

/** Suspects one group after the other, each of bounded size; a single one may be larger. */
export function* groupsOf(
  suspects: Iterable<Suspect>,
  most: { readonly keys: number; readonly bytes: number },
): Generator<readonly Suspect[]> {
  let group: Suspect[] = [];
  let bytes = 0;
  for (const suspect of suspects) {
    group.push(suspect);
    bytes += suspect.key.length;
    if (group.length < most.keys && bytes < most.bytes) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

function roomOnDisk(directory: string): number {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { bavail, bsize } = statfsSync(directory);
  return Math.min(BYTES_ON_DISK_MAX, Math.floor(bavail * bsize * SHARE_OF_FREE_DISK));
}

/** Any even spread serves; a digest is one whatever names there are. */
function partitionOf(record: Buffer): number {
  return createHash('md5').update(record).digest().readUInt16LE(0) % PARTITIONS;
}

function idOf({ db, key }: Suspect): string {
  return `${db} ${key.toString('latin1')}`;
}

/** Records go over the ends of pieces. */
function* readRecords(pieces: Iterable<Buffer>): Generator<Suspect> {
  let rest = Buffer.alloc(0);
  for (const piece of pieces) {
    const bytes = rest.length === 0 ? Buffer.from(piece) : Buffer.concat([rest, piece]);
    let at = 0;
    while (at + HEAD_BYTES <= bytes.length) {
      const end = at + HEAD_BYTES + bytes.readUInt32LE(at + 4);
      if (end > bytes.length) break;
      yield { db: bytes.readUInt32LE(at), key: bytes.subarray(at + HEAD_BYTES, end) };
      at = end;
    }
    rest = bytes.subarray(at);
  }
}
