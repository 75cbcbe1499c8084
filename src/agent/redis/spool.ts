import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { errorText, MigrationError } from '../../core/errors.ts';
import { formatBytes } from '../../core/units.ts';
import { type Arrival, findArrival, lastUpTo, noteArrival } from './arrivals.ts';
import type { Piece } from './recent-bytes.ts';

/*
 * directory = *segment                            of one stream, each begins where the one before it ends
 * segment   = replid "_" offset "_" boot id       offset: how much of the stream lies before its first byte
 *           | "unplaced_" number                  while an RDB is still under way, which no later process can use
 */

/** A file of the spool; it is given back to the disk as soon as none of it is needed any more. */
const SEGMENT_BYTES = 64 * 1024 * 1024;
/** What is read back at once. */
const READ_BYTES = 256 * 1024;
/** What a spool leaves free on the disk of the host, which others need too. */
const DISK_RESERVE_BYTES = 1024 * 1024 * 1024;
/** The most that is spooled, however large the disk is. */
export const SPOOL_BYTES_MAX = 1024 * 1024 * 1024 * 1024;
/** A boot id that no host has: what is written under it is never taken up again. */
const NO_BOOT = 'unknown';

type Segment = { readonly from: number; readonly arrivals: Arrival[]; size: number; name: string };
type Opened = { readonly segment: Segment; readonly file: number };

/** Where a spool lies. */
export type SpoolOptions = {
  /** Made when it is needed. */
  readonly directory: string;
  /** Bounds the spool, besides the space that the disk has. */
  readonly bytesMax: number;
  /**
   * Names the life of this host's kernel: what was written in an earlier one may be torn. Undefined where the system
   * does not say; nothing is taken up by a later process then.
   */
  readonly bootId: string | undefined;
  /** How large a file becomes; 64 MiB unless told. */
  readonly segmentBytes?: number;
};

/** The place in a stream that the spool's place 0 stands for; it may lie before the stream's beginning. */
export type StreamPlace = { readonly replid: string; readonly baseOffset: number };

/**
 * Bytes of a stream that lie on disk, in segments that follow each other: what the source sends and the target has not
 * committed yet. Each byte has a place, its number from some beginning on.
 *
 * The segments of a stream are named for what they hold, so that a process that was killed is followed by one that
 * finds them. They are not synced: a killed process leaves the page cache behind, and segments of before a reboot, of
 * which a part may be missing, are known by the boot id in their names and thrown away.
 *
 * Reading and writing are synchronous. They go to the page cache, for less time than handing them to a thread takes,
 * and a disk that stalls would have to hold back the source in any case.
 */
export class Spool {
  readonly #options: SpoolOptions;
  readonly #segmentBytes: number;
  readonly #segments: Segment[] = [];
  readonly #readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #stream: StreamPlace | undefined;
  #writing: Opened | undefined;
  #reading: Opened | undefined;

  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
  }

  /**
   * Takes up what an earlier process has left of a stream, from the given offset on or from before it, without a gap.
   * Everything else in the directory is deleted.
   *
   * Its places are offsets. Undefined when nothing fits. @throws spool-failed
   */
  static recover(options: SpoolOptions, wanted: { replid: string; offset: number }): Spool | undefined {
    const { directory } = options;
    try {
      const found =
        options.bootId === undefined ? [] : findSegments(directory, options.bootId, wanted.replid);
      const chain = chainFrom(found, wanted.offset);
      for (const name of listNames(directory)) {
        if (!chain.some((segment) => segment.name === name))
          rmSync(path.join(directory, name), { recursive: true });
      }
      if (chain.length === 0) return undefined;
      const spool = new Spool(options);
      spool.#segments.push(...chain);
      spool.#stream = { replid: wanted.replid, baseOffset: 0 };
      return spool;
    } catch (error) {
      throw toSpoolError(error, directory);
    }
  }

  /** Whether nothing is on disk. */
  get isEmpty(): boolean {
    return this.#segments.length === 0;
  }

  /** The place of the first byte; 0 when there is none. */
  get from(): number {
    return this.#segments[0]?.from ?? 0;
  }

  /** The place behind the last byte; 0 when there is none. */
  get end(): number {
    const last = this.#segments.at(-1);
    return last === undefined ? 0 : last.from + last.size;
  }

  /**
   * Appends a copy of bytes, which have arrived at `arrivedAtMs`. `place` is where the first of them lies: it must be
   * `end`, unless the spool is empty.
   *
   * @throws spool-full, spool-failed
   */
  push({ bytes, arrivedAtMs }: Piece, place: number): void {
    const { bytesMax, directory } = this.#options;
    if (place + bytes.length - (this.isEmpty ? place : this.from) > bytesMax)
      throw spoolFull(`the ${formatBytes(bytesMax)} allowed`);
    try {
      let at = 0;
      while (at < bytes.length) {
        const { segment, file } = this.#segmentToWrite(place + at);
        noteArrival(segment.arrivals, { from: place + at, atMs: arrivedAtMs });
        const written = writeSync(file, bytes, at, bytes.length - at, segment.size);
        segment.size += written;
        at += written;
      }
    } catch (error) {
      throw toSpoolError(error, directory);
    }
  }

  /**
   * What lies from a place on, as far as it arrived together; it holds until the next call. Undefined beyond the end.
   *
   * @throws spool-failed
   */
  at(place: number): Piece | undefined {
    const segment = this.#segments[lastUpTo(this.#segments, place)];
    if (segment === undefined || place >= segment.from + segment.size) return undefined;
    try {
      const { atMs, end } = findArrival(segment.arrivals, place);
      const wanted = Math.min(READ_BYTES, Math.min(end, segment.from + segment.size) - place);
      const count = readSync(this.#fileToRead(segment), this.#readBuffer, 0, wanted, place - segment.from);
      if (count === 0) throw new Error('a segment is shorter than what was written to it');
      return { bytes: this.#readBuffer.subarray(0, count), arrivedAtMs: atMs };
    } catch (error) {
      throw toSpoolError(error, this.#options.directory);
    }
  }

  /** Names the segments for the stream that their bytes belong to. @throws spool-failed */
  placeInStream(stream: StreamPlace): void {
    this.#stream = stream;
    const { directory } = this.#options;
    try {
      for (const segment of this.#segments) {
        const name = this.#nameOf(segment.from);
        renameSync(path.join(directory, segment.name), path.join(directory, name));
        segment.name = name;
      }
    } catch (error) {
      throw toSpoolError(error, directory);
    }
  }

  /** Gives the segments that lie before a place altogether back to the disk. @throws spool-failed */
  dropBefore(place: number): void {
    for (let first = this.#segments[0]; first !== undefined; first = this.#segments[0]) {
      if (first.from + first.size > place) return;
      this.#segments.shift();
      if (this.#writing?.segment === first) this.#writing = closed(this.#writing);
      if (this.#reading?.segment === first) this.#reading = closed(this.#reading);
      try {
        rmSync(path.join(this.#options.directory, first.name), { force: true });
      } catch (error) {
        throw toSpoolError(error, this.#options.directory);
      }
    }
  }

  /** Lets go of the files; what is not dropped stays for a later process. */
  close(): void {
    this.#writing = closed(this.#writing);
    this.#reading = closed(this.#reading);
  }

  #segmentToWrite(place: number): Opened {
    const { directory } = this.#options;
    if (this.#writing !== undefined && this.#writing.segment.size < this.#segmentBytes) return this.#writing;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { bavail, bsize } = statfsSync(directory);
    if (bavail * bsize < DISK_RESERVE_BYTES + this.#segmentBytes) {
      throw spoolFull(`all but the ${formatBytes(DISK_RESERVE_BYTES)} that stay free on the disk`);
    }
    const segment: Segment = { from: place, arrivals: [], size: 0, name: this.#nameOf(place) };
    const file = openSync(path.join(directory, segment.name), 'wx', 0o600);
    this.#writing = closed(this.#writing);
    this.#writing = { segment, file };
    this.#segments.push(segment);
    return this.#writing;
  }

  #fileToRead(segment: Segment): number {
    if (this.#reading?.segment === segment) return this.#reading.file;
    this.#reading = closed(this.#reading);
    const file = openSync(path.join(this.#options.directory, segment.name), 'r');
    this.#reading = { segment, file };
    return file;
  }

  #nameOf(place: number): string {
    const stream = this.#stream;
    if (stream === undefined) return `unplaced_${place}`;
    return `${stream.replid}_${place + stream.baseOffset}_${this.#options.bootId ?? NO_BOOT}`;
  }
}

/** Removes a spool with everything in it, whoever has left it. @throws spool-failed */
export function removeSpool(directory: string): void {
  try {
    rmSync(directory, { recursive: true, force: true });
  } catch (error) {
    throw toSpoolError(error, directory);
  }
}

/** The folder of the spool in the folder of a migration. */
export const SPOOL_FOLDER = 'spool';

function closed(opened: Opened | undefined): undefined {
  if (opened !== undefined) closeSync(opened.file);
}

function listNames(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    // Nothing was ever spooled.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

function findSegments(directory: string, bootId: string, replid: string): Segment[] {
  const found: Segment[] = [];
  for (const name of listNames(directory)) {
    const offset = /^([0-9a-f]{40})_(-?\d{1,16})_(.+)$/.exec(name);
    if (offset?.[1] !== replid || offset[3] !== bootId) continue;
    const file = openSync(path.join(directory, name), 'r');
    const from = Number(offset[2]);
    const { size, birthtimeMs, mtimeMs } = fstatSync(file);
    closeSync(file);
    // When it was made is known, and no byte of it had arrived before; where it is not known it is 0.
    const atMs = Math.floor(birthtimeMs > 0 ? Math.min(birthtimeMs, mtimeMs) : mtimeMs);
    found.push({ from, size, name, arrivals: [{ from, atMs }] });
  }
  return found.filter(({ size }) => size > 0).sort((one, other) => one.from - other.from);
}

/** The segments that hold the stream from the offset on without a gap. */
function chainFrom(segments: readonly Segment[], offset: number): Segment[] {
  const chain: Segment[] = [];
  let end: number | undefined;
  for (const segment of segments) {
    const isNext = end === undefined ? segment.from <= offset : segment.from === end;
    if (!isNext) break;
    end = segment.from + segment.size;
    if (end > offset) chain.push(segment);
    else end = undefined;
  }
  return chain;
}

/** Opens a new file for reading and writing that is gone once it is closed. */
export function openNameless(file: string): number {
  rmSync(file, { force: true });
  const descriptor = openSync(file, 'wx+', 0o600);
  unlinkSync(file);
  return descriptor;
}

/** Names what is wrong with the disk: spool-full or spool-failed. */
export function toSpoolError(error: unknown, directory: string): MigrationError {
  if (error instanceof MigrationError) return error;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT') return spoolFull(`all the space of ${directory}`, error);
  return new MigrationError(
    'spool-failed',
    `The disk of the host failed while bytes were spooled in ${directory}: ${errorText(error)}.`,
    { cause: error },
  );
}

function spoolFull(what: string, cause?: unknown): MigrationError {
  return new MigrationError(
    'spool-full',
    `The target takes less than the source sends, and what waits on the host has filled ${what}.`,
    { cause },
  );
}
