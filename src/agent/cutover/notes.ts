import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { putRecordHead, RECORD_HEAD_BYTES_MAX } from '../touched/key-records.ts';

const BUFFER_BYTES = 256 * 1024;
const NOTHING = Buffer.alloc(0);

/** A new file of records as in key-records.ts. */
export type Notes = Disposable & {
  /** Whether something was left out, because the file was to become no larger. */
  readonly isFull: boolean;
  /** Adds a key, with a few bytes behind its name. */
  add(db: number, key: Buffer, behind?: Buffer): void;
  /** Writes what is left; without it the end of the file may be missing. */
  end(): void;
};

/** Opens a new file; its folder is made. Throws what the disk says. */
export function openNotes(file: string, bytesMax: number): Notes {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const descriptor = openSync(file, 'w', 0o600);
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  let used = 0;
  let bytes = 0;
  const write = (part: Buffer) => {
    for (let at = 0; at < part.length; ) at += writeSync(descriptor, part, at);
  };
  const end = () => {
    write(buffer.subarray(0, used));
    used = 0;
  };
  const put = (part: Buffer) => {
    if (used + part.length > BUFFER_BYTES) end();
    if (part.length > BUFFER_BYTES) write(part);
    else used += part.copy(buffer, used);
  };
  return {
    get isFull() {
      return bytes > bytesMax;
    },
    add: (db, key, behind = NOTHING) => {
      const length = key.length + behind.length;
      bytes += RECORD_HEAD_BYTES_MAX + length;
      if (bytes > bytesMax) return;
      if (used + RECORD_HEAD_BYTES_MAX > BUFFER_BYTES) end();
      used = putRecordHead(buffer, used, { db, length });
      put(key);
      put(behind);
    },
    end,
    [Symbol.dispose]: () => closeSync(descriptor),
  };
}
