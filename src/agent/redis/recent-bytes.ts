import { type Arrival, findArrival, lastUpTo, noteArrival } from './arrivals.ts';

/** What bytes are copied into. */
const BLOCK_BYTES = 64 * 1024;

type Block = { readonly from: number; readonly buffer: Buffer; used: number; readonly arrivals: Arrival[] };

/** Bytes of a stream that lie together, and when they had arrived. */
export type Piece = { readonly bytes: Buffer; readonly arrivedAtMs: number };

/** The last bytes of a stream, in memory; each has a place, which is its number from some beginning on. */
export class RecentBytes {
  readonly #blocks: Block[] = [];
  #from: number;
  #end: number;
  /** Blocks that have been given up, to be filled again. */
  readonly #free: Buffer[];
  #allocatedBytes = 0;

  /** `free` is shared by those that follow one another. */
  constructor(from: number, free: Buffer[]) {
    this.#free = free;
    this.#from = from;
    this.#end = from;
  }

  /** The place of the first byte that is kept. */
  get from(): number {
    return this.#from;
  }

  /** The place behind the last one. */
  get end(): number {
    return this.#end;
  }

  get bytes(): number {
    return this.#end - this.#from;
  }

  /** The memory that they take, with what is allocated and not used yet. */
  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  /** Appends a copy of the bytes. */
  push(bytes: Buffer, arrivedAtMs: number): void {
    for (let at = 0; at < bytes.length; ) {
      const block = this.#blockToFill();
      noteArrival(block.arrivals, { from: this.#end, atMs: arrivedAtMs });
      const count = bytes.copy(block.buffer, block.used, at);
      block.used += count;
      this.#end += count;
      at += count;
    }
  }

  /** Puts bytes before the first one. */
  unshift({ bytes, arrivedAtMs }: Piece): void {
    this.#from -= bytes.length;
    const arrivals = [{ from: this.#from, atMs: arrivedAtMs }];
    this.#blocks.unshift({ from: this.#from, buffer: bytes, used: bytes.length, arrivals });
    this.#allocatedBytes += bytes.length;
  }

  /** What lies from a place on, up to where its block ends or the next arrival begins; undefined beyond the end. */
  at(place: number): Piece | undefined {
    const block = this.#blocks[lastUpTo(this.#blocks, place)];
    if (block === undefined || place < this.#from || place >= this.#end) return undefined;
    const { atMs, end } = findArrival(block.arrivals, place);
    const until = Math.min(end - block.from, block.used);
    return { bytes: block.buffer.subarray(place - block.from, until), arrivedAtMs: atMs };
  }

  /** Gives up blocks that lie before a place altogether: what was read from them must not be used any more. */
  dropBefore(place: number): void {
    let dropped = 0;
    for (const { from, used, buffer } of this.#blocks) {
      if (from + used > place) break;
      dropped += 1;
      this.#allocatedBytes -= buffer.length;
      if (buffer.length === BLOCK_BYTES) this.#free.push(buffer);
    }
    if (dropped === 0) return;
    this.#blocks.splice(0, dropped);
    this.#from = this.#blocks[0]?.from ?? this.#end;
  }

  #blockToFill(): Block {
    const last = this.#blocks.at(-1);
    if (last !== undefined && last.used < last.buffer.length) return last;
    const buffer = this.#free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
    const block = { from: this.#end, buffer, used: 0, arrivals: [] };
    this.#blocks.push(block);
    this.#allocatedBytes += BLOCK_BYTES;
    return block;
  }
}
