import path from 'node:path';
import type { KeyDisplay } from '../../contract/jobs.ts';
import {
  HASH_FIELD_TTL,
  SKIPPED_REASONS_IN_PROGRESS_MAX,
  SKIPPED_REASONS_MAX,
  SKIPPED_SAMPLE_MAX,
  type Skipped,
  type SkippedCount,
} from '../../contract/skipped.ts';
import type { CommandReader } from '../redis/command-reader.ts';
import { displayName } from '../redis/key-display.ts';
import { SkipList, sampleName } from './skip-list.ts';

/** Something that is left out; `key` where it is about one. */
export type Skip = {
  readonly what: SkippedCount['what'];
  readonly reason: string;
  readonly key?: { readonly db: number; readonly name: Buffer } | undefined;
};

/** A command of the stream that is left out, by its name in capitals. */
export type SkippedCommand = {
  readonly command: CommandReader;
  readonly name: string;
  readonly keyIndex: number;
  readonly db: number;
};

/** The file of the names on the host, in the folder of the migration. */
export const SKIP_LIST_FILE = 'skipped.ndjson';
/** Keys of the stream that are remembered, so that each command on one of them does not list it again. */
const NAMES_REMEMBERED_MAX = 10_000;
const OTHERS = 'other reasons';

type Row = SkippedCount & { count: number };

/**
 * What a sync leaves out: counted exactly, some keys by name, many of them in a list on the host.
 *
 * The counts are committed with each checkpoint, in the claim: after any interruption they stand for what the target
 * has, and say whether keys were left out that commands of the stream may name.
 */
export class Skips {
  readonly #keyDisplay: KeyDisplay;
  readonly #list: SkipList;
  readonly #rows = new Map<string, Row>();
  #sample = new Map<string, string[]>();
  readonly #remembered = new Set<string>();
  #hasModuleKeys = false;

  /** `counts`: of an earlier session that this one goes on with. */
  constructor(options: {
    readonly directory: string;
    readonly keyDisplay: KeyDisplay;
    readonly counts: readonly SkippedCount[];
  }) {
    this.#keyDisplay = options.keyDisplay;
    this.#list = new SkipList(path.join(options.directory, SKIP_LIST_FILE));
    for (const row of options.counts) this.#rows.set(idOf(row), { ...row });
    this.#hasModuleKeys = options.counts.some(mayHideKeys);
    if (options.counts.length > 0) this.#sample = new Map(this.#list.sample());
  }

  /** Whether the source may hold keys of modules, which commands can name and the target does not have. */
  get hasModuleKeys(): boolean {
    return this.#hasModuleKeys;
  }

  /** Begins anew, for a new copy. */
  clear(): void {
    this.#rows.clear();
    this.#sample.clear();
    this.#remembered.clear();
    this.#hasModuleKeys = false;
    this.#list.clear();
  }

  /** Counts it, and lists its key. */
  add(skip: Skip): void {
    const row = this.#rowOf(skip);
    row.count += 1;
    this.#hasModuleKeys ||= mayHideKeys(row);
    if (skip.key !== undefined) this.#addName(row, skip.what, skip.key);
  }

  /** Counts a command that only a module knows; its key is the argument at `keyIndex`, 0 for none. */
  addCommand({ command, name, keyIndex, db }: SkippedCommand): void {
    // Of a large command no more than the first argument is kept apart.
    const isKeyKnown =
      keyIndex > 0 && keyIndex < command.argumentCount && (keyIndex === 1 || !command.isHeld);
    this.add({
      what: 'commands',
      reason: `module command ${name.slice(0, 40)}`,
      key: isKeyKnown ? { db, name: command.argument(keyIndex) } : undefined,
    });
  }

  /** The counts for the claim: no property where there is nothing. */
  forClaim(): { skipped?: readonly SkippedCount[] } {
    return this.#rows.size === 0 ? {} : { skipped: [...this.#rows.values()] };
  }

  /** The counts with the first names, for reports; writes what the list on the host still lacks. */
  report(): Skipped[] {
    this.#list.flush();
    return Array.from(this.#rows.values(), (row) => ({
      ...row,
      sample: [...(this.#sample.get(row.reason) ?? [])],
    }));
  }

  /** The same in few rows, for a progress: the greatest, and the others together. */
  brief(): Skipped[] {
    const rows = this.report();
    if (rows.length <= SKIPPED_REASONS_IN_PROGRESS_MAX) return rows;
    const isAgreed = ({ reason }: Skipped) => reason === HASH_FIELD_TTL;
    const sorted = rows
      .filter((row) => !isAgreed(row) && row.reason !== OTHERS)
      .sort((a, b) => b.count - a.count);
    const agreed = rows.filter(isAgreed);
    const kept = sorted.slice(0, SKIPPED_REASONS_IN_PROGRESS_MAX - ROWS_OF_OTHERS - agreed.length);
    const brief = [...agreed, ...kept];
    const others = new Map<SkippedCount['what'], number>();
    for (const { what, count, reason } of rows) {
      const isKept = brief.some((row) => row.what === what && row.reason === reason);
      if (!isKept) others.set(what, (others.get(what) ?? 0) + count);
    }
    return [
      ...brief,
      ...Array.from(others, ([what, count]) => ({ what, reason: OTHERS, count, sample: [] })),
    ];
  }

  #rowOf({ what, reason }: Skip): Row {
    const known = this.#rows.get(idOf({ what, reason }));
    if (known !== undefined) return known;
    const isRoom = reason === HASH_FIELD_TTL || this.#rows.size < SKIPPED_REASONS_MAX - ROWS_OF_OTHERS;
    const row: Row = { what, reason: isRoom ? reason : OTHERS, count: 0 };
    const shared = this.#rows.get(idOf(row));
    if (shared !== undefined) return shared;
    this.#rows.set(idOf(row), row);
    return row;
  }

  #addName({ reason }: Row, what: SkippedCount['what'], { db, name }: { db: number; name: Buffer }): void {
    if (what === 'commands') {
      const id = `${db} ${displayName(name, 'hashed')}`;
      if (this.#remembered.has(id)) return;
      if (this.#remembered.size < NAMES_REMEMBERED_MAX) this.#remembered.add(id);
    }
    const key = displayName(name, this.#keyDisplay);
    const sample = this.#sample.get(reason) ?? [];
    if (sample.length < SKIPPED_SAMPLE_MAX) this.#sample.set(reason, [...sample, sampleName({ db, key })]);
    this.#list.add({ db, key, reason });
  }
}

/** One row for each kind of `what`. */
const ROWS_OF_OTHERS = 3;

function idOf({ what, reason }: Pick<Row, 'what' | 'reason'>): string {
  return `${what} ${reason}`;
}

/** Left-out keys and commands of modules stand for keys of the source; lost expiry times of fields do not. */
function mayHideKeys({ what, reason }: SkippedCount): boolean {
  return reason !== HASH_FIELD_TTL && what !== 'module-data';
}
