import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EXPIRY_PAD_MS } from '../../../../src/agent/redis/expiry-pad.ts';
import { toValkeyHash } from '../../../../src/agent/redis/rdb/hash-field-ttl.ts';
import { listpackElements } from '../../../../src/agent/redis/rdb/listpack.ts';
import { encodeLength } from '../../../../src/agent/redis/rdb/string.ts';
import { isMigrationError } from '../../../../src/core/errors.ts';

// From the format: total, count, then per element its data and the length of that.
const LISTPACK = Buffer.concat([
  Buffer.from([0, 0, 0, 0, 9, 0]),
  Buffer.from([0x7f, 1]),
  Buffer.from([0xdf, 0xff, 2]),
  Buffer.from([0xf1, 0x00, 0x80, 3]),
  Buffer.from([0xf2, 0x01, 0x00, 0x80, 4]),
  Buffer.from([0xf3, 0xff, 0xff, 0xff, 0x7f, 5]),
  Buffer.from([0xf4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 9]),
  Buffer.from([0x83, 0x61, 0x62, 0x63, 4]),
  Buffer.concat([Buffer.from([0xe0, 200]), Buffer.alloc(200, 'm'), Buffer.from([0x01, 0x80 | 74])]),
  Buffer.from([0xf0, 2, 0, 0, 0, 0x78, 0x79, 7]),
  Buffer.of(0xff),
]);

describe('a listpack', () => {
  it('gives its elements as text, integers of every width included', () => {
    expect([...listpackElements(LISTPACK)].map(String)).toEqual([
      '127',
      '-1',
      '-32768',
      '-8388607',
      '2147483647',
      '9223372036854775807',
      'abc',
      'm'.repeat(200),
      'xy',
    ]);
  });

  it('ends in a named error when it is damaged, or gives some elements', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) =>
        isReadOrNamed(() => [...listpackElements(Buffer.from(bytes))]),
      ),
      { numRuns: 3_000 },
    );
  });
});

describe('a hash of which fields expire', () => {
  it('keeps fields and values from the layout of pairs, and pads the moments', () => {
    const first = Buffer.alloc(8);
    first.writeBigInt64LE(1_800_000_000_000n);
    const pairs = Buffer.from('\x02\x00\x01f\x01v\x06\x01g\x01w', 'latin1');
    const hash = toValkeyHash({
      type: 24,
      bytes: Buffer.concat([first, pairs]),
      start: 0,
      end: 8 + pairs.length,
    });
    const moments = [hash.readBigInt64LE(5), hash.readBigInt64LE(17)];
    expect(moments).toEqual([-1n, BigInt(EXPIRY_PAD_MS) + 1_800_000_000_005n]);
    expect(hash.subarray(0, 5).toString()).toBe('\x02\x01f\x01v');
  });

  it('is padded in the layout of Valkey, where what never expires stays so', () => {
    const field = (name: string, atMs: bigint) => {
      const expiry = Buffer.alloc(8);
      expiry.writeBigInt64LE(atMs);
      return Buffer.concat([Buffer.from(`\x01${name}\x01v`, 'latin1'), expiry]);
    };
    const hash = (first: bigint, second: bigint) =>
      Buffer.concat([Buffer.from([0, 2]), field('f', first), field('g', second), Buffer.from([0])]);
    const bytes = hash(-1n, 1_800_000_000_000n);
    const padded = hash(-1n, BigInt(EXPIRY_PAD_MS) + 1_800_000_000_000n);
    expect(toValkeyHash({ type: 22, bytes, start: 1, end: bytes.length - 1 })).toEqual(
      padded.subarray(1, -1),
    );
    expect(() => toValkeyHash({ type: 22, bytes, start: 1, end: bytes.length - 3 })).toThrow(
      expect.objectContaining({ code: 'source-protocol-error' }),
    );
  });

  it('ends in a named error when its listpack holds something else', () => {
    const inner = Buffer.concat([Buffer.alloc(8), encodeLength(LISTPACK.length), LISTPACK]);
    expect(() => toValkeyHash({ type: 25, bytes: inner, start: 0, end: inner.length })).toThrow(
      expect.objectContaining({ code: 'source-protocol-error' }),
    );
  });
});

function isReadOrNamed(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch (error) {
    return isMigrationError(error);
  }
}
