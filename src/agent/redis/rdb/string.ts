import { decompressLzf } from './lzf.ts';
import { malformedRdb } from './malformed.ts';

/*
 * length = 00xxxxxx                  6 bits
 *        | 01xxxxxx B                14 bits, most significant first
 *        | 10000000 B4               32 bits, most significant first
 *        | 10000001 B8               64 bits, most significant first
 * string = length bytes
 *        | 11000000 B                8-bit integer   } little-endian, signed,
 *        | 11000001 B2               16-bit integer  } standing for its decimal text
 *        | 11000010 B4               32-bit integer  }
 *        | 11000011 length length B* LZF: compressed length, plain length, compressed bytes
 */

/** A length and where the next part begins; -1 there means that the bytes end too early. */
export type LengthCursor = { value: number; next: number };

/**
 * Reads the length at `at` into `cursor`; values above 2^53 lose their low bits, which no size can have.
 *
 * It fills what the caller owns instead of returning an object, since it runs for every element of a large value.
 */
export function readLength(bytes: Buffer, at: number, end: number, cursor: LengthCursor): void {
  cursor.next = -1;
  if (at >= end) return;
  const first = bytes[at] ?? 0;
  if (first < 0x40) {
    cursor.value = first;
    cursor.next = at + 1;
  } else if (first < 0x80) {
    if (at + 2 > end) return;
    cursor.value = ((first & 63) << 8) | (bytes[at + 1] ?? 0);
    cursor.next = at + 2;
  } else if (first === 0x80) {
    if (at + 5 > end) return;
    cursor.value = bytes.readUInt32BE(at + 1);
    cursor.next = at + 5;
  } else if (first === 0x81) {
    if (at + 9 > end) return;
    cursor.value = bytes.readUInt32BE(at + 1) * 2 ** 32 + bytes.readUInt32BE(at + 5);
    cursor.next = at + 9;
  } else {
    throw malformedRdb(`byte ${first} begins no length`);
  }
}

const skipCursor: LengthCursor = { value: 0, next: 0 };

/**
 * Where the string at `at` ends: possibly behind `end`, when only its head has arrived; -1 when not even that has.
 */
export function skipString(bytes: Buffer, at: number, end: number): number {
  if (at >= end) return -1;
  const first = bytes[at] ?? 0;
  if (first < 0x40) return at + 1 + first;
  if (first < 0xc0) {
    readLength(bytes, at, end, skipCursor);
    return skipCursor.next === -1 ? -1 : skipCursor.next + skipCursor.value;
  }
  switch (first) {
    case 0xc0:
      return at + 2;
    case 0xc1:
      return at + 3;
    case 0xc2:
      return at + 5;
    case 0xc3: {
      readLength(bytes, at + 1, end, skipCursor);
      if (skipCursor.next === -1) return -1;
      const compressedLength = skipCursor.value;
      readLength(bytes, skipCursor.next, end, skipCursor);
      return skipCursor.next === -1 ? -1 : skipCursor.next + compressedLength;
    }
    default:
      throw malformedRdb(`byte ${first} begins no string`);
  }
}

/** The head of a string: how long it is itself, how many bytes follow, and how many these stand for. */
export type StringHead = {
  readonly isCompressed: boolean;
  readonly headBytes: number;
  readonly rawBytes: number;
  readonly plainBytes: number;
};

/** Reads the head of the plain or compressed string at `at`; undefined when it is cut. */
export function readStringHead(bytes: Buffer, at: number, end: number): StringHead | undefined {
  if (at >= end) return undefined;
  const isCompressed = bytes[at] === 0xc3;
  readLength(bytes, isCompressed ? at + 1 : at, end, skipCursor);
  const rawBytes = skipCursor.value;
  if (isCompressed && skipCursor.next !== -1) readLength(bytes, skipCursor.next, end, skipCursor);
  if (skipCursor.next === -1) return undefined;
  return { isCompressed, headBytes: skipCursor.next - at, rawBytes, plainBytes: skipCursor.value };
}

/** Where the plain bytes of a string begin, or -1 for an integer or compressed one. The string is all there. */
export function plainStringStart(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x40) return at + 1;
  if (first < 0x80) return at + 2;
  if (first === 0x80) return at + 5;
  return first === 0x81 ? at + 9 : -1;
}

/** The string in `bytes[at, end)` as plain bytes: a view where it is plain already, else a new buffer. */
export function decodeString(bytes: Buffer, at: number, end: number): Buffer {
  const plainStart = plainStringStart(bytes, at);
  if (plainStart !== -1) return bytes.subarray(plainStart, end);
  switch (bytes[at]) {
    case 0xc0:
      return Buffer.from(String(bytes.readInt8(at + 1)));
    case 0xc1:
      return Buffer.from(String(bytes.readInt16LE(at + 1)));
    case 0xc2:
      return Buffer.from(String(bytes.readInt32LE(at + 1)));
    default: {
      const cursor: LengthCursor = { value: 0, next: 0 };
      readLength(bytes, at + 1, end, cursor);
      readLength(bytes, cursor.next, end, cursor);
      return decompressLzf(bytes.subarray(cursor.next, end), cursor.value);
    }
  }
}

/** The head of a plain string of `size` bytes. */
export function encodeLength(size: number): Buffer {
  if (size < 0x40) return Buffer.of(size);
  if (size < 0x4000) return Buffer.of(0x40 | (size >>> 8), size & 255);
  const head = Buffer.alloc(5, 0x80);
  head.writeUInt32BE(size, 1);
  return head;
}
