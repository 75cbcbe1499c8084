import { Crc64 } from './crc64.ts';

/** The RDB version in the footer of a DUMP payload that every Valkey from 7.2 on takes, and Redis from 7.2 on. */
export const FOOTER_VERSION = 11;
/** The one that a Valkey 9 wants around a hash of which fields expire. */
export const VALKEY_FOOTER_VERSION = 80;
/** The one that a Redis from 7.4 on wants around its own form of it. */
export const REDIS_HASH_FOOTER_VERSION = 12;
/** Two bytes of version, eight of checksum. */
export const FOOTER_BYTES = 10;

const sum = new Crc64();

/**
 * Writes the footer of a DUMP payload: `version(2) checksum(8)`, little-endian, the checksum over all before it.
 *
 * The payload's type byte and value are given apart, since in an RDB the key stands between them.
 */
export function writeFooter(
  target: Buffer,
  offset: number,
  payload: { type: number; bytes: Buffer; start: number; end: number; version: number },
): void {
  target.writeUInt16LE(payload.version, offset);
  sum.reset();
  sum.updateByte(payload.type);
  sum.update(payload.bytes, payload.start, payload.end);
  sum.updateByte(payload.version & 255);
  sum.updateByte(payload.version >>> 8);
  sum.writeTo(target, offset + 2);
}

/** The footer of a payload, its type byte included, that comes in pieces. */
export function footerOf(pieces: Iterable<Buffer>, version: number): Buffer {
  const footer = Buffer.alloc(FOOTER_BYTES);
  footer.writeUInt16LE(version);
  sum.reset();
  for (const piece of pieces) sum.update(piece, 0, piece.length);
  sum.update(footer, 0, 2);
  sum.writeTo(footer, 2);
  return footer;
}

/** A DUMP payload, of a key or of FUNCTION DUMP, with its footer made anew; without any functions it is nothing else. */
export function withFooter(payload: Buffer, version: number): Buffer {
  const content = payload.subarray(0, payload.length - FOOTER_BYTES);
  return Buffer.concat([content, footerOf([content], version)]);
}
