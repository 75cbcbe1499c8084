import { closeSync, mkdirSync, openSync, readSync, rmSync, statfsSync, unlinkSync, writeSync } from 'node:fs';
import path from 'node:path';
import { errorText, MigrationError } from '../../core/errors.ts';
import { formatBytes } from '../../core/units.ts';

/** A file of the spool; it is given back to the disk as soon as all of it is read. */
const SEGMENT_BYTES = 64 * 1024 * 1024;
/** What is read back at once. */
const READ_BYTES = 256 * 1024;
/** What a spool leaves free on the disk of the host, which others need too. */
const DISK_RESERVE_BYTES = 1024 * 1024 * 1024;
/** The most that is spooled, however large the disk is. */
export const SPOOL_BYTES_MAX = 1024 * 1024 * 1024 * 1024;
/** Bytes that arrive within so short a time are taken to arrive together: what is noted of arrivals stays in memory. */
const ARRIVAL_PRECISION_MS = 100;

/** What was written from the place `from` on, up to the next arrival, came at `atMs`. */
type Arrival = { readonly from: number; readonly atMs: number };
type Segment = { readonly file: number; readonly arrivals: Arrival[]; written: number; read: number };

/**
 * Bytes that wait on disk, first in first out: what the source sends and the target cannot take yet.
 *
 * Its files lose their names as soon as they are open: they hold the data of the user, and so nothing of them is left
 * when they are closed, nor when the process is killed. They are neither synced nor read back by a later process: what
 * is lost with them is sent again by the source from the checkpoint on.
 *
 * When bytes arrived is kept to 100 ms, never later than it was: ten notes a second at most, a few megabytes a day.
 *
 * Reading and writing are synchronous. They go to the page cache, for less time than handing them to a thread takes,
 * and a disk that stalls would have to hold back the source in any case.
 */
export class Spool implements Disposable {
  readonly #directory: string;
  readonly #bytesMax: number;
  readonly #segments: Segment[] = [];
  readonly #readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #bytes = 0;

  /** `directory` is made when it is needed; `bytesMax` bounds the spool, besides the space that the disk has. */
  constructor({ directory, bytesMax }: { directory: string; bytesMax: number }) {
    this.#directory = directory;
    this.#bytesMax = bytesMax;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Appends a copy of the bytes, which have arrived at `arrivedAtMs`. @throws spool-full, spool-failed */
  push(bytes: Buffer, arrivedAtMs: number): void {
    if (this.#bytes + bytes.length > this.#bytesMax)
      throw spoolFull(`the ${formatBytes(this.#bytesMax)} allowed`);
    try {
      let at = 0;
      while (at < bytes.length) {
        const segment = this.#segmentToWrite();
        noteArrival(segment, arrivedAtMs);
        const written = writeSync(segment.file, bytes, at, bytes.length - at, segment.written);
        segment.written += written;
        this.#bytes += written;
        at += written;
      }
    } catch (error) {
      throw toSpoolError(error, this.#directory);
    }
  }

  /**
   * Takes out the next bytes that arrived together; they hold until the next call. Undefined when none wait.
   *
   * @throws spool-failed
   */
  shift(): { bytes: Buffer; arrivedAtMs: number } | undefined {
    const segment = this.#segments[0];
    if (segment === undefined || this.#bytes === 0) return undefined;
    try {
      const [arrival, next] = segment.arrivals;
      if (arrival === undefined) throw new Error('a segment without an arrival');
      const end = next?.from ?? segment.written;
      const wanted = Math.min(READ_BYTES, end - segment.read);
      const count = readSync(segment.file, this.#readBuffer, 0, wanted, segment.read);
      if (count === 0) throw new Error('a segment is shorter than what was written to it');
      segment.read += count;
      if (segment.read === next?.from) segment.arrivals.shift();
      this.#bytes -= count;
      const isLast = this.#segments.length === 1;
      if (segment.read === segment.written && (!isLast || this.#bytes === 0)) this.#dropSegment();
      return { bytes: this.#readBuffer.subarray(0, count), arrivedAtMs: arrival.atMs };
    } catch (error) {
      throw toSpoolError(error, this.#directory);
    }
  }

  /** Gives everything back to the disk. */
  [Symbol.dispose](): void {
    while (this.#segments.length > 0) this.#dropSegment();
    this.#bytes = 0;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #segmentToWrite(): Segment {
    const last = this.#segments.at(-1);
    if (last !== undefined && last.written < SEGMENT_BYTES) return last;
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const { bavail, bsize } = statfsSync(this.#directory);
    if (bavail * bsize < DISK_RESERVE_BYTES + SEGMENT_BYTES) {
      throw spoolFull(`all but the ${formatBytes(DISK_RESERVE_BYTES)} that stay free on the disk`);
    }
    const file = openNameless(path.join(this.#directory, 'segment'));
    const segment: Segment = { file, arrivals: [], written: 0, read: 0 };
    this.#segments.push(segment);
    return segment;
  }

  #dropSegment(): void {
    const segment = this.#segments.shift();
    if (segment !== undefined) closeSync(segment.file);
  }
}

/** A clock that was set back makes a note of its own too: it is what later times are counted from. */
function noteArrival({ arrivals, written }: Segment, atMs: number): void {
  const last = arrivals.at(-1);
  if (last !== undefined && atMs >= last.atMs && atMs < last.atMs + ARRIVAL_PRECISION_MS) return;
  arrivals.push({ from: written, atMs });
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
