import { appendFileSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { touchedFiles } from '../../../src/agent/touched/generation.ts';
import { readRecords } from '../../../src/agent/touched/key-records.ts';
import { TouchedKeys, type TouchedKeysOptions } from '../../../src/agent/touched/touched-keys.ts';
import { touchedBatches } from '../../../src/agent/verify/touched-batches.ts';
import { systemClock } from '../../../src/core/clock.ts';

const ID = '0123456789abcdef';
const NEXT_ID = 'fedcba9876543210';

let directory: string;
let offset = 100;

beforeEach(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), 'valkey-migrate-touched-'));
  offset = 100;
});
afterEach(() => rmSync(directory, { recursive: true }));

function open(options: Partial<TouchedKeysOptions> = {}): TouchedKeys {
  return new TouchedKeys({ directory, log: () => {}, ...options });
}

/** Has the tracker begin a generation, as a verification would. */
async function begin(touched: TouchedKeys, id = ID, follows?: string): Promise<void> {
  const files = touchedFiles(directory);
  const done = new AbortController();
  files.want({ generation: id, ...(follows === undefined ? {} : { follows }) });
  const answering = touched.answer({ clock: systemClock, signal: done.signal });
  const isThere = () => {
    const generation = files.readGeneration();
    return generation !== undefined && 'generation' in generation && generation.generation === id;
  };
  while (!isThere()) await systemClock.sleep(1, done.signal);
  done.abort();
  await answering;
}

function attach(touched: TouchedKeys, from = offset): Disposable {
  return touched.attach({ replid: 'r', offset: from }, () => ({ replid: 'r', offset }));
}

function touch(touched: TouchedKeys, key: string | Buffer, db = 0): void {
  const bytes = Buffer.from(key);
  offset += bytes.length;
  touched.touch(db, bytes, 0, bytes.length);
}

/** Keys as `db key`, or why they are not known. */
async function read(id = ID, to = offset): Promise<string[] | string> {
  const found: string[] = [];
  try {
    for await (const { db, keys } of touchedBatches(directory, { id, mark: { replid: 'r', offset: to } })) {
      for (const key of keys) found.push(`${db} ${key.toString('latin1')}`);
    }
  } catch (error) {
    return String(error instanceof Error ? error.message : error);
  }
  return found.sort();
}

test('nothing is kept before a verification wants it, nor without a stream', async () => {
  using touched = open();
  touch(touched, 'before');
  expect(touched.isTracking).toBe(false);
  using _ = attach(touched);
  await begin(touched);
  touch(touched, 'after');
  touched.flush(offset);
  expect(await read()).toEqual(['0 after']);
});

test('each key is there once, of every database, whatever its bytes and its length', async () => {
  using touched = open();
  using _ = attach(touched);
  await begin(touched);
  const large = 'n'.repeat(100_000);
  const huge = 'h'.repeat(3_000_000);
  for (const key of ['a', 'b', 'a', '\r\n\0\xff', '', large, 'c', huge, 'd'])
    touch(touched, Buffer.from(key, 'latin1'));
  touch(touched, 'a', 1);
  touch(touched, 'a', 300);
  touched.flush(offset);
  const expected = ['a', 'b', '\r\n\0\xff', '', large, 'c', huge, 'd'].map((key) => `0 ${key}`);
  expect(await read()).toEqual([...expected, '1 a', '300 a'].sort());
});

test('what is not written yet is not taken for complete', async () => {
  using touched = open();
  using _ = attach(touched);
  await begin(touched);
  touch(touched, 'a');
  expect(await read()).toMatch(/kept no track of touched keys up to offset 101/);
});

test('a new generation begins with nothing, and the one before is gone', async () => {
  using touched = open();
  using _ = attach(touched);
  await begin(touched);
  touch(touched, 'old');
  touched.flush(offset);
  await begin(touched, NEXT_ID);
  touch(touched, 'old');
  touch(touched, 'new');
  touched.flush(offset);
  expect(await read(NEXT_ID)).toEqual(['0 new', '0 old']);
  expect(await read(ID)).toMatch(/another verification has begun/);
  expect(readdirSync(touchedFiles(directory).folder).filter((name) => name.startsWith('keys-'))).toHaveLength(
    1,
  );
});

test('a process that goes on after a crash adds to what is there, also behind a record that was cut off', async () => {
  const killed = open();
  using _ = attach(killed);
  await begin(killed);
  touch(killed, 'committed');
  killed.flush(offset);
  const committed = offset;
  touch(killed, 'never written');
  appendFileSync(touchedFiles(directory).keysPath(ID, 0), Buffer.from([0, 20, 99]));
  using next = open();
  offset = committed;
  using __ = attach(next, committed);
  touch(next, 'never written');
  next.flush(offset);
  expect(await read()).toEqual(['0 committed', '0 never written']);
});

test('a generation that follows another keeps the keys of that until the next begins, and has none of them', async () => {
  using touched = open();
  using _ = attach(touched);
  await begin(touched);
  touch(touched, 'before');
  await begin(touched, NEXT_ID, ID);
  touch(touched, 'after');
  touched.flush(offset);
  const files = touchedFiles(directory);
  const namesIn = (id: string) => Array.from(readRecords(files.keysPath(id, 0)), ({ key }) => String(key));
  expect(files.readGeneration()).toMatchObject({ generation: NEXT_ID, follows: ID });
  expect(namesIn(ID)).toEqual(['before']);
  expect(namesIn(NEXT_ID)).toEqual(['after']);
  await begin(touched, '0'.repeat(16), ID);
  expect(files.readGeneration()).not.toHaveProperty('follows');
  expect(existsSync(files.keysPath(NEXT_ID, 0))).toBe(false);
});

test('a checkpoint beyond what was tracked means that somebody else went on meanwhile', async () => {
  const before = open();
  using _ = attach(before);
  await begin(before);
  touch(before, 'a');
  before.flush(offset);
  using next = open();
  using __ = attach(next, offset + 1);
  expect(await read()).toMatch(/a sync that kept no track here/);
});

test('a restart of the host loses the generation', async () => {
  const before = open();
  using _ = attach(before);
  await begin(before);
  const files = touchedFiles(directory);
  files.writeGeneration({ generation: ID, replid: 'r', offset, bootId: 'another life of the host' });
  using __ = open();
  expect(await read()).toBe('the host was restarted');
});

test.each([
  ['keys', { keysMax: 3 }],
  ['bytes', { bytesMax: 12 }],
])('too many %s lose the generation, and its files', async (_, bounds) => {
  using touched = open(bounds);
  using __ = attach(touched);
  await begin(touched);
  for (const key of ['a', 'b', 'c', 'a', 'b']) touch(touched, key);
  touched.flush(offset);
  expect(await read()).toEqual(['0 a', '0 b', '0 c']);
  touch(touched, 'four');
  touch(touched, 'fiv5');
  touched.flush(offset);
  expect(touched.isTracking).toBe(false);
  expect(await read()).toMatch(/^too many keys were touched: \d in \d+ B/);
  expect(readdirSync(touchedFiles(directory).folder).filter((name) => name.startsWith('keys-'))).toEqual([]);
  await begin(touched, NEXT_ID);
  touch(touched, 'a');
  touched.flush(offset);
  expect(await read(NEXT_ID)).toEqual(['0 a']);
});

test('a process that finds no whole file of its track loses the generation', async () => {
  const before = open();
  using _ = attach(before);
  await begin(before);
  writeFileSync(touchedFiles(directory).trackedPath, 'x');
  using __ = open();
  expect(await read()).toMatch(/could not be written: the file that says how far is not whole/);
});
