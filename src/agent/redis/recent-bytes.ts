import { type Arrival, findArrival, lastUpTo, noteArrival } from './arrivals.ts';

/** Chunks from this size on are kept as they are; smaller ones are copied together. */
const OWN_BLOCK_BYTES_MIN = 16 * 1024;
/** What small chunks are copied into. */
const BLOCK_BYTES = 64 * 1024;

type Block = { readonly from: number; readonly buffer: Buffer; used: number; readonly arrivals: Arrival[] };

/** Bytes of a stream that lie together, and when they had arrived. */
export type Piece = { readonly bytes: Buffer; readonly arrivedAtMs: number };

/** The last bytes of a stream, in memory; each has a place, which is its number from some beginning on. */
export class RecentBytes {
  readonly #blocks: Block[] = [];
  #from: number;
  #end: number;
  #allocatedBytes = 0;

  constructor(from: number) {
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

  /** Appends bytes; large chunks are kept without a copy and must not change. */
  push(chunk: Buffer, arrivedAtMs: number): void {
    const arrival = { from: this.#end, atMs: arrivedAtMs };
    if (chunk.length >= OWN_BLOCK_BYTES_MIN) {
      this.#blocks.push({ from: this.#end, buffer: chunk, used: chunk.length, arrivals: [arrival] });
      this.#allocatedBytes += chunk.length;
    } else {
      const block = this.#blockFor(chunk.length);
      noteArrival(block.arrivals, arrival);
      block.used += chunk.copy(block.buffer, block.used);
    }
    this.#end += chunk.length;
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

  /** Gives up blocks that lie before a place altogether. */
  dropBefore(place: number): void {
    let dropped = 0;
    for (const { from, used, buffer } of this.#blocks) {
      if (from + used > place) break;
      dropped += 1;
      this.#allocatedBytes -= buffer.length;
    }
    if (dropped === 0) return;
    this.#blocks.splice(0, dropped);
    this.#from = this.#blocks[0]?.from ?? this.#end;
  }

  #blockFor(bytes: number): Block {
    const last = this.#blocks.at(-1);
    if (last !== undefined && last.buffer.length - last.used >= bytes) return last;
    const block = { from: this.#end, buffer: Buffer.allocUnsafeSlow(BLOCK_BYTES), used: 0, arrivals: [] };
    this.#blocks.push(block);
    this.#allocatedBytes += BLOCK_BYTES;
    return block;
  }
}
