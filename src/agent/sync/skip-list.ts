import fs from 'node:fs';
import { SKIPPED_NAME_LENGTH_MAX, SKIPPED_SAMPLE_MAX } from '../../contract/skipped.ts';

/** One key that was left out, with its name as it may be shown. */
export type SkippedKey = { readonly db: number; readonly key: string; readonly reason: string };

/** The most that the list takes on the disk of the host. */
export const SKIP_LIST_BYTES_MAX = 64 * 1024 * 1024;
/** What waits in memory to be written. */
const BUFFER_BYTES = 64 * 1024;
/** How much of an earlier list is read again for its first names. */
const HEAD_BYTES = 1024 * 1024;

/**
 * The keys that a sync has left out, on the host: a line of JSON each, in the order in which it came upon them.
 *
 * After a restart a key may stand in it twice. It ends with `{"cut":true}` when there was more than it may hold, or
 * when the disk did not take it: nothing depends on it but the reader's curiosity.
 */
export class SkipList {
  readonly #path: string;
  readonly #bytesMax: number;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #bytes = 0;
  #isCut = false;

  constructor(path: string, { bytesMax = SKIP_LIST_BYTES_MAX } = {}) {
    this.#path = path;
    this.#bytesMax = bytesMax;
    this.#bytes = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Begins a new list. */
  clear(): void {
    fs.rmSync(this.#path, { force: true });
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#bytes = 0;
    this.#isCut = false;
  }

  /** Adds a key, or the last line when there is no room for it. */
  add(key: SkippedKey): void {
    if (this.#isCut) return;
    const line = `${JSON.stringify(key)}\n`;
    this.#isCut = this.#bytes + line.length > this.#bytesMax;
    const added = this.#isCut ? '{"cut":true}\n' : line;
    this.#waiting.push(added);
    this.#waitingBytes += added.length;
    this.#bytes += added.length;
    if (this.#waitingBytes >= BUFFER_BYTES) this.flush();
  }

  /** Writes what waits. */
  flush(): void {
    if (this.#waitingBytes === 0) return;
    const text = this.#waiting.join('');
    this.#waiting = [];
    this.#waitingBytes = 0;
    try {
      fs.appendFileSync(this.#path, text);
    } catch {
      // A full disk must not end a migration for a list of names: the counts do not depend on it.
      this.#isCut = true;
    }
  }

  /** The first names of each reason, `db0 name`, as far as they stand near the beginning. */
  sample(): ReadonlyMap<string, string[]> {
    const sample = new Map<string, string[]>();
    for (const line of readHead(this.#path).split('\n').slice(0, -1)) {
      const { db, key, reason }: Partial<SkippedKey> = JSON.parse(line);
      if (db === undefined || key === undefined || reason === undefined) continue;
      const names = sample.get(reason) ?? [];
      const name = sampleName({ db, key });
      if (names.length < SKIPPED_SAMPLE_MAX && !names.includes(name)) names.push(name);
      sample.set(reason, names);
    }
    return sample;
  }
}

/** `db0 name`, cut. */
export function sampleName({ db, key }: Pick<SkippedKey, 'db' | 'key'>): string {
  const isCut = key.length > SKIPPED_NAME_LENGTH_MAX;
  return `db${db} ${isCut ? `${key.slice(0, SKIPPED_NAME_LENGTH_MAX)}…` : key}`;
}

function readHead(path: string): string {
  if (!fs.existsSync(path)) return '';
  const file = fs.openSync(path, 'r');
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    return head.toString('utf8', 0, fs.readSync(file, head, 0, HEAD_BYTES, 0));
  } finally {
    fs.closeSync(file);
  }
}
