import { describe, expect, it } from 'vitest';
import { decompressLzf, LzfDecoder } from '../../../../src/agent/redis/rdb/lzf.ts';
import { isMigrationError } from '../../../../src/core/errors.ts';

/** 1000 times `x`, as Redis compresses it. */
const SHORT = Buffer.from('017878e0ff00e0ff00e0ff00e0c300017878', 'hex');

/** A literal run, then matches that reach back as far as can be, over more than the decoder keeps. */
function longText(): { compressed: Buffer; plain: Buffer } {
  const literal = Buffer.from(Array.from({ length: 8192 }, (_, index) => (index * 31 + (index >> 5)) & 255));
  const runs = Array.from({ length: 256 }, (_, run) =>
    Buffer.concat([Buffer.of(31), literal.subarray(run * 32, run * 32 + 32)]),
  );
  // 264 bytes from 8192 back.
  const matches = Array.from({ length: 1_000 }, () => Buffer.of(0xff, 255, 255));
  const compressed = Buffer.concat([...runs, ...matches]);
  return { compressed, plain: decompressLzf(compressed, 8192 + 264 * 1_000) };
}

function decodeIn(pieces: readonly Buffer[]): Buffer {
  const decoder = new LzfDecoder();
  const plain: Buffer[] = [];
  for (const [index, piece] of pieces.entries()) {
    for (const part of decoder.decode(piece, { isLast: index === pieces.length - 1 }))
      plain.push(Buffer.from(part));
  }
  return Buffer.concat(plain);
}

describe('a compressed string that comes in pieces', () => {
  it('is the same cut at any place', () => {
    for (let cut = 1; cut < SHORT.length; cut++) {
      const plain = decodeIn([SHORT.subarray(0, cut), SHORT.subarray(cut)]);
      expect(plain.toString()).toBe('x'.repeat(1000));
    }
  });

  it('is the same when it is longer than what is kept of it, in pieces of any size', () => {
    const { compressed, plain } = longText();
    for (const size of [1, 7, 33, 1_000, compressed.length]) {
      const count = Math.ceil(compressed.length / size);
      const pieces = Array.from({ length: count }, (_, at) =>
        compressed.subarray(at * size, (at + 1) * size),
      );
      expect(decodeIn(pieces).equals(plain)).toBe(true);
    }
  });

  it('ends in a named error or in other bytes when it is damaged', () => {
    let refused = 0;
    for (let at = 0; at < SHORT.length; at++) {
      for (const byte of [0, 31, 32, 127, 224, 255]) {
        const damaged = Buffer.from(SHORT);
        damaged[at] = byte;
        try {
          decodeIn([damaged.subarray(0, 5), damaged.subarray(5)]);
        } catch (error) {
          if (!isMigrationError(error)) throw error;
          refused += 1;
        }
      }
    }
    expect(refused).toBeGreaterThan(10);
  });
});
