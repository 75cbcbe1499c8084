import { randomBytes, randomFillSync } from 'node:crypto';
import type { Command } from '../../src/agent/redis/raw-connection.ts';
import { makeRandom } from '../servers/data-set.ts';
import { makeEntry } from '../servers/data-set-entries.ts';
import type { DataSetId } from './options.ts';

/** Data whose copy is measured. */
export type DataSet = {
  readonly title: string;
  /** What is counted: keys, or what a few large keys consist of. */
  readonly itemName: 'keys' | 'fields' | 'bytes';
  readonly items: number;
  /** The commands that make so many items, in batches of about a megabyte or a thousand commands. */
  batches(items: number): Generator<readonly Command[]>;
};

const MEGABYTE = 1_000_000;
const BATCH_COMMANDS = 1_000;
const CHUNK_FIELDS = 1_000;

/** The data sets by name; A to E for speed, F and G for memory. */
export const DATA_SETS: Readonly<Record<DataSetId, DataSet>> = {
  A: { title: 'strings of 100 random bytes', itemName: 'keys', items: 2_000_000, batches: strings },
  B: { title: 'hashes of 10 fields', itemName: 'keys', items: 200_000, batches: hashes },
  C: { title: 'all types, TTL on a fifth', itemName: 'keys', items: 500_000, batches: mixture },
  D: { title: 'strings of 1 MB, incompressible', itemName: 'keys', items: 2_000, batches: blobs },
  E: { title: '5 hashes', itemName: 'fields', items: 5_000_000, batches: (items) => largeHashes(items, 5) },
  F: { title: 'one string', itemName: 'bytes', items: 512 * 1024 * 1024, batches: oneString },
  G: { title: 'one hash', itemName: 'fields', items: 5_000_000, batches: (items) => largeHashes(items, 1) },
};

function* strings(items: number): Generator<readonly Command[]> {
  const size = 100;
  for (let from = 0; from < items; from += BATCH_COMMANDS) {
    const count = Math.min(BATCH_COMMANDS, items - from);
    const values = randomBytes(count * size);
    yield Array.from({ length: count }, (_, index) => {
      return ['SET', `key:${from + index}`, values.subarray(index * size, (index + 1) * size)];
    });
  }
}

function* hashes(items: number): Generator<readonly Command[]> {
  for (let from = 0; from < items; from += BATCH_COMMANDS) {
    yield Array.from({ length: Math.min(BATCH_COMMANDS, items - from) }, (_, index) => {
      const values = randomBytes(10 * 6).toString('hex');
      const fields = Array.from({ length: 10 }, (_field, field) => [
        `field-${field}`,
        values.slice(field * 12, field * 12 + 12),
      ]);
      return ['HSET', `user:${from + index}`, ...fields.flat()];
    });
  }
}

/** The mixture of the tests: every type in every encoding, names that are no text among the keys. */
function* mixture(items: number): Generator<readonly Command[]> {
  const random = makeRandom(42);
  let batch: Command[] = [];
  for (let index = 0; index < items; index++) {
    batch.push(...makeEntry(index, { random, hashFieldTtls: false }).commands);
    if (batch.length < BATCH_COMMANDS) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

function* blobs(items: number): Generator<readonly Command[]> {
  for (let index = 0; index < items; index++) {
    yield [['SET', `blob:${index}`, randomFillSync(Buffer.allocUnsafe(MEGABYTE))]];
  }
}

function* largeHashes(items: number, keys: number): Generator<readonly Command[]> {
  const fieldsEach = Math.ceil(items / keys);
  for (let key = 0; key < keys; key++) {
    for (let from = 0; from < fieldsEach; from += CHUNK_FIELDS) {
      const count = Math.min(CHUNK_FIELDS, fieldsEach - from);
      const pairs = Array.from({ length: count }, (_, index) => [
        `field:${from + index}`,
        `value:${key}:${from + index}`,
      ]);
      yield [['HSET', `hash:${key}`, ...pairs.flat()]];
    }
  }
}

function* oneString(items: number): Generator<readonly Command[]> {
  for (let from = 0; from < items; from += 8 * MEGABYTE) {
    yield [['APPEND', 'large', randomBytes(Math.min(8 * MEGABYTE, items - from))]];
  }
}
