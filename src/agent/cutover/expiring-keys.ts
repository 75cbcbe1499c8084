import path from 'node:path';
import { errorText } from '../../core/errors.ts';
import { formatBytes } from '../../core/units.ts';
import { removeIfThere } from '../job/files.ts';
import type { Access } from '../redis/access.ts';
import { openRoutedConnection } from '../redis/cluster/routed-connection.ts';
import { isPadded } from '../redis/expiry-pad.ts';
import { keysPrefix, touchedFiles } from '../touched/generation.ts';
import { readRecords, type TouchedKey } from '../touched/key-records.ts';
import { listKeysFiles } from '../touched/touched-keys.ts';
import { assertComplete, TouchedKeysUnknown } from '../verify/touched-batches.ts';
import { findExpiring } from './expiring-databases.ts';
import { openNotes } from './notes.ts';
import { rewriteExpiries } from './rewrite-expiries.ts';
import { findHashes } from './settle-fields.ts';

/** Names of keys on disk, for one cutover; beyond it all keys are gone over behind the fence. */
const NOTED_BYTES_MAX = 512 * 1024 * 1024;
/** In the folder of the migration. */
const NOTES_FOLDER = 'expiring';
/** The time of a key, as a double behind its name. */
const TIME_BYTES = 8;

/** A key and its padded time. */
export type NotedKey = TouchedKey & { readonly atMs: number };

/** Where to look, and where to note it. */
export type NoteOptions = {
  readonly target: Access;
  /** The folder of the migration. */
  readonly directory: string;
  readonly signal: AbortSignal;
};

/**
 * What on the target expires, noted before the fence while the sync goes on: behind the fence only these keys, and those
 * that the sync has touched since, can have a padded time, so nobody needs to go over all keys there.
 *
 * A scan sees every key that is there all the time. One that is made, or gets its time, after the scan began is touched
 * after that; so it stands in the generation that is under way from before the scan, or in one that follows it.
 */
export class ExpiringKeys implements Disposable {
  /** The generation of touched keys under way. */
  generation: string;
  readonly #folder: string;
  readonly #migration: string;
  readonly #touched: string[] = [];

  /**
   * Goes over the keys of the target, which stay as they are. Returns the reason where touched keys are not known, or
   * there are too many names.
   *
   * @throws the codes of connections to the target, target-slots-moved, host-state-unwritable, or the signal's reason
   */
  static async note(options: NoteOptions): Promise<ExpiringKeys | { readonly reason: string }> {
    const { directory } = options;
    const generation = touchedFiles(directory).readBase()?.generation;
    if (generation === undefined) return { reason: 'no full verification keeps track of touched keys' };
    removeNotes(directory);
    const noted = new ExpiringKeys(directory, generation);
    try {
      assertComplete(directory, generation);
      if (await noteAll(noted.#folder, options)) return noted;
      removeNotes(directory);
      return { reason: `the names of keys that expire take more than ${formatBytes(NOTED_BYTES_MAX)}` };
    } catch (error) {
      removeNotes(directory);
      // A disk without room makes the write pause longer, and is no reason not to cut over.
      const isOfDisk = error instanceof Error && 'syscall' in error;
      if (isOfDisk || error instanceof TouchedKeysUnknown) return { reason: errorText(error) };
      throw error;
    }
  }

  private constructor(migration: string, generation: string) {
    this.#migration = migration;
    this.#folder = path.join(migration, NOTES_FOLDER);
    this.generation = generation;
  }

  /** Goes on with the generation of the base, which follows the one until now, and keeps the keys of that. */
  follow(): void {
    const generation = touchedFiles(this.#migration).readBase()?.generation;
    if (generation === undefined || generation === this.generation) return;
    const { folder } = touchedFiles(this.#migration);
    // A generation is smaller than what may be noted, so nothing is left out.
    const file = path.join(this.#folder, `touched-${generation}`);
    using notes = openNotes(file, NOTED_BYTES_MAX);
    for (const name of listKeysFiles(folder)) {
      if (!name.startsWith(keysPrefix(this.generation))) continue;
      for (const { db, key } of readRecords(path.join(folder, name))) notes.add(db, key);
    }
    notes.end();
    this.#touched.push(file);
    this.generation = generation;
  }

  /** The keys that had a padded time. */
  *keys(): Generator<NotedKey> {
    for (const { db, key } of readRecords(path.join(this.#folder, 'keys'))) {
      const end = key.length - TIME_BYTES;
      yield { db, key: key.subarray(0, end), atMs: key.readDoubleLE(end) };
    }
  }

  /** The hashes that had fields with a padded time. */
  hashes(): Iterable<TouchedKey> {
    return readRecords(path.join(this.#folder, 'hashes'));
  }

  /** The keys of the generations that are over. */
  *touched(): Generator<TouchedKey> {
    for (const file of this.#touched) yield* readRecords(file);
  }

  [Symbol.dispose](): void {
    removeNotes(this.#migration);
  }
}

/** Removes what a cutover has noted. @throws host-state-unwritable */
export function removeNotes(directory: string): void {
  removeIfThere(path.join(directory, NOTES_FOLDER));
}

/** Whether it was possible within the bounds. */
async function noteAll(folder: string, { target, signal }: NoteOptions): Promise<boolean> {
  using keys = openNotes(path.join(folder, 'keys'), NOTED_BYTES_MAX);
  using hashes = openNotes(path.join(folder, 'hashes'), NOTED_BYTES_MAX);
  const time = Buffer.alloc(TIME_BYTES);
  for (const { db, hasKeys, hasFields } of await findExpiring(target, signal)) {
    await using connection = await openRoutedConnection(target, { db, signal });
    if (hasKeys) {
      await rewriteExpiries(connection, (found) => {
        for (const { key, atMs } of found) {
          if (!isPadded(atMs)) continue;
          time.writeDoubleLE(atMs);
          keys.add(db, key, time);
        }
        return [];
      });
    }
    if (!hasFields) continue;
    for await (const found of findHashes(connection)) {
      for (const key of found) hashes.add(db, key);
    }
  }
  keys.end();
  hashes.end();
  return !keys.isFull && !hashes.isFull;
}
