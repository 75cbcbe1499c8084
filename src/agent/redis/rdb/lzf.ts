import { malformedRdb } from './malformed.ts';

/** What three compressed bytes can stand for at most: the bound of what a claimed length can be. */
const EXPANSION_MAX = 264 / 3;

/**
 * Decompresses LZF:
 *
 *   literal run  000LLLLL            L + 1 bytes follow
 *   short match  LLLOOOOO o          L + 2 bytes from (O << 8 | o) + 1 back, L in 1..6
 *   long match   111OOOOO l o        l + 9 bytes from there
 *
 * Source: liblzf lzf_d.c as in redis 5.0-8.0.
 *
 * @throws source-protocol-error
 */
export function decompressLzf(compressed: Buffer, plainLength: number): Buffer {
  if (plainLength > compressed.length * EXPANSION_MAX) {
    throw malformedRdb(`${compressed.length} compressed bytes claim to be ${plainLength} plain ones`);
  }
  const plain = Buffer.allocUnsafe(plainLength);
  let from = 0;
  let to = 0;
  while (from < compressed.length) {
    const control = compressed[from] ?? 0;
    from += 1;
    if (control < 32) {
      const runEnd = from + control + 1;
      if (runEnd > compressed.length || to + control + 1 > plainLength) break;
      compressed.copy(plain, to, from, runEnd);
      to += control + 1;
      from = runEnd;
      continue;
    }
    let length = control >>> 5;
    if (length === 7) {
      length += compressed[from] ?? 0;
      from += 1;
    }
    let match = to - ((control & 31) << 8) - (compressed[from] ?? 0) - 1;
    from += 1;
    const matchEnd = to + length + 2;
    if (match < 0 || matchEnd > plainLength) break;
    // Byte by byte, because a match may overlap what it writes.
    while (to < matchEnd) {
      plain[to] = plain[match] ?? 0;
      to += 1;
      match += 1;
    }
  }
  if (from !== compressed.length || to !== plainLength) throw malformedRdb('a compressed string is damaged');
  return plain;
}

/** How far back a match may reach. */
const HISTORY_BYTES = 8192;
const OUTPUT_BYTES = 64 * 1024;
/** The longest instruction, and the most that one makes. */
const INSTRUCTION_BYTES_MAX = 33;
const MATCH_BYTES_MAX = 264;

/** Decompresses LZF that comes in pieces, in a memory that does not depend on its length. */
export class LzfDecoder {
  readonly #output = Buffer.allocUnsafe(HISTORY_BYTES + OUTPUT_BYTES);
  #to = 0;
  #emittedTo = 0;
  #plainBytes = 0;
  #cut: Buffer = Buffer.alloc(0);

  /** Plain bytes so far. */
  get plainBytes(): number {
    return this.#plainBytes;
  }

  /**
   * The plain bytes that the next piece makes, in views that hold until the generator goes on. Throws
   * source-protocol-error for what is damaged, and at the last piece for what is cut.
   */
  *decode(piece: Buffer, { isLast }: { isLast: boolean }): Generator<Buffer> {
    const input = this.#cut.length === 0 ? piece : Buffer.concat([this.#cut, piece]);
    let from = 0;
    while (from < input.length) {
      if (!isLast && input.length - from < INSTRUCTION_BYTES_MAX) break;
      if (this.#to + MATCH_BYTES_MAX > this.#output.length) {
        if (this.#to > this.#emittedTo) yield this.#takeOutput();
        this.#shift();
      }
      from = this.#step(input, from);
    }
    if (isLast && from !== input.length) throw malformedRdb('a compressed string is damaged');
    this.#cut = Buffer.from(input.subarray(from));
    if (this.#to > this.#emittedTo) yield this.#takeOutput();
  }

  /** Carries out the instruction at `from` and returns where the next one begins. */
  #step(input: Buffer, from: number): number {
    const before = this.#to;
    const control = input[from] ?? 0;
    let next = from + 1;
    if (control < 32) {
      next += control + 1;
      this.#to += input.copy(this.#output, this.#to, from + 1, next);
    } else {
      let length = (control >>> 5) + 2;
      if (length === 9) length += input[next++] ?? 0;
      let match = this.#to - ((control & 31) << 8) - (input[next++] ?? 0) - 1;
      if (match < 0) throw malformedRdb('a compressed string is damaged');
      for (const end = this.#to + length; this.#to < end; this.#to++) {
        this.#output[this.#to] = this.#output[match++] ?? 0;
      }
    }
    this.#plainBytes += this.#to - before;
    return next;
  }

  #takeOutput(): Buffer {
    const output = this.#output.subarray(this.#emittedTo, this.#to);
    this.#emittedTo = this.#to;
    return output;
  }

  /** Keeps what a match can reach, now that all is emitted. */
  #shift(): void {
    this.#output.copyWithin(0, this.#to - HISTORY_BYTES, this.#to);
    this.#to = HISTORY_BYTES;
    this.#emittedTo = HISTORY_BYTES;
  }
}
