import { randomBytes } from 'node:crypto';

/** Keys of one bucket, as two halves of a sum: what one line of the processor's cache holds. */
const BUCKET_KEYS = 8;
const BUCKET_SLOTS = 2 * BUCKET_KEYS;
/** A key whose bucket is full is looked for in the next ones. */
const PROBED_SLOTS = 4 * BUCKET_SLOTS;
const BUCKETS_MIN = 2 ** 10;
/** 8 MiB. */
const BUCKETS_MAX = 2 ** 17;
/** In few steps: what it outgrows is given back late. */
const GROWTH = 4;
/** From this share on it grows. */
const LOAD_MAX = 0.45;

/**
 * Tells keys that it has seen from new ones, in bounded memory: each as a sum of 64 bits under a seed of its own.
 *
 * When it is full it forgets older keys for newer ones, and takes them for new when they come again. That two keys have
 * the same sum, so that one is never new, happens among a million keys once in 30 million runs.
 */
export class KeyFilter {
  readonly #seedLow: number;
  readonly #seedHigh: number;
  readonly #bucketsMax: number;
  #mask: number;
  /** Low and high half of each key; both 0 where there is none. */
  #table: Int32Array;
  #count = 0;
  #turn = 0;

  /** `bucketsMax`: a power of 2; eight keys each. */
  constructor(bucketsMax = BUCKETS_MAX) {
    const seed = randomBytes(8);
    this.#seedLow = seed.readInt32LE(0);
    this.#seedHigh = seed.readInt32LE(4);
    this.#bucketsMax = bucketsMax;
    const buckets = Math.min(BUCKETS_MIN, bucketsMax);
    this.#mask = buckets - 1;
    this.#table = new Int32Array(buckets * BUCKET_SLOTS);
  }

  /** Adds the key that stands in the bytes; whether it is new. */
  add(db: number, bytes: Buffer, start: number, end: number): boolean {
    // Two sums with other factors, over four bytes at a time, which are mixed into each other at the end.
    let low = this.#seedLow ^ Math.imul(db + 1, 0x27d4eb2f);
    let high = this.#seedHigh ^ Math.imul(end - start, 0x165667b1);
    let at = start;
    for (; at + 4 <= end; at += 4) {
      const word =
        (bytes[at] ?? 0) |
        ((bytes[at + 1] ?? 0) << 8) |
        ((bytes[at + 2] ?? 0) << 16) |
        ((bytes[at + 3] ?? 0) << 24);
      low = Math.imul(low ^ word, 0x85ebca6b);
      low ^= low >>> 15;
      high = Math.imul(((high << 13) | (high >>> 19)) + word, 0x9e3779b1);
      high ^= high >>> 16;
    }
    for (; at < end; at++) {
      low = Math.imul(low ^ (bytes[at] ?? 0), 0x85ebca6b);
      low ^= low >>> 15;
      high = Math.imul(((high << 13) | (high >>> 19)) + (bytes[at] ?? 0), 0x9e3779b1);
      high ^= high >>> 16;
    }
    low = mix(low + high, 0xc2b2ae35);
    high = mix(high ^ low, 0x7feb352d);
    return this.#addSum(low, low === 0 && high === 0 ? 1 : high);
  }

  #addSum(low: number, high: number): boolean {
    const table = this.#table;
    const from = (low & this.#mask) * BUCKET_SLOTS;
    for (let step = 0; step < PROBED_SLOTS; step += 2) {
      const slot = (from + step) & (table.length - 1);
      const foundLow = table[slot];
      const foundHigh = table[slot + 1];
      if (foundLow === low && foundHigh === high) return false;
      if (foundLow !== 0 || foundHigh !== 0) continue;
      table[slot] = low;
      table[slot + 1] = high;
      this.#count += 1;
      if (this.#count > LOAD_MAX * BUCKET_KEYS * (this.#mask + 1)) this.#grow();
      return true;
    }
    this.#turn = (this.#turn + 1) % BUCKET_KEYS;
    table[from + 2 * this.#turn] = low;
    table[from + 2 * this.#turn + 1] = high;
    return true;
  }

  #grow(): void {
    const buckets = this.#mask + 1;
    if (buckets >= this.#bucketsMax) return;
    const before = this.#table;
    const grown = Math.min(GROWTH * buckets, this.#bucketsMax);
    this.#table = new Int32Array(grown * BUCKET_SLOTS);
    this.#mask = grown - 1;
    this.#count = 0;
    for (let slot = 0; slot < before.length; slot += 2) {
      const low = before[slot] ?? 0;
      const high = before[slot + 1] ?? 0;
      if (low !== 0 || high !== 0) this.#addSum(low, high);
    }
  }
}

/** Spreads every bit over all of them. */
function mix(value: number, factor: number): number {
  const once = Math.imul(value ^ (value >>> 16), factor);
  const twice = Math.imul(once ^ (once >>> 13), 0x846ca68b);
  return twice ^ (twice >>> 16);
}
