import { RdbReader } from '../../../../src/agent/redis/rdb/reader.ts';

/** One key as the reader saw it. */
export type ReadKey = { db: number; key: Buffer; expireAtMs: number; type: number; value: Buffer };

/** All that an RDB holds, copied out; `isComplete` when its end was reached. */
export type ReadRdb = { keys: ReadKey[]; functions: string[]; isComplete: boolean; rest: Buffer };

/**
 * Feeds the chunks to a reader one after the other, and collects what it comes upon; values beyond the bound are taken
 * out piece by piece.
 */
export function readRdb(chunks: Iterable<Buffer>, bounds: { wholeValueBytesMax?: number } = {}): ReadRdb {
  const reader = new RdbReader(bounds);
  const result: ReadRdb = { keys: [], functions: [], isComplete: false, rest: Buffer.alloc(0) };
  let large: ReadKey | undefined;
  for (const chunk of chunks) {
    reader.push(chunk);
    while (!result.isComplete) {
      if (large !== undefined) {
        const { bytes, isLast } = reader.takeRaw();
        large.value = Buffer.concat([large.value, bytes]);
        if (!isLast) break;
        result.keys.push(large);
        large = undefined;
      }
      const item = reader.next();
      if (item === 'large') large = { ...copyKey(reader), value: Buffer.alloc(0) };
      if (item === 'need-more') break;
      if (item === 'key') result.keys.push(copyKey(reader));
      if (item === 'function') result.functions.push(reader.text.toString());
      if (item === 'end') result.isComplete = true;
    }
  }
  if (result.isComplete) result.rest = reader.rest();
  return result;
}

function copyKey({ db, key, expireAtMs, type, window, valueStart, valueEnd }: RdbReader): ReadKey {
  return {
    db,
    key: Buffer.from(key.bytes.subarray(key.start, key.end)),
    expireAtMs,
    type,
    value: Buffer.from(window.subarray(valueStart, valueEnd)),
  };
}
