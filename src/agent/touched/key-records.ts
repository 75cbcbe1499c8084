import { closeSync, openSync, readSync } from 'node:fs';

/*
 * file   = *record
 * record = database length key            numbers as varints: seven bits in each byte, the lowest first
 */

const CHUNK_BYTES = 256 * 1024;
/** The database and the length of a key take no more. */
export const RECORD_HEAD_BYTES_MAX = 10;

/** A key in a file of touched keys: a view that holds until the next is read. */
export type TouchedKey = { readonly db: number; readonly key: Buffer };

/** Writes the head of a record, and returns where it ends. */
export function putRecordHead(buffer: Buffer, at: number, head: { db: number; length: number }): number {
  return putVarint(buffer, putVarint(buffer, at, head.db), head.length);
}

/**
 * The records of a file as long as it was when it was opened. A record that is cut off at the end is left out: it
 * belongs to what its process had not yet committed.
 */
export function* readRecords(file: string): Generator<TouchedKey> {
  const descriptor = openSync(file, 'r');
  try {
    let buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    let filled = 0;
    for (;;) {
      const count = readSync(descriptor, buffer, filled, buffer.length - filled, null);
      if (count === 0) return;
      filled += count;
      let at = 0;
      for (;;) {
        const db = readVarint(buffer, at, filled);
        const length = db === undefined ? undefined : readVarint(buffer, db.end, filled);
        if (db === undefined || length === undefined || length.end + length.value > filled) break;
        at = length.end + length.value;
        yield { db: db.value, key: buffer.subarray(length.end, at) };
      }
      const rest = buffer.subarray(at, filled);
      // One record may be larger than the buffer.
      if (rest.length > buffer.length / 2) buffer = Buffer.concat([rest], 2 * buffer.length);
      else rest.copy(buffer);
      filled = rest.length;
    }
  } finally {
    closeSync(descriptor);
  }
}

function putVarint(buffer: Buffer, at: number, value: number): number {
  let end = at;
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) {
      buffer[end++] = left;
      return end;
    }
    buffer[end++] = (left % 128) | 128;
  }
}

function readVarint(buffer: Buffer, at: number, filled: number): { value: number; end: number } | undefined {
  let value = 0;
  let factor = 1;
  for (let end = at; end < filled; end++) {
    const byte = buffer[end] ?? 0;
    value += (byte & 127) * factor;
    if (byte < 128) return { value, end: end + 1 };
    factor *= 128;
  }
  return undefined;
}
