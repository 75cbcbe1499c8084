import { malformedRdb } from './malformed.ts';

/*
 * listpack = total(4) count(2) *entry 0xff      little-endian; count 65535: not known
 * entry    = data backlength
 * data     = 0xxxxxxx                            7-bit unsigned integer
 *          | 10xxxxxx B*                         string, 6-bit length
 *          | 110xxxxx B                          13-bit integer
 *          | 1110xxxx B B*                       string, 12-bit length
 *          | 0xf0 B4 B*                          string, 32-bit length, little-endian
 *          | 0xf1 B2 | 0xf2 B3 | 0xf3 B4 | 0xf4 B8   integer, little-endian
 * backlength = 1 to 5 bytes, by the size of data: 7 bits each
 * Source: listpack.c of redis 7.4.
 */

const HEAD_BYTES = 6;
const END = 0xff;

/** The elements of a listpack; integers as their decimal text. Throws source-protocol-error. */
export function* listpackElements(listpack: Buffer): Generator<Buffer> {
  let at = HEAD_BYTES;
  while (at < listpack.length && listpack[at] !== END) {
    const { element, size } = readElement(listpack, at);
    if (at + size > listpack.length) break;
    yield element;
    at += size + backLengthBytes(size);
  }
  if (at !== listpack.length - 1 || listpack[at] !== END) throw malformedRdb('a listpack is damaged');
}

function readElement(bytes: Buffer, at: number): { element: Buffer; size: number } {
  const first = bytes[at] ?? 0;
  const string = (head: number, length: number) => ({
    element: bytes.subarray(at + head, at + head + length),
    size: head + length,
  });
  const integer = (value: number | bigint, size: number) => ({ element: Buffer.from(String(value)), size });
  if (first < 0x80) return integer(first, 1);
  if (first < 0xc0) return string(1, first & 63);
  if (first >= 0xe0 && first < 0xf0) return string(2, ((first & 15) << 8) | (bytes[at + 1] ?? 0));
  const tail = Buffer.alloc(8);
  bytes.copy(tail, 0, at + 1, at + 9);
  if (first < 0xe0) return integer((((((first & 31) << 8) | tail.readUInt8(0)) << 19) >> 19) | 0, 2);
  switch (first) {
    case 0xf0:
      return string(5, tail.readUInt32LE(0));
    case 0xf1:
      return integer(tail.readInt16LE(0), 3);
    case 0xf2:
      return integer(tail.readIntLE(0, 3), 4);
    case 0xf3:
      return integer(tail.readInt32LE(0), 5);
    case 0xf4:
      return integer(tail.readBigInt64LE(0), 9);
    default:
      throw malformedRdb(`byte ${first} begins no element of a listpack`);
  }
}

function backLengthBytes(size: number): number {
  if (size < 128) return 1;
  if (size < 16_384) return 2;
  if (size < 2_097_152) return 3;
  return size < 268_435_456 ? 4 : 5;
}
