import { describe, expect, it } from 'vitest';
import { toPlainHash } from '../../../../src/agent/redis/rdb/hash-field-ttl.ts';
import { OPCODE } from '../../../../src/agent/redis/rdb/layouts.ts';
import { RdbReader } from '../../../../src/agent/redis/rdb/reader.ts';
import { makeRdb, moduleString, moduleValue, readRdb, string } from './rdb-items.ts';

/** One of each item that a module can write: integers of every width, a float, a double, strings of every kind. */
const EVERY_ITEM = Buffer.concat([
  Buffer.of(0x01, 0x05),
  Buffer.of(0x02, 0x7f, 0xff),
  Buffer.of(0x02, 0x80, 1, 2, 3, 4),
  Buffer.of(0x01, 0x81, 255, 255, 255, 255, 255, 255, 255, 255),
  Buffer.of(0x03, 0, 0, 0, 0),
  Buffer.of(0x04, 0, 0, 0, 0, 0, 0, 0, 0),
  Buffer.of(0x05, 0x00),
  Buffer.of(0x05, 0x03, 0, 0, 0),
  Buffer.of(0x05, 0xc0, 7),
  Buffer.of(0x05, 0xc2, 1, 2, 3, 4),
  Buffer.of(0x05, 0xc3, 0x04, 0x40, 0x64, 0x00, 0x61, 0xe0, 0x00),
]);
const FILES = [
  { name: 'JSON documents', module: 'ReJSON-RL', value: EVERY_ITEM },
  { name: 'an empty value', module: 'TSDB-TYPE', value: Buffer.alloc(0) },
  { name: 'a large string', module: 'MBbloom--', value: moduleString(30_000) },
  { name: 'many items', module: 'vectorset', value: Buffer.concat(Array(300).fill(EVERY_ITEM)) },
];

describe.each(FILES)('the value of a module: $name', ({ module, value }) => {
  const rdb = makeRdb(
    Buffer.of(OPCODE.selectDb, 2),
    Buffer.concat([Buffer.of(OPCODE.expireTimeMs), Buffer.from('0050d5c4a3010000', 'hex')]),
    Buffer.concat([Buffer.of(7), string('first'), moduleValue(module, value)]),
    Buffer.concat([Buffer.of(0), string('between'), string('plain')]),
    Buffer.concat([Buffer.of(7), string('last'), moduleValue(module, value)]),
  );

  it.each([1, 7, 4096, rdb.length])('is passed over by its extent, in chunks of %i bytes', (chunkBytes) => {
    const { keys, isComplete } = readRdb(chunks(rdb, chunkBytes), { wholeValueBytesMax: 10_000 });
    const names = keys.map(({ db, key, moduleName }) => `${db} ${key} ${moduleName}`);
    expect(names).toEqual([`2 first ${module}`, '2 between undefined', `2 last ${module}`]);
    expect(isComplete).toBe(true);
    for (const key of keys.filter(({ type }) => type === 7))
      expect(key.value).toEqual(moduleValue(module, value));
  });
});

it('the value of a module does not have to fit into memory', () => {
  const value = moduleValue('ReJSON-RL', moduleString(40 * 1024 * 1024));
  const reader = new RdbReader();
  let isPassing = false;
  let passed = 0;
  const items: string[] = [];
  for (const chunk of chunks(makeRdb(Buffer.concat([Buffer.of(7), string('key'), value])), 64 * 1024)) {
    reader.push(chunk);
    for (;;) {
      if (isPassing) {
        const { bytes, isLast } = reader.takeRaw();
        passed += bytes.length;
        isPassing = !isLast;
        if (isPassing) break;
      }
      const item = reader.next();
      if (item === 'need-more') break;
      items.push(item === 'large' ? `${item} of ${reader.moduleName}` : item);
      isPassing = item === 'large';
      if (item === 'end') break;
    }
    expect(reader.window.length).toBeLessThanOrEqual(8 * 1024 * 1024);
  }
  expect(items).toEqual(['large of ReJSON-RL', 'end']);
  expect(passed).toBe(value.length);
});

describe('what a module remembers beside its keys', () => {
  const aux = (content: Buffer) =>
    Buffer.concat([Buffer.of(OPCODE.moduleAux), moduleValue('ft_index0', Buffer.concat([WHEN, content]))]);
  const plain = Buffer.concat([Buffer.of(0), string('key'), string('plain')]);

  it('is told by the name of the module, unless it is nothing', () => {
    const rdb = makeRdb(aux(Buffer.alloc(0)), aux(EVERY_ITEM), plain, aux(Buffer.of(0x02, 0x00)));
    for (const chunkBytes of [1, 5, rdb.length]) {
      const { keys, moduleData, isComplete } = readRdb(chunks(rdb, chunkBytes));
      expect(moduleData).toEqual(['ft_index0', 'ft_index0']);
      expect(keys.map(({ key }) => key.toString())).toEqual(['key']);
      expect(isComplete).toBe(true);
    }
  });

  it('does not have to fit into memory', () => {
    const rdb = makeRdb(aux(moduleString(40 * 1024 * 1024)), plain);
    const reader = new RdbReader();
    const items: string[] = [];
    for (const chunk of chunks(rdb, 64 * 1024)) {
      reader.push(chunk);
      for (let item = reader.next(); item !== 'need-more'; item = reader.next()) {
        items.push(item);
        if (item === 'end') break;
      }
      expect(reader.window.length).toBeLessThanOrEqual(2 * 1024 * 1024);
    }
    expect(items).toEqual(['module-data', 'key', 'end']);
  });

  it('is malformed where it has a part that no module writes', () => {
    const rdb = makeRdb(aux(Buffer.of(0x09, 0x00)));
    expect(() => readRdb([rdb])).toThrow(expect.objectContaining({ code: 'source-protocol-error' }));
  });
});

it.each(['REDIS0013', 'VALKEY081'])('an RDB of a later version is refused by its head: %s', (magic) => {
  expect(() => readRdb([Buffer.from(magic)])).toThrow(
    expect.objectContaining({ code: 'source-version-unsupported', message: expect.stringContaining(magic) }),
  );
});

describe('a hash without the expiry of its fields', () => {
  const fields = Buffer.from('\x02\x01f\x01v\x01g\x01w', 'latin1');
  const first = Buffer.from('0050d5c4a3010000', 'hex');
  const never = Buffer.alloc(8, 0xff);

  it.each([
    {
      type: 22,
      bytes: Buffer.concat([
        Buffer.from('\x02\x01f\x01v', 'latin1'),
        never,
        Buffer.from('\x01g\x01w'),
        first,
      ]),
    },
    { type: 24, bytes: Buffer.concat([first, Buffer.from('\x02\x00\x01f\x01v\x06\x01g\x01w', 'latin1')]) },
    {
      type: 25,
      bytes: Buffer.concat([
        first,
        Buffer.of(26, 26, 0, 0, 0, 6, 0),
        Buffer.from('\x81f\x02\x81v\x02\x00\x01\x81g\x02\x81w\x02\x05\x01', 'latin1'),
        Buffer.of(0xff),
      ]),
    },
  ])('is a plain one: type $type', ({ type, bytes }) => {
    // Beside other bytes, as in the window of a reader.
    const window = Buffer.concat([Buffer.from('xy'), bytes, Buffer.from('z')]);
    expect(toPlainHash({ type, bytes: window, start: 2, end: 2 + bytes.length })).toEqual(fields);
  });
});

/** When it was written, as every module says first: before the keys. */
const WHEN = Buffer.of(0x02, 0x01);

function* chunks(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
