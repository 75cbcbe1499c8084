import { padBigExpiry } from '../expiry-pad.ts';
import { TYPE_REDIS_HASH_LISTPACK_EX, TYPE_REDIS_HASH_METADATA, TYPE_VALKEY_HASH_2 } from './layouts.ts';
import { listpackElements } from './listpack.ts';
import { malformedRdb } from './malformed.ts';
import { decodeString, encodeLength, type LengthCursor, readLength, skipString } from './string.ts';

/** A value of type 22 of Valkey, 24 or 25: `bytes[start, end)` behind its type byte. */
export type ExpiringHash = {
  readonly type: number;
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
};

/** How Valkey marks a field that does not expire. */
const NO_EXPIRY = -1n;
const EXPIRY_BYTES = 8;

/**
 * The value of a hash with expiring fields as one of Valkey 9 (type 22), its expiry times padded unless they are to be exact:
 *
 *   24  first expiry(8) count *(distance string string)   distance 0: none, else expiry - first expiry + 1
 *   25  first expiry(8) listpack of (field value expiry)   expiry 0: none
 *   22  count *(string string expiry(8))                   expiry -1: none
 *
 * Source: rdb.c of redis 8.0 and valkey 9.1.
 *
 * @throws source-protocol-error
 */
export function toValkeyHash(
  { type, bytes, start, end }: ExpiringHash,
  { areExpiriesExact = false }: { readonly areExpiriesExact?: boolean } = {},
): Buffer {
  const part = { bytes, start, end, toTarget: areExpiriesExact ? exactExpiry : paddedExpiry };
  if (type === TYPE_VALKEY_HASH_2) return withPads(part);
  return type === TYPE_REDIS_HASH_METADATA ? fromPairs(part) : fromListpack(part);
}

type Part = Omit<ExpiringHash, 'type'> & { readonly toTarget: (atMs: bigint) => bigint };

/**
 * The value of such a hash without its expiry times, as a plain one (type 4): `count *(string string)`.
 *
 * @throws source-protocol-error
 */
export function toPlainHash({ type, bytes, start, end }: ExpiringHash): Buffer {
  if (type === TYPE_REDIS_HASH_LISTPACK_EX) return plainFromListpack(bytes, start, end);
  const isRedis = type === TYPE_REDIS_HASH_METADATA;
  const cursor: LengthCursor = { value: 0, next: 0 };
  const countAt = isRedis ? start + 8 : start;
  readLength(bytes, countAt, end, cursor);
  const parts = [bytes.subarray(countAt, cursor.next)];
  while (cursor.next < end) {
    if (isRedis) readLength(bytes, cursor.next, end, cursor);
    const pairEnd = skipString(bytes, skipString(bytes, cursor.next, end), end);
    if (pairEnd <= cursor.next || pairEnd > end) throw malformedRdb('a field of a hash is cut');
    parts.push(bytes.subarray(cursor.next, pairEnd));
    cursor.next = isRedis ? pairEnd : pairEnd + EXPIRY_BYTES;
  }
  return Buffer.concat(parts);
}

function plainFromListpack(bytes: Buffer, start: number, end: number): Buffer {
  const elements = expiringElements(bytes, start, end);
  const parts = [encodeLength(elements.length / 3)];
  elements.forEach((element, index) => {
    if (index % 3 !== 2) parts.push(encodeLength(element.length), element);
  });
  return Buffer.concat(parts);
}

function withPads({ bytes, start, end, toTarget }: Part): Buffer {
  const padded = Buffer.from(bytes.subarray(start, end));
  const cursor: LengthCursor = { value: 0, next: 0 };
  readLength(padded, 0, padded.length, cursor);
  let at = cursor.next;
  while (at < padded.length) {
    const expiryAt = skipString(padded, skipString(padded, at, padded.length), padded.length);
    if (expiryAt <= at || expiryAt + 8 > padded.length) throw malformedRdb('a field of a hash is cut');
    padded.writeBigInt64LE(toTarget(padded.readBigInt64LE(expiryAt)), expiryAt);
    at = expiryAt + 8;
  }
  return padded;
}

function fromPairs({ bytes, start, end, toTarget }: Part): Buffer {
  const firstExpiry = bytes.readBigInt64LE(start);
  const cursor: LengthCursor = { value: 0, next: 0 };
  const countAt = start + 8;
  readLength(bytes, countAt, end, cursor);
  const parts = [bytes.subarray(countAt, cursor.next)];
  while (cursor.next < end) {
    readLength(bytes, cursor.next, end, cursor);
    const pairAt = cursor.next;
    const pairEnd = skipString(bytes, skipString(bytes, pairAt, end), end);
    const distance = BigInt(cursor.value);
    parts.push(
      bytes.subarray(pairAt, pairEnd),
      expiry(toTarget(distance === 0n ? NO_EXPIRY : firstExpiry + distance - 1n)),
    );
    cursor.next = pairEnd;
  }
  return Buffer.concat(parts);
}

function fromListpack({ bytes, start, end, toTarget }: Part): Buffer {
  const elements = expiringElements(bytes, start, end);
  const parts = [encodeLength(elements.length / 3)];
  for (let index = 0; index < elements.length; index += 3) {
    for (const element of elements.slice(index, index + 2)) {
      parts.push(encodeLength(element.length), element);
    }
    const atMs = elements[index + 2]?.toString('latin1') ?? '';
    if (!/^\d{1,16}$/.test(atMs)) throw malformedRdb('the expiry of a hash field is no number');
    parts.push(expiry(toTarget(atMs === '0' ? NO_EXPIRY : BigInt(atMs))));
  }
  return Buffer.concat(parts);
}

function expiringElements(bytes: Buffer, start: number, end: number): readonly Buffer[] {
  const elements = [...listpackElements(decodeString(bytes, start + EXPIRY_BYTES, end))];
  if (elements.length % 3 !== 0) throw malformedRdb('a hash with expiring fields does not come in triples');
  return elements;
}

function expiry(atMs: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(atMs);
  return bytes;
}

function exactExpiry(atMs: bigint): bigint {
  return atMs;
}

function paddedExpiry(atMs: bigint): bigint {
  return atMs === NO_EXPIRY ? NO_EXPIRY : padBigExpiry(atMs);
}
