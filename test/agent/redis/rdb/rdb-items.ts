import { Crc64 } from '../../../../src/agent/redis/rdb/crc64.ts';
import { OPCODE, TYPE_MODULE } from '../../../../src/agent/redis/rdb/layouts.ts';
import { RdbReader } from '../../../../src/agent/redis/rdb/reader.ts';

/** One key as the reader saw it. */
export type ReadKey = {
  db: number;
  key: Buffer;
  expireAtMs: number;
  type: number;
  value: Buffer;
  /** Of the value of a module. */
  moduleName?: string;
};

/** All that an RDB holds, copied out; `isComplete` when its end was reached. */
export type ReadRdb = {
  keys: ReadKey[];
  functions: string[];
  /** Modules that remember something beside their keys. */
  moduleData: string[];
  isComplete: boolean;
  rest: Buffer;
};

/**
 * Feeds the chunks to a reader one after the other, and collects what it comes upon; values beyond the bound are taken
 * out piece by piece.
 */
export function readRdb(chunks: Iterable<Buffer>, bounds: { wholeValueBytesMax?: number } = {}): ReadRdb {
  const reader = new RdbReader(bounds);
  const result: ReadRdb = {
    keys: [],
    functions: [],
    moduleData: [],
    isComplete: false,
    rest: Buffer.alloc(0),
  };
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
      if (item === 'module-data') result.moduleData.push(reader.moduleName);
      if (item === 'end') result.isComplete = true;
    }
  }
  if (result.isComplete) result.rest = reader.rest();
  return result;
}

function copyKey(reader: RdbReader): ReadKey {
  const { db, key, expireAtMs, type, window, valueStart, valueEnd, moduleName } = reader;
  return {
    ...(type === TYPE_MODULE ? { moduleName } : {}),
    db,
    key: Buffer.from(key.bytes.subarray(key.start, key.end)),
    expireAtMs,
    type,
    value: Buffer.from(window.subarray(valueStart, valueEnd)),
  };
}

const ID_CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** The 64 bits of a module id: nine characters of 6 bits each, and the version of its encoding, 0. */
export function moduleId(name: string): Buffer {
  const id = [...name].reduce((bits, character) => bits * 64n + BigInt(ID_CHARACTERS.indexOf(character)), 0n);
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(id << 10n);
  return bytes;
}

/** The value of a module, with its id and end around what it wrote. */
export function moduleValue(name: string, items: Buffer): Buffer {
  return Buffer.concat([Buffer.of(0x81), moduleId(name), items, Buffer.of(0)]);
}

/** One string among the items of a module. */
export function moduleString(bytes: number): Buffer {
  const head = Buffer.alloc(6, 0x80);
  head[0] = 0x05;
  head.writeUInt32BE(bytes, 2);
  return Buffer.concat([head, Buffer.alloc(bytes, 1)]);
}

/** A short string. */
export function string(text: string): Buffer {
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
}

/** An RDB of Redis 7.4 or 8 with these items. */
export function makeRdb(...items: Buffer[]): Buffer {
  const body = Buffer.concat([Buffer.from('REDIS0012'), ...items, Buffer.of(OPCODE.end)]);
  const sum = new Crc64();
  sum.update(body, 0, body.length);
  const checksum = Buffer.alloc(8);
  sum.writeTo(checksum, 0);
  return Buffer.concat([body, checksum]);
}
