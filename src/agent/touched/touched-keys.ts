import { closeSync, mkdirSync, openSync, readdirSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { errorText } from '../../core/errors.ts';
import { formatBytes, formatCount } from '../../core/units.ts';
import { readBootId } from '../job/process-identity.ts';
import {
  keysPrefix,
  type LiveGeneration,
  TOUCHED_BYTES_MAX,
  TOUCHED_KEYS_MAX,
  touchedFiles,
} from './generation.ts';
import { KeyFilter } from './key-filter.ts';
import { putRecordHead, RECORD_HEAD_BYTES_MAX } from './key-records.ts';

/** How a sync keeps track. */
export type TouchedKeysOptions = {
  /** The folder of the migration. */
  readonly directory: string;
  readonly log: (message: string) => void;
  readonly bytesMax?: number;
  readonly keysMax?: number;
  /** Called when a generation has begun: what may change without being told is touched at once. */
  readonly onBegin?: () => void;
};

/** A place in the stream of the source. */
export type StreamPlace = { readonly replid: string; readonly offset: number };

const BUFFER_BYTES = 64 * 1024;
const POLL_MS = 25;

/**
 * Keeps the keys that a sync changes in files, from when a verification wants it: see generation.ts for the protocol.
 *
 * Before that, and after a generation is lost, it costs nothing. Each key is written about once, see {@link KeyFilter}.
 */
export class TouchedKeys implements Disposable {
  /** Whether keys are to be told at all. */
  isTracking = false;
  readonly #files: ReturnType<typeof touchedFiles>;
  readonly #log: (message: string) => void;
  readonly #bytesMax: number;
  readonly #keysMax: number;
  readonly #onBegin: (() => void) | undefined;
  readonly #bootId = readBootId();
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #used = 0;
  #filter = new KeyFilter();
  #generation: LiveGeneration | undefined;
  #keysFile: number | undefined;
  #trackedFile: number | undefined;
  readonly #tracked = Buffer.alloc(8);
  #trackedOffset = -1;
  #bytes = 0;
  #keys = 0;
  /** Where the stream stands, as long as it is applied. */
  #place: (() => StreamPlace) | undefined;

  /** Goes on with the generation that an earlier process has left. */
  constructor({
    directory,
    log,
    bytesMax = TOUCHED_BYTES_MAX,
    keysMax = TOUCHED_KEYS_MAX,
    onBegin,
  }: TouchedKeysOptions) {
    this.#onBegin = onBegin;
    this.#files = touchedFiles(directory);
    this.#log = log;
    this.#bytesMax = bytesMax;
    this.#keysMax = keysMax;
    const left = this.#files.readGeneration();
    if (left === undefined || 'lost' in left) return;
    this.#generation = left;
    if (left.bootId === this.#bootId) this.#attempt(() => this.#goOn(left));
    else this.lose('the host was restarted');
  }

  /** Takes note that the stream is applied from `start` on; the result ends that. */
  attach(start: StreamPlace, place: () => StreamPlace): Disposable {
    if (this.isTracking && start.offset > this.#trackedOffset) {
      this.lose(`keys up to offset ${start.offset} were changed by a sync that kept no track here`);
    }
    this.#place = place;
    return {
      [Symbol.dispose]: () => {
        this.#place = undefined;
      },
    };
  }

  /** Takes note of a key that is about to be changed. */
  touch(db: number, bytes: Buffer, start: number, end: number): void {
    if (!this.isTracking || !this.#filter.add(db, bytes, start, end)) return;
    const length = end - start;
    if (this.#used + length + RECORD_HEAD_BYTES_MAX > BUFFER_BYTES) this.#attempt(() => this.#writeBuffer());
    const from = this.#used;
    this.#used = putRecordHead(this.#buffer, from, { db, length });
    this.#keys += 1;
    this.#bytes += this.#used - from + length;
    if (this.#bytes > this.#bytesMax || this.#keys > this.#keysMax) {
      const [keys, size] = [formatCount(this.#keys), formatBytes(this.#bytes)];
      this.lose(`too many keys were touched: ${keys} in ${size}`);
    } else if (length > BUFFER_BYTES - this.#used) {
      this.#attempt(() => {
        this.#writeBuffer();
        this.#writeKeys(bytes.subarray(start, end));
      });
    } else {
      this.#used += bytes.copy(this.#buffer, this.#used, start, end);
    }
  }

  /** Ends the generation, if there is one. @throws host-state-unwritable when not even that can be noted */
  lose(reason: string): void {
    if (this.#generation === undefined) return;
    this.#log(`no longer keeps track of touched keys: ${reason}`);
    this.#end();
    try {
      this.#files.writeGeneration({ lost: reason });
    } catch {
      // A disk without room can still forget a file, and none says the same.
      this.#files.removeGeneration();
    }
    this.#removeKeys([]);
  }

  /** Writes what was touched of the stream up to an offset: to be called before its checkpoint is sent. */
  flush(offset: number): void {
    if (!this.isTracking) return;
    this.#attempt(() => {
      this.#writeBuffer();
      this.#writeTracked(offset);
    });
  }

  /** Looks now and then whether a verification wants a new generation, until the signal is aborted. */
  async answer({ clock, signal }: { clock: Clock; signal: AbortSignal }): Promise<void> {
    while (!signal.aborted) {
      await clock.sleep(POLL_MS, signal).catch(() => {
        // Aborted: the loop ends by itself.
      });
      if (this.#place !== undefined && statSync(this.#files.wantedPath, { throwIfNoEntry: false }))
        this.#begin();
    }
  }

  /** Closes the files; what is in them stays for the next process. */
  [Symbol.dispose](): void {
    this.#end();
  }

  /** Begins the generation that is wanted. Of the one before, only one that is followed is still needed. */
  #begin(): void {
    const wanted = this.#files.readWanted();
    this.#files.unwant();
    const place = this.#place?.();
    if (wanted === undefined || place === undefined) return;
    const { generation } = wanted;
    const follows = this.#close(wanted.follows);
    const { replid, offset } = place;
    const bootId = this.#bootId;
    this.#generation = {
      generation,
      replid,
      offset,
      ...(bootId === undefined ? {} : { bootId }),
      ...(follows === undefined ? {} : { follows }),
    };
    this.#attempt(() => {
      this.#open(generation, 0);
      this.#writeTracked(offset);
      if (this.#generation !== undefined) this.#files.writeGeneration(this.#generation);
      this.isTracking = true;
      this.#removeKeys(follows === undefined ? [generation] : [generation, follows]);
      this.#log(`keeps track of touched keys from offset ${offset} on`);
      this.#onBegin?.();
    });
  }

  /** Ends the generation under way; returns its id when it is the one to be followed, and complete. */
  #close(followed: string | undefined): string | undefined {
    if (followed !== undefined && this.#generation?.generation === followed) {
      this.#attempt(() => this.#writeBuffer());
    }
    const closed = this.#generation?.generation;
    this.#end();
    return closed !== undefined && closed === followed ? closed : undefined;
  }

  #goOn({ generation }: LiveGeneration): void {
    const segments = this.#segments(generation);
    const sizes = segments.map((name) => statSync(path.join(this.#files.folder, name)).size);
    this.#open(generation, segments.length);
    if (this.#trackedFile === undefined || readSync(this.#trackedFile, this.#tracked, 0, 8, 0) !== 8) {
      throw new Error('the file that says how far is not whole');
    }
    this.#trackedOffset = this.#tracked.readDoubleLE(0);
    this.#bytes = sizes.reduce((sum, size) => sum + size, 0);
    this.isTracking = true;
  }

  #open(generation: string, segment: number): void {
    mkdirSync(this.#files.folder, { recursive: true, mode: 0o700 });
    this.#keysFile = openSync(this.#files.keysPath(generation, segment), 'wx', 0o600);
    this.#trackedFile = openSync(this.#files.trackedPath, segment === 0 ? 'w+' : 'r+', 0o600);
  }

  #end(): void {
    this.isTracking = false;
    this.#generation = undefined;
    if (this.#keysFile !== undefined) closeSync(this.#keysFile);
    if (this.#trackedFile !== undefined) closeSync(this.#trackedFile);
    this.#keysFile = undefined;
    this.#trackedFile = undefined;
    this.#filter = new KeyFilter();
    this.#trackedOffset = -1;
    this.#used = 0;
    this.#bytes = 0;
    this.#keys = 0;
  }

  /** The sync goes on whatever becomes of its track. */
  #attempt(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.lose(`they could not be written: ${errorText(error)}`);
    }
  }

  #writeBuffer(): void {
    this.#writeKeys(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }

  #writeKeys(bytes: Buffer): void {
    if (this.#keysFile === undefined) return;
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#keysFile, bytes, at);
  }

  #writeTracked(offset: number): void {
    // The primaries of a cluster are not in step.
    if (this.#trackedFile === undefined || offset <= this.#trackedOffset) return;
    this.#tracked.writeDoubleLE(offset, 0);
    writeSync(this.#trackedFile, this.#tracked, 0, 8, 0);
    this.#trackedOffset = offset;
  }

  #segments(generation: string): readonly string[] {
    return listKeysFiles(this.#files.folder).filter((name) => name.startsWith(keysPrefix(generation)));
  }

  /** Removes the files of keys of all generations but these. */
  #removeKeys(kept: readonly string[]): void {
    for (const name of listKeysFiles(this.#files.folder)) {
      if (kept.some((id) => name.startsWith(keysPrefix(id)))) continue;
      rmSync(path.join(this.#files.folder, name), { force: true });
    }
  }
}

/** The names of all files of keys in the folder. */
export function listKeysFiles(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => /^keys-[0-9a-f]+-\d+$/.test(name));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
