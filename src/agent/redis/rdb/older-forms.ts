import { TYPE_VALKEY_HASH_2 } from './layouts.ts';
import { listpackElements } from './listpack.ts';
import { malformedRdb } from './malformed.ts';
import { decodeString, encodeLength, type LengthCursor, readLength, skipString } from './string.ts';

/** A value behind its type byte: `bytes[start, end)`. */
type Body = { readonly bytes: Buffer; readonly start: number; readonly end: number };

const ID_BYTES = 16;
const TIME_BYTES = 8;

/**
 * A set as one listpack (type 20) as a plain one (type 2): `count *string`.
 *
 * @throws source-protocol-error
 */
export function toPlainSet({ bytes, start, end }: Body): Buffer {
  const members = [...listpackElements(decodeString(bytes, start, end))];
  const parts = members.flatMap((member) => [encodeLength(member.length), member]);
  return Buffer.concat([encodeLength(members.length), ...parts]);
}

/**
 * A stream of type 21 as one of type 19, which has no time of the last activity of a consumer: stream-content.ts has
 * the grammar. Everything else is left as it is.
 *
 * @throws source-protocol-error
 */
export function toStreamWithoutActivity(body: Body): Buffer {
  const walk = new Walk(body);
  for (let nodes = walk.length(); nodes > 0; nodes--) walk.skipStrings(2);
  // Entries, last id, first id, greatest deleted id, entries added.
  walk.skipLengths(8);
  for (let groups = walk.length(); groups > 0; groups--) {
    walk.skipStrings(1);
    // Last id, entries read.
    walk.skipLengths(3);
    for (let pending = walk.length(); pending > 0; pending--) {
      walk.skipBytes(ID_BYTES + TIME_BYTES);
      walk.skipLengths(1);
    }
    for (let consumers = walk.length(); consumers > 0; consumers--) {
      walk.skipStrings(1);
      walk.skipBytes(TIME_BYTES);
      walk.drop(TIME_BYTES);
      walk.skipBytes(walk.length() * ID_BYTES);
    }
  }
  return walk.end();
}

/**
 * A hash of Valkey 9 of which fields expire (type 22) as one of Redis 7.4 (type 24); hash-field-ttl.ts has both grammars.
 *
 * @throws source-protocol-error
 */
export function toRedisHash({ type, bytes, start, end }: Body & { readonly type: number }): Buffer {
  if (type !== TYPE_VALKEY_HASH_2) return bytes.subarray(start, end);
  const cursor: LengthCursor = { value: 0, next: 0 };
  readLength(bytes, start, end, cursor);
  const count = bytes.subarray(start, cursor.next);
  const pairs: { pair: Buffer; atMs: bigint }[] = [];
  for (let at = cursor.next; at < end; ) {
    const pairEnd = skipString(bytes, skipString(bytes, at, end), end);
    if (pairEnd <= at || pairEnd + TIME_BYTES > end) throw malformedRdb('a field of a hash is cut');
    pairs.push({ pair: bytes.subarray(at, pairEnd), atMs: bytes.readBigInt64LE(pairEnd) });
    at = pairEnd + TIME_BYTES;
  }
  const times = pairs.flatMap(({ atMs }) => (atMs < 0n ? [] : [atMs]));
  const [first = 0n] = times.sort((a, b) => Number(a - b));
  const head = Buffer.alloc(TIME_BYTES);
  head.writeBigInt64LE(first);
  const fields = pairs.flatMap(({ pair, atMs }) => [
    encodeDistance(atMs < 0n ? 0n : atMs - first + 1n),
    pair,
  ]);
  return Buffer.concat([head, count, ...fields]);
}

/** Distances between times can need all 64 bits. */
function encodeDistance(distance: bigint): Buffer {
  if (distance < 0x1_0000_0000n) return encodeLength(Number(distance));
  const bytes = Buffer.alloc(1 + TIME_BYTES, 0x81);
  bytes.writeBigUInt64BE(distance, 1);
  return bytes;
}

/** Goes over a value part by part, and keeps all of it but what is dropped. */
class Walk {
  readonly #body: Body;
  readonly #kept: Buffer[] = [];
  readonly #cursor: LengthCursor = { value: 0, next: 0 };
  #keptTo: number;
  #at: number;

  constructor(body: Body) {
    this.#body = body;
    this.#keptTo = body.start;
    this.#at = body.start;
  }

  length(): number {
    const { bytes, end } = this.#body;
    readLength(bytes, this.#at, end, this.#cursor);
    this.#moveTo(this.#cursor.next);
    return this.#cursor.value;
  }

  skipLengths(count: number): void {
    for (let index = 0; index < count; index++) this.length();
  }

  skipStrings(count: number): void {
    const { bytes, end } = this.#body;
    for (let index = 0; index < count; index++) this.#moveTo(skipString(bytes, this.#at, end));
  }

  skipBytes(count: number): void {
    this.#moveTo(this.#at + count);
  }

  drop(count: number): void {
    this.#kept.push(this.#body.bytes.subarray(this.#keptTo, this.#at));
    this.#moveTo(this.#at + count);
    this.#keptTo = this.#at;
  }

  end(): Buffer {
    if (this.#at !== this.#body.end) throw malformedRdb('a stream goes on behind its end');
    return Buffer.concat([...this.#kept, this.#body.bytes.subarray(this.#keptTo, this.#at)]);
  }

  #moveTo(next: number): void {
    if (next < this.#at || next > this.#body.end) throw malformedRdb('a stream is cut');
    this.#at = next;
  }
}
