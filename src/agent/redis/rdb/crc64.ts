/**
 * CRC-64 Jones: width 64, polynomial 0xad93d23594c935a9, reflected in and out, no initial value, no final xor.
 *
 * Sliced by eight: a byte-wise table reaches a third of the speed, and this runs over every byte of a full copy.
 * The state is kept in two halves because BigInt is slower by orders of magnitude.
 *
 * Source: redis crc64.c; check value of "123456789" is e9c6d914c4b8d9ca.
 */
export class Crc64 {
  #low = 0;
  #high = 0;
  /** Of the memory that was read last: through it four bytes are one load. */
  #view: DataView = new DataView(new ArrayBuffer(0));

  /** Starts anew. */
  reset(): void {
    this.#low = 0;
    this.#high = 0;
  }

  /** Takes in one byte. */
  updateByte(byte: number): void {
    const index = (this.#low ^ byte) & 255;
    this.#low = ((this.#low >>> 8) | (this.#high << 24)) ^ (LOW[index] ?? 0);
    this.#high = (this.#high >>> 8) ^ (HIGH[index] ?? 0);
  }

  /** Takes in `bytes[start, end)`. */
  update(bytes: Uint8Array, start: number, end: number): void {
    let low = this.#low;
    let high = this.#high;
    if (this.#view.buffer !== bytes.buffer) this.#view = new DataView(bytes.buffer);
    const view = this.#view;
    let at = bytes.byteOffset + start;
    const last = bytes.byteOffset + end - 8;
    for (; at <= last; at += 8) {
      const a = low ^ view.getInt32(at, true);
      const b = high ^ view.getInt32(at + 4, true);
      const i7 = 1792 + (a & 255);
      const i6 = 1536 + ((a >>> 8) & 255);
      const i5 = 1280 + ((a >>> 16) & 255);
      const i4 = 1024 + (a >>> 24);
      const i3 = 768 + (b & 255);
      const i2 = 512 + ((b >>> 8) & 255);
      const i1 = 256 + ((b >>> 16) & 255);
      const i0 = b >>> 24;
      low = xor4(LOW, i7, i6, i5, i4) ^ xor4(LOW, i3, i2, i1, i0);
      high = xor4(HIGH, i7, i6, i5, i4) ^ xor4(HIGH, i3, i2, i1, i0);
    }
    this.#low = low;
    this.#high = high;
    for (at -= bytes.byteOffset; at < end; at++) this.updateByte(bytes[at] ?? 0);
  }

  /** Writes the sum as 8 bytes, least significant first, as RDB files and DUMP payloads hold it. */
  writeTo(target: Buffer, offset: number): void {
    target.writeInt32LE(this.#low | 0, offset);
    target.writeInt32LE(this.#high | 0, offset + 4);
  }

  /** Whether the sum equals the 8 bytes at `offset`, least significant first. */
  equals(bytes: Buffer, offset: number): boolean {
    return (
      bytes.readInt32LE(offset) === (this.#low | 0) && bytes.readInt32LE(offset + 4) === (this.#high | 0)
    );
  }
}

function xor4(table: Int32Array, a: number, b: number, c: number, d: number): number {
  return (table[a] ?? 0) ^ (table[b] ?? 0) ^ (table[c] ?? 0) ^ (table[d] ?? 0);
}

/** Entry 256 * n + i: what byte i leaves behind after n further zero bytes; the halves of it apart. */
const LOW = new Int32Array(8 * 256);
const HIGH = new Int32Array(8 * 256);

for (let byte = 0; byte < 256; byte++) {
  let low = byte;
  let high = 0;
  for (let bit = 0; bit < 8; bit++) {
    const isOdd = (low & 1) === 1;
    low = (low >>> 1) | (high << 31);
    high >>>= 1;
    if (isOdd) {
      low ^= 0xac4bc9b5;
      high ^= 0x95ac9329;
    }
  }
  LOW[byte] = low;
  HIGH[byte] = high;
}
for (let entry = 256; entry < LOW.length; entry++) {
  const low = LOW[entry - 256] ?? 0;
  const high = HIGH[entry - 256] ?? 0;
  LOW[entry] = ((low >>> 8) | (high << 24)) ^ (LOW[low & 255] ?? 0);
  HIGH[entry] = (high >>> 8) ^ (HIGH[low & 255] ?? 0);
}
