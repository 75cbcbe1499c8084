import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  EXPIRY_PAD_MS,
  isPadded,
  padBigExpiry,
  padExpiry,
  unpadExpiry,
} from '../../../src/agent/redis/expiry-pad.ts';

const anyTimeMs = fc.oneof(
  fc.integer({ min: -1, max: 2 ** 53 - 1 }),
  fc.constantFrom(EXPIRY_PAD_MS - 1, EXPIRY_PAD_MS, 2 * EXPIRY_PAD_MS - 1, 2 * EXPIRY_PAD_MS),
);

describe('a padded expiry time', () => {
  it('gives back the time of the source, however often the pad is taken off', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: EXPIRY_PAD_MS - 1 }), (atMs) => {
        expect(isPadded(padExpiry(atMs))).toBe(true);
        expect(unpadExpiry(padExpiry(atMs))).toBe(atMs);
        expect(unpadExpiry(unpadExpiry(padExpiry(atMs)))).toBe(atMs);
      }),
    );
  });

  it('is never before the time of the source, and leaves the order of times as it is', () => {
    fc.assert(
      fc.property(anyTimeMs, anyTimeMs, (a, b) => {
        expect(padExpiry(a)).toBeGreaterThanOrEqual(a);
        expect(unpadExpiry(padExpiry(a))).toBeGreaterThanOrEqual(Math.max(1, a));
        expect(padExpiry(Math.min(a, b))).toBeLessThanOrEqual(padExpiry(Math.max(a, b)));
        expect(Number(padBigExpiry(BigInt(a)))).toBe(padExpiry(a));
      }),
    );
  });

  it('stays in the past for a time before 1970, and out of the way of what servers say of no expiry', () => {
    expect(unpadExpiry(padExpiry(-5))).toBe(1);
    expect([-2, -1].map(unpadExpiry)).toEqual([-2, -1]);
    expect(padBigExpiry(2n ** 63n - 1n)).toBe(2n ** 63n - 1n);
  });
});
