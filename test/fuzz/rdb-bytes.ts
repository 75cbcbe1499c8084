import { Crc64 } from '../../src/agent/redis/rdb/crc64.ts';

/*
 * Makes RDB bytes by hand, also those that no server at hand writes any more. The grammars stand in
 * src/agent/redis/rdb; the writers here are kept apart from it on purpose.
 */

/** A string or the bytes of one. */
export type Text = string | Buffer;

const bytesOf = (text: Text): Buffer => (typeof text === 'string' ? Buffer.from(text) : text);

/** An RDB of these parts with its checksum, or with the zeros that say that there is none. */
export function makeRdb(magic: string, parts: readonly Buffer[], { hasChecksum = true } = {}): Buffer {
  const body = Buffer.concat([Buffer.from(magic), ...parts, Buffer.of(255)]);
  const checksum = Buffer.alloc(8);
  if (hasChecksum) {
    const sum = new Crc64();
    sum.update(body, 0, body.length);
    sum.writeTo(checksum, 0);
  }
  return Buffer.concat([body, checksum]);
}

/** A length in the shortest form, or in the form of `bits` 32 or 64. */
export function length(value: number, bits?: 32 | 64): Buffer {
  if (bits === 64 || value > 0xffff_ffff) {
    const encoded = Buffer.alloc(9, 0x81);
    encoded.writeBigUInt64BE(BigInt(value), 1);
    return encoded;
  }
  if (bits === undefined && value < 64) return Buffer.of(value);
  if (bits === undefined && value < 16_384) return Buffer.of(0x40 | (value >> 8), value & 255);
  const encoded = Buffer.alloc(5, 0x80);
  encoded.writeUInt32BE(value, 1);
  return encoded;
}

/** A plain string. */
export function string(text: Text, bits?: 32 | 64): Buffer {
  const bytes = bytesOf(text);
  return Buffer.concat([length(bytes.length, bits), bytes]);
}

/** A string that stands for an integer of 8, 16 or 32 bits. */
export function integerString(value: number, bits: 8 | 16 | 32): Buffer {
  const width = bits / 8;
  const encoded = Buffer.alloc(1 + width, { 8: 0xc0, 16: 0xc1, 32: 0xc2 }[bits]);
  encoded.writeIntLE(value, 1, width);
  return encoded;
}

/** A compressed string. */
export function compressedString(text: Text): Buffer {
  const plain = bytesOf(text);
  const compressed = compressLzf(plain);
  return Buffer.concat([Buffer.of(0xc3), length(compressed.length), length(plain.length), compressed]);
}

/** LZF with the nearest match of up to 8 bytes back: enough for bytes that repeat, and all three instructions. */
function compressLzf(plain: Buffer): Buffer {
  const parts: Buffer[] = [];
  let literals: number[] = [];
  const endLiterals = () => {
    for (; literals.length > 0; literals = literals.slice(32)) {
      const run = literals.slice(0, 32);
      parts.push(Buffer.of(run.length - 1, ...run));
    }
  };
  for (let at = 0; at < plain.length; ) {
    const match = findMatch(plain, at);
    if (match === undefined) {
      literals.push(plain[at++] ?? 0);
      continue;
    }
    endLiterals();
    const coded = match.size - 2;
    const offset = match.distance - 1;
    parts.push(
      coded < 7
        ? Buffer.of((coded << 5) | (offset >> 8), offset & 255)
        : Buffer.of((7 << 5) | (offset >> 8), coded - 7, offset & 255),
    );
    at += match.size;
  }
  endLiterals();
  return Buffer.concat(parts);
}

function findMatch(plain: Buffer, at: number): { distance: number; size: number } | undefined {
  for (let distance = 1; distance <= Math.min(8, at); distance++) {
    let size = 0;
    while (size < 264 && at + size < plain.length && plain[at + size] === plain[at + size - distance])
      size += 1;
    if (size >= 3) return { distance, size };
  }
  return undefined;
}

/** Little-endian bytes of 64 bits. */
export function raw64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(value));
  return bytes;
}

/** The id of a stream entry. */
export function streamId(ms: number, sequence: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(BigInt(ms));
  bytes.writeBigUInt64BE(BigInt(sequence), 8);
  return bytes;
}

/** What a ziplist or listpack holds: texts as strings, numbers in the narrowest form. */
export type PackedEntry = Text | number | bigint;

/** A ziplist. */
export function ziplist(entries: readonly PackedEntry[]): Buffer {
  const parts: Buffer[] = [];
  let previousBytes = 0;
  let tail = 10;
  for (const [index, entry] of entries.entries()) {
    const head =
      previousBytes < 254 ? Buffer.of(previousBytes) : Buffer.concat([Buffer.of(254), raw32(previousBytes)]);
    const encoded = Buffer.concat([head, ziplistEntry(entry)]);
    parts.push(encoded);
    previousBytes = encoded.length;
    if (index < entries.length - 1) tail += encoded.length;
  }
  const content = Buffer.concat(parts);
  const count = Buffer.alloc(2);
  count.writeUInt16LE(entries.length);
  return Buffer.concat([raw32(content.length + 11), raw32(tail), count, content, Buffer.of(255)]);
}

function ziplistEntry(entry: PackedEntry): Buffer {
  if (typeof entry === 'string' || Buffer.isBuffer(entry)) {
    const bytes = bytesOf(entry);
    const size = bytes.length;
    if (size < 64) return Buffer.concat([Buffer.of(size), bytes]);
    if (size < 16_384) return Buffer.concat([Buffer.of(0x40 | (size >> 8), size & 255), bytes]);
    const head = Buffer.alloc(5, 0x80);
    head.writeUInt32BE(size, 1);
    return Buffer.concat([head, bytes]);
  }
  const value = BigInt(entry);
  if (value >= 0n && value <= 12n) return Buffer.of(0xf1 + Number(value));
  for (const [mark, width] of [
    [0xfe, 1],
    [0xc0, 2],
    [0xf0, 3],
    [0xd0, 4],
  ] as const) {
    if (fits(value, width)) return integer(mark, Number(value), width);
  }
  return Buffer.concat([Buffer.of(0xe0), raw64(value)]);
}

/** A listpack. */
export function listpack(entries: readonly PackedEntry[]): Buffer {
  const content = Buffer.concat(
    entries.map((entry) => {
      const data = listpackEntry(entry);
      return Buffer.concat([data, backLength(data.length)]);
    }),
  );
  const count = Buffer.alloc(2);
  count.writeUInt16LE(entries.length);
  return Buffer.concat([raw32(content.length + 7), count, content, Buffer.of(255)]);
}

function listpackEntry(entry: PackedEntry): Buffer {
  if (typeof entry === 'string' || Buffer.isBuffer(entry)) {
    const bytes = bytesOf(entry);
    const size = bytes.length;
    if (size < 64) return Buffer.concat([Buffer.of(0x80 | size), bytes]);
    if (size < 4096) return Buffer.concat([Buffer.of(0xe0 | (size >> 8), size & 255), bytes]);
    return Buffer.concat([Buffer.of(0xf0), raw32(size), bytes]);
  }
  const value = BigInt(entry);
  if (value >= 0n && value < 128n) return Buffer.of(Number(value));
  if (value >= -4096n && value < 4096n) {
    const bits = Number(value) & 0x1fff;
    return Buffer.of(0xc0 | (bits >> 8), bits & 255);
  }
  for (const [mark, width] of [
    [0xf1, 2],
    [0xf2, 3],
    [0xf3, 4],
  ] as const) {
    if (fits(value, width)) return integer(mark, Number(value), width);
  }
  return Buffer.concat([Buffer.of(0xf4), raw64(value)]);
}

/** Sizes below 2 MiB; the last byte has its top bit clear. */
function backLength(size: number): Buffer {
  if (size < 128) return Buffer.of(size);
  if (size < 16_384) return Buffer.of(size >> 7, (size & 127) | 128);
  return Buffer.of(size >> 14, ((size >> 7) & 127) | 128, (size & 127) | 128);
}

/** A set of integers of so many bytes each, in ascending order. */
export function intset(width: 2 | 4 | 8, values: readonly (number | bigint)[]): Buffer {
  const members = values.map((value) =>
    width === 8 ? raw64(value) : integer(0, Number(value), width).subarray(1),
  );
  return Buffer.concat([raw32(width), raw32(values.length), ...members]);
}

/** A zipmap: fields and values below 254 bytes; each value is followed by so many free bytes. */
export function zipmap(pairs: readonly (readonly [field: string, value: string])[], freeBytes = 0): Buffer {
  const parts = pairs.flatMap(([field, value]) => [
    Buffer.of(field.length),
    Buffer.from(field),
    Buffer.of(value.length, freeBytes),
    Buffer.from(value),
    Buffer.alloc(freeBytes),
  ]);
  return Buffer.concat([Buffer.of(pairs.length), ...parts, Buffer.of(255)]);
}

function raw32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function fits(value: bigint, width: number): boolean {
  return BigInt.asIntN(8 * width, value) === value;
}

function integer(mark: number, value: number, width: number): Buffer {
  const bytes = Buffer.alloc(1 + width, mark);
  bytes.writeIntLE(value, 1, width);
  return bytes;
}
