import { expect, it } from 'vitest';
import { ziplistElements } from '../../../../src/agent/redis/rdb/ziplist.ts';
import { isMigrationError } from '../../../../src/core/errors.ts';

/** Entries without the size of the one before, with what they stand for. */
const ENTRIES: readonly [string, string][] = [
  [`03${hex('abc')}`, 'abc'],
  [`4046${hex('y'.repeat(70))}`, 'y'.repeat(70)],
  [`8000004e20${hex('z'.repeat(20_000))}`, 'z'.repeat(20_000)],
  ['f1', '0'],
  ['fd', '12'],
  ['fe80', '-128'],
  ['c039ff', '-199'],
  ['f0ffff7f', '8388607'],
  ['d000000080', '-2147483648'],
  ['e0ffffffffffffff7f', '9223372036854775807'],
];

it('reads every kind of entry, behind short and long ones', () => {
  expect([...ziplistElements(makeZiplist())].map(String)).toEqual(ENTRIES.map(([, text]) => text));
});

it('names a ziplist that is cut', () => {
  const ziplist = makeZiplist();
  for (const length of [11, 13, 100, ziplist.length - 1]) {
    expect(() => [...ziplistElements(ziplist.subarray(0, length))]).toThrow(
      expect.objectContaining({ code: 'source-protocol-error' }),
    );
  }
});

it('reads other elements or names what is damaged, whatever byte is changed', () => {
  const ziplist = makeZiplist();
  let refused = 0;
  for (let at = 10; at < ziplist.length; at += at < 120 ? 1 : 501) {
    for (const byte of [0, 63, 64, 128, 192, 240, 254, 255]) {
      const damaged = Buffer.from(ziplist);
      damaged[at] = byte;
      try {
        for (const element of ziplistElements(damaged)) expect(element.length).toBeLessThan(ziplist.length);
      } catch (error) {
        if (!isMigrationError(error)) throw error;
        refused += 1;
      }
    }
  }
  expect(refused).toBeGreaterThan(50);
});

function makeZiplist(): Buffer {
  let before = 0;
  const entries = ENTRIES.map(([entry]) => {
    const bytes = Buffer.from(entry, 'hex');
    const size = Buffer.alloc(5, 0xfe);
    size.writeUInt32LE(before, 1);
    const whole = Buffer.concat([before < 254 ? Buffer.of(before) : size, bytes]);
    before = whole.length;
    return whole;
  });
  return Buffer.concat([Buffer.alloc(10), ...entries, Buffer.of(0xff)]);
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}
