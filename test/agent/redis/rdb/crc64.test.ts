import { describe, expect, it } from 'vitest';
import { Crc64 } from '../../../../src/agent/redis/rdb/crc64.ts';
import { FOOTER_BYTES, FOOTER_VERSION, withFooter } from '../../../../src/agent/redis/rdb/footer.ts';

function sumOf(...parts: Buffer[]): string {
  const sum = new Crc64();
  for (const part of parts) sum.update(part, 0, part.length);
  const bytes = Buffer.alloc(8);
  sum.writeTo(bytes, 0);
  return bytes.reverse().toString('hex');
}

describe('CRC-64', () => {
  it('has the check value of its definition', () => {
    expect(sumOf(Buffer.from('123456789'))).toBe('e9c6d914c4b8d9ca');
  });

  it('is the same however the bytes are cut', () => {
    const bytes = Buffer.from(Array.from({ length: 61 }, (_, index) => (index * 37) & 255));
    const whole = sumOf(bytes);
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(sumOf(bytes.subarray(0, cut), bytes.subarray(cut))).toBe(whole);
    }
  });
});

describe('a footer made anew', () => {
  // Payloads of the same value from Redis 7.4 (version 12) and Valkey 8.1 (version 11).
  it.each([
    ['000568656c6c6f0c00a804ebb69f1ebe43', '000568656c6c6f0b000aad620598abc983'],
    ['00c139300c0056e2dee769d696f0', '00c139300b00f44b57546e63e130'],
    [
      '0b0e02000000030000000100020003000c006e7468229744d352',
      '0b0e02000000030000000100020003000b00ccdde19190f1a492',
    ],
  ])('turns a payload of Redis 7.4 into the one that Valkey 8.1 makes', (redis, valkey) => {
    expect(withFooter(Buffer.from(redis, 'hex'), FOOTER_VERSION).toString('hex')).toBe(valkey);
  });

  it('is ten bytes', () => {
    expect(FOOTER_BYTES).toBe(10);
  });
});
