import { malformedRdb } from './malformed.ts';

/*
 * ziplist = total(4) tail(4) count(2) *entry 0xff    little-endian
 * entry   = previous encoding [bytes]
 * previous = B | 0xfe B4                              the size of the entry before
 * encoding = 00pppppp                                 string, 6-bit length
 *          | 01pppppp B                               string, 14-bit length, most significant first
 *          | 10000000 B4                              string, 32-bit length, most significant first
 *          | 11000000 B2 | 11010000 B4 | 11100000 B8 | 11110000 B3 | 11111110 B    integer, little-endian
 *          | 1111xxxx                                 integer xxxx - 1, xxxx from 1 to 13
 * Source: ziplist.c of redis 6.2.
 */

const HEAD_BYTES = 10;
const END = 0xff;

/** The elements of a ziplist; integers as their decimal text. Throws source-protocol-error. */
export function* ziplistElements(ziplist: Buffer): Generator<Buffer> {
  let at = HEAD_BYTES;
  while (at < ziplist.length && ziplist[at] !== END) {
    const encodingAt = at + (ziplist[at] === 0xfe ? 5 : 1);
    const { element, size } = readElement(ziplist, encodingAt);
    if (encodingAt + size > ziplist.length) break;
    yield element;
    at = encodingAt + size;
  }
  if (at !== ziplist.length - 1 || ziplist[at] !== END) throw malformedRdb('a ziplist is damaged');
}

function readElement(bytes: Buffer, at: number): { element: Buffer; size: number } {
  const first = bytes[at] ?? 0;
  const tail = Buffer.alloc(8);
  bytes.copy(tail, 0, Math.min(at + 1, bytes.length), at + 9);
  const string = (head: number, length: number) => ({
    element: bytes.subarray(at + head, at + head + length),
    size: head + length,
  });
  const integer = (value: number | bigint, size: number) => ({ element: Buffer.from(String(value)), size });
  if (first < 0x40) return string(1, first);
  if (first < 0x80) return string(2, ((first & 63) << 8) | tail.readUInt8(0));
  if (first === 0x80) return string(5, tail.readUInt32BE(0));
  switch (first) {
    case 0xc0:
      return integer(tail.readInt16LE(0), 3);
    case 0xd0:
      return integer(tail.readInt32LE(0), 5);
    case 0xe0:
      return integer(tail.readBigInt64LE(0), 9);
    case 0xf0:
      return integer(tail.readIntLE(0, 3), 4);
    case 0xfe:
      return integer(tail.readInt8(0), 2);
  }
  if (first > 0xf0 && first < 0xfe) return integer((first & 15) - 1, 1);
  throw malformedRdb(`byte ${first} begins no element of a ziplist`);
}
