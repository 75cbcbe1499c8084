import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import path from 'node:path';
import type { KeyDisplay } from '../../contract/jobs.ts';
import type { DifferenceKind, DifferenceListFile } from '../../contract/reports.ts';
import { errorText } from '../../core/errors.ts';
import { formatBytes } from '../../core/units.ts';
import { displayName } from '../redis/key-display.ts';

/** A key that differs, with everything that was found of it. */
export type DifferingKey = {
  readonly db: number;
  readonly key: Buffer;
  readonly type: string;
  readonly differences: readonly { readonly kind: DifferenceKind; readonly detail: string }[];
};

/** What stays free on the disk of the host, whatever there is to list. */
const DISK_RESERVE_BYTES = 256 * 1024 * 1024;
/** What waits in memory to be written; the disk is looked at before each write. */
const BUFFER_BYTES = 256 * 1024;
/** A longer name is listed by its digest alone. */
const NAME_BYTES_MAX = 1024 * 1024;
const NAME = /^differences-[0-9a-z-]+\.ndjson$/;

/**
 * All differing keys on the host, a line of JSON each, written while they are found:
 *
 *   {"db":0,"key":"name","keyBase64":"bmFtZQ==","type":"hash","differences":[{"kind":"ttl","detail":"..."}]}
 *
 * `key` is shown, hashed or hidden as the report does it. That the key can be found again there is `keyBase64`, its
 * bytes, where keys are shown, and `keySha256`, the whole digest, where they are not. A list that the disk had no room
 * for ends with `{"cut":true}`, and the report says so; no verification fails for it.
 */
export class DifferenceList implements Disposable {
  readonly #path: string;
  readonly #display: KeyDisplay;
  readonly #reserveBytes: number;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #keys = 0;
  #keysCut = 0;
  #bytes = 0;
  #cutBecause: string | undefined;

  /** The lists of earlier verifications are removed: their reports then point at nothing, not at something else. */
  constructor(options: {
    readonly directory: string;
    readonly verificationId: string;
    readonly keyDisplay: KeyDisplay;
    readonly reserveBytes?: number;
  }) {
    this.#path = path.join(options.directory, `differences-${options.verificationId}.ndjson`);
    this.#display = options.keyDisplay;
    this.#reserveBytes = options.reserveBytes ?? DISK_RESERVE_BYTES;
    removeDifferenceLists(options.directory);
  }

  /** Adds a line, or counts what there is no room for. */
  add({ db, key, type, differences }: DifferingKey): void {
    const name = displayName(key, this.#display);
    this.#addLine({ db, key: name, ...identify(key, this.#display), type, differences });
  }

  /** Adds what is no key, such as a function library, by the name that is shown of it. */
  addNamed(item: Omit<DifferingKey, 'key'> & { readonly key: string }): void {
    this.#addLine(item);
  }

  /** Writes what waits; undefined when nothing was added. */
  finish(): DifferenceListFile | undefined {
    this.#flush();
    if (this.#keys + this.#keysCut === 0) return undefined;
    const cut = { keysCut: this.#keysCut, cutBecause: this.#cutBecause };
    return {
      path: this.#path,
      keys: this.#keys,
      bytes: this.#bytes,
      ...(this.#cutBecause === undefined ? {} : cut),
    };
  }

  /** Keeps what was found so far under another name and begins anew, before keys that were mended are compared again. */
  setAside(): DifferenceListFile | undefined {
    const found = this.finish();
    const path = this.#path.replace(/\.ndjson$/, '-before-repair.ndjson');
    try {
      if (found !== undefined) renameSync(this.#path, path);
    } catch {
      // It was cut before its first line, or somebody has removed it: then there is nothing to keep.
      return undefined;
    } finally {
      this.clear();
    }
    return found && { ...found, path };
  }

  /** Begins anew. */
  clear(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#keys = 0;
    this.#keysCut = 0;
    this.#bytes = 0;
    this.#cutBecause = undefined;
    rmSync(this.#path, { force: true });
  }

  /** Writes what waits. */
  [Symbol.dispose](): void {
    this.#flush();
  }

  #addLine(item: object): void {
    if (this.#cutBecause !== undefined) {
      this.#keysCut += 1;
      return;
    }
    const line = `${JSON.stringify(item)}\n`;
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    if (this.#waitingBytes >= BUFFER_BYTES) this.#flush();
  }

  #flush(): void {
    const lines = this.#waiting.splice(0);
    this.#waitingBytes = 0;
    if (lines.length === 0) return;
    const text = lines.join('');
    const because = this.#append(text, this.#reserveBytes);
    if (because === undefined) {
      this.#keys += lines.length;
      this.#bytes += Buffer.byteLength(text);
      return;
    }
    this.#cutBecause = because;
    this.#keysCut += lines.length;
    this.#append('{"cut":true}\n', 0);
  }

  /** Why it could not be written. */
  #append(text: string, reserveBytes: number): string | undefined {
    try {
      const directory = path.dirname(this.#path);
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const { bavail, bsize } = statfsSync(directory);
      if (bavail * bsize < reserveBytes + text.length) {
        return `the disk of the host has less than ${formatBytes(reserveBytes)} left`;
      }
      appendFileSync(this.#path, text, { mode: 0o600 });
      return undefined;
    } catch (error) {
      return `the disk of the host did not take it: ${errorText(error)}`.slice(0, 300);
    }
  }
}

/** Removes the lists in the folder of a migration. */
export function removeDifferenceLists(directory: string): void {
  try {
    for (const name of readdirSync(directory)) if (NAME.test(name)) rmSync(path.join(directory, name));
  } catch {
    // There is no folder yet, or another verification has removed them: a list that is left does no harm.
  }
}

function identify(key: Buffer, display: KeyDisplay): object {
  if (display === 'shown' && key.length <= NAME_BYTES_MAX) return { keyBase64: key.toString('base64') };
  return { keySha256: createHash('sha256').update(key).digest('hex') };
}
