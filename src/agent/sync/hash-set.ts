/** Sums of 64 bits, in 32 bytes of memory for each at most. */
export class HashSet {
  readonly #mask: number;
  /** Low and high half of each entry; both 0 where there is none. */
  readonly #slots: Int32Array;
  #hasZero = false;

  /** Has room for so many. */
  constructor(countMax: number) {
    let slots = 16;
    while (slots < 2 * countMax) slots *= 2;
    this.#mask = slots - 1;
    this.#slots = new Int32Array(2 * slots);
  }

  /** Adds the sum at `offset`, of 8 bytes; whether it was new. */
  add(bytes: Buffer, offset: number): boolean {
    const low = bytes.readInt32LE(offset);
    const high = bytes.readInt32LE(offset + 4);
    if (low === 0 && high === 0) {
      const isNew = !this.#hasZero;
      this.#hasZero = true;
      return isNew;
    }
    // The halves are those of a CRC, of which all bits are as good as random, but the lowest name the partition.
    for (let slot = high & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const foundLow = this.#slots[2 * slot];
      const foundHigh = this.#slots[2 * slot + 1];
      if (foundLow === low && foundHigh === high) return false;
      if (foundLow !== 0 || foundHigh !== 0) continue;
      this.#slots[2 * slot] = low;
      this.#slots[2 * slot + 1] = high;
      return true;
    }
  }
}
