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
