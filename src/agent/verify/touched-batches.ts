import { closeSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import { isReservedKey } from '../redis/reserved-key.ts';
import { keysPrefix, type LiveGeneration, touchedFiles } from '../touched/generation.ts';
import { KeyFilter } from '../touched/key-filter.ts';
import { readRecords } from '../touched/key-records.ts';
import { listKeysFiles } from '../touched/touched-keys.ts';
import type { Mark } from './lag.ts';

/** Keys of one database that are compared together. */
export type TouchedBatch = { readonly db: number; readonly keys: readonly Buffer[] };

/** Which keys were touched is not known, or not any more: everything must be compared. */
export class TouchedKeysUnknown extends Error {
  override readonly name = 'TouchedKeysUnknown';
}

const BATCH_KEYS = 500;
const BATCH_BYTES = 256 * 1024;
/** Each has one batch that is being filled; the few databases in use are far fewer. */
const DATABASES_MAX = 64;

/**
 * The keys that were touched in a generation up to the mark, which the target has committed, each about once. With
 * `keysOf`: those of the generation that it follows.
 *
 * @throws {@link TouchedKeysUnknown} when the generation has been lost, or is lost before its keys are read
 */
export async function* touchedBatches(
  directory: string,
  { id, keysOf = id, mark }: { id: string; keysOf?: string; mark: Mark | undefined },
): AsyncGenerator<TouchedBatch> {
  const files = touchedFiles(directory);
  assertComplete(directory, id);
  if (mark === undefined) throw new TouchedKeysUnknown('the source does not say where its stream is');
  if ('shards' in mark) throw new TouchedKeysUnknown('the source is in cluster mode');
  if (readTracked(files.trackedPath) < mark.offset) {
    throw new TouchedKeysUnknown(`the sync kept no track of touched keys up to offset ${mark.offset}`);
  }
  const filling = new Map<number, { keys: Buffer[]; bytes: number }>();
  for (const { db, key } of distinctKeys(files.folder, keysOf)) {
    const batch = filling.get(db) ?? { keys: [], bytes: 0 };
    filling.set(db, batch);
    batch.keys.push(Buffer.from(key));
    batch.bytes += key.length;
    if (batch.keys.length < BATCH_KEYS && batch.bytes < BATCH_BYTES && filling.size <= DATABASES_MAX)
      continue;
    filling.delete(db);
    yield { db, keys: batch.keys };
  }
  for (const [db, { keys }] of filling) yield { db, keys };
  assertComplete(directory, id);
}

/** How many keys have been touched in the generation under way, counted up to a bound; 0 where there is none. */
export function countTouched(directory: string, most: number): number {
  const files = touchedFiles(directory);
  const generation = files.readGeneration();
  if (generation === undefined || 'lost' in generation) return 0;
  let count = 0;
  for (const _ of distinctKeys(files.folder, generation.generation)) {
    count += 1;
    if (count >= most) break;
  }
  return count;
}

/** The generation under way. @throws {@link TouchedKeysUnknown} when it is not this one */
export function assertComplete(directory: string, id: string): LiveGeneration {
  const generation = touchedFiles(directory).readGeneration();
  if (generation === undefined) throw new TouchedKeysUnknown('no sync keeps track of touched keys');
  if ('lost' in generation) throw new TouchedKeysUnknown(generation.lost);
  if (generation.generation === id) return generation;
  throw new TouchedKeysUnknown('another verification has begun since the last full one passed');
}

function* distinctKeys(folder: string, id: string): Generator<{ db: number; key: Buffer }> {
  const filter = new KeyFilter();
  const names = listKeysFiles(folder).filter((name) => name.startsWith(keysPrefix(id)));
  for (const name of names) {
    for (const record of readRecords(path.join(folder, name))) {
      const { db, key } = record;
      if ((db !== 0 || !isReservedKey(key)) && filter.add(db, key, 0, key.length)) yield record;
    }
  }
}

function readTracked(file: string): number {
  const bytes = Buffer.alloc(8);
  const descriptor = openSync(file, 'r');
  try {
    return readSync(descriptor, bytes, 0, 8, 0) === 8 ? bytes.readDoubleLE(0) : -1;
  } finally {
    closeSync(descriptor);
  }
}
