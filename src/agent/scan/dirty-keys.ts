import { Suspects } from '../verify/suspects.ts';

/** A key that the source may have changed since it was last read. */
export type DirtyKey = { readonly db: number; readonly key: Buffer };

/** How a set of dirty keys is bounded. */
export type DirtyKeysOptions = {
  /** Where a file is made when there are many. */
  readonly directory: string;
  /** Called when not even the disk has room: everything must be read again, so nothing is kept. */
  readonly onOverflow: () => void;
  readonly keysInMemoryMax?: number;
  readonly bytesInMemoryMax?: number;
};

/** What is kept in memory: about 100 MB at the most, with all that stands around a key. */
const KEYS_IN_MEMORY_MAX = 250_000;
const BYTES_IN_MEMORY_MAX = 32 * 1024 * 1024;

/** Keys that were taken together, of one database; `sequence`: the number of the oldest. */
export type TakenKeys = { readonly db: number; readonly keys: readonly Buffer[]; readonly sequence: number };

/** Keys that went to the disk together; `sequence`: the number of the first of them. */
type Spill = { readonly suspects: Suspects; readonly sequence: number };
/** Such keys on their way back; `next`: the one that was read last and is not taken. */
type Drain = Spill & { readonly keys: Iterator<DirtyKey>; next: DirtyKey | undefined };

/**
 * The keys that are to be read again: each once however often it was changed, the oldest first, many of them on disk.
 * None is ever dropped; when there is no room at all {@link DirtyKeysOptions.onOverflow} says so.
 *
 * Every addition has a number. All keys that were added up to a number are taken when {@link oldest} is above it.
 */
export class DirtyKeys implements Disposable {
  readonly #options: DirtyKeysOptions;
  readonly #keysMax: number;
  readonly #bytesMax: number;
  #inMemory = new Map<string, DirtyKey & { readonly sequence: number }>();
  #bytes = 0;
  #spilling: Spill | undefined;
  #draining: Drain | undefined;
  #onDisk = 0;
  #sequence = 0;

  constructor(options: DirtyKeysOptions) {
    this.#options = options;
    this.#keysMax = options.keysInMemoryMax ?? KEYS_IN_MEMORY_MAX;
    this.#bytesMax = options.bytesInMemoryMax ?? BYTES_IN_MEMORY_MAX;
  }

  /** How many there are; on disk a key that was changed twice counts twice. */
  get count(): number {
    return this.#inMemory.size + this.#onDisk;
  }

  /** Whether so many wait that they should be read before anything else is. */
  get isPressing(): boolean {
    return this.#inMemory.size > this.#keysMax / 2 || this.#bytes > this.#bytesMax / 2 || this.#onDisk > 0;
  }

  /** The number of the latest addition. */
  get sequence(): number {
    return this.#sequence;
  }

  /** The number of the oldest addition that is not taken; infinite when there is none. */
  get oldest(): number {
    const [first] = this.#inMemory.values();
    return Math.min(
      first?.sequence ?? Number.POSITIVE_INFINITY,
      this.#spilling?.sequence ?? Number.POSITIVE_INFINITY,
      this.#draining?.sequence ?? Number.POSITIVE_INFINITY,
    );
  }

  /** Adds the key that stands in the bytes. */
  add(db: number, bytes: Buffer, start: number, end: number): void {
    this.#sequence += 1;
    const id = `${db} ${bytes.toString('latin1', start, end)}`;
    if (this.#inMemory.has(id)) return;
    if (this.#inMemory.size >= this.#keysMax || this.#bytes >= this.#bytesMax) {
      this.#spill({ db, key: bytes.subarray(start, end) });
      return;
    }
    const key = Buffer.from(bytes.subarray(start, end));
    this.#inMemory.set(id, { db, key, sequence: this.#sequence });
    this.#bytes += key.length;
  }

  /** Takes keys of one database, at most so many and only those that are free; undefined when there are none. */
  take(most: number, isFree: (key: DirtyKey) => boolean): TakenKeys | undefined {
    this.#draining ??= this.#startDrain();
    const sequence = this.oldest;
    const taken: DirtyKey[] = [];
    this.#takeFromDisk(taken, most, isFree);
    for (const [id, dirty] of this.#inMemory) {
      if (taken.length >= most) break;
      if (dirty.db !== (taken[0]?.db ?? dirty.db) || !isFree(dirty)) continue;
      this.#inMemory.delete(id);
      this.#bytes -= dirty.key.length;
      taken.push(dirty);
    }
    const [first] = taken;
    return first === undefined ? undefined : { db: first.db, keys: taken.map(({ key }) => key), sequence };
  }

  /** Forgets all of them: everything is about to be read. */
  clear(): void {
    this.#inMemory.clear();
    this.#bytes = 0;
    this.#onDisk = 0;
    this.#spilling?.suspects[Symbol.dispose]();
    this.#draining?.suspects[Symbol.dispose]();
    this.#spilling = undefined;
    this.#draining = undefined;
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #spill(dirty: DirtyKey): void {
    this.#spilling ??= { suspects: new Suspects(this.#options.directory), sequence: this.#sequence };
    const { suspects } = this.#spilling;
    if (suspects.isFull) {
      this.clear();
      this.#options.onOverflow();
      return;
    }
    suspects.add(dirty);
    this.#onDisk += 1;
  }

  #startDrain(): Drain | undefined {
    const spill = this.#spilling;
    if (spill === undefined) return undefined;
    this.#spilling = undefined;
    return { ...spill, keys: spill.suspects.unique(), next: undefined };
  }

  /** Half of what is taken, so that neither those on disk nor those in memory wait for ever. */
  #takeFromDisk(taken: DirtyKey[], most: number, isFree: (key: DirtyKey) => boolean): void {
    const draining = this.#draining;
    if (draining === undefined) return;
    const share = this.#inMemory.size === 0 ? most : Math.ceil(most / 2);
    while (taken.length < share) {
      draining.next ??= this.#readNext(draining);
      const { next } = draining;
      if (next === undefined) return;
      if (next.db !== (taken[0]?.db ?? next.db) || !isFree(next)) return;
      taken.push(next);
      draining.next = undefined;
    }
  }

  #readNext(draining: Drain): DirtyKey | undefined {
    const read = draining.keys.next();
    if (read.done !== true) {
      this.#onDisk = Math.max(0, this.#onDisk - 1);
      return { db: read.value.db, key: Buffer.from(read.value.key) };
    }
    draining.suspects[Symbol.dispose]();
    this.#draining = undefined;
    // Those that were there twice have come once.
    this.#onDisk = this.#spilling?.suspects.count ?? 0;
    return undefined;
  }
}
