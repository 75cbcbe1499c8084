import type { KeyDisplay } from '../../contract/jobs.ts';
import {
  DIFFERENCES_LISTED_MAX,
  type Difference,
  type DifferenceKind,
  type VerifyReport,
} from '../../contract/reports.ts';
import {
  SKIPPED_NAME_LENGTH_MAX,
  SKIPPED_REASONS_MAX,
  SKIPPED_SAMPLE_MAX,
  type Skipped,
} from '../../contract/skipped.ts';
import { displayName } from '../redis/key-display.ts';
import type { DifferenceList } from './difference-list.ts';
import type { Verdict } from './recheck.ts';

/** The counts of a comparison while it runs: bounded, whatever the number of keys and differences. */
export type Tally = {
  readonly keysCompared: number;
  readonly keysScanned: number;
  readonly differences: number;
  /** Keys that a scan of the side returned; a key may be returned twice while its server rehashes. */
  addScanned(db: number, side: 'source' | 'target', keys: number): void;
  addCompared(type: string, keys: number): void;
  addVerdict(verdict: Verdict): void;
  /** A key that the target cannot hold, or not in all. */
  addSkipped(db: number, key: Buffer, reason: string): void;
  /** A difference that belongs to no key: functions, as database -1. */
  addDifference(difference: Difference): void;
  /** Begins anew with the differences, before what was found different is compared once more. */
  forgetDifferences(): void;
  toReport(): Pick<
    VerifyReport,
    'keysCompared' | 'inFlight' | 'skipped' | 'byDatabase' | 'byType' | 'differences'
  >;
};

type DatabaseCounts = { db: number; sourceKeys: number; targetKeys: number; differences: number };
type TypeCounts = { type: string; keys: number; differences: number };

/**
 * How many keys are remembered, so that one that a scan returns twice is not counted twice. Suspects that are settled
 * together come once each anyway: this is for those that are not, and for skipped keys.
 */
const KEYS_REMEMBERED_MAX = 20_000;

/** Starts counting; `list` gets every difference. */
export function createTally(keyDisplay: KeyDisplay, list?: Pick<DifferenceList, 'add' | 'addNamed'>): Tally {
  const databases = new Map<number, DatabaseCounts>();
  const types = new Map<string, TypeCounts>();
  const kinds = new Map<DifferenceKind, number>();
  const listed = new Map<DifferenceKind, Difference[]>();
  const remembered = new Set<string>();
  const skipped = new Map<string, Skipped & { count: number }>();
  const counts = { compared: 0, scanned: 0, differences: 0, inFlight: 0 };

  const ofDatabase = (db: number) =>
    entryOf(databases, db, () => ({ db, sourceKeys: 0, targetKeys: 0, differences: 0 }));
  const ofType = (type: string) => entryOf(types, type, () => ({ type, keys: 0, differences: 0 }));
  const count = (difference: Difference) => {
    counts.differences += 1;
    ofDatabase(difference.db).differences += 1;
    ofType(difference.type).differences += 1;
    kinds.set(difference.kind, (kinds.get(difference.kind) ?? 0) + 1);
    const ofKind = entryOf<DifferenceKind, Difference[]>(listed, difference.kind, () => []);
    if (ofKind.length < DIFFERENCES_LISTED_MAX) ofKind.push(difference);
  };
  /** Whether the key is met for the first time in this matter, as far as that is remembered. */
  const isFirst = (db: number, key: Buffer, matter: string) => {
    const id = `${db} ${displayName(key, 'hashed')} ${matter}`;
    if (remembered.has(id)) return false;
    if (remembered.size < KEYS_REMEMBERED_MAX) remembered.add(id);
    return true;
  };
  const addSkipped = (db: number, key: Buffer, reason: string) => {
    if (!isFirst(db, key, reason)) return;
    const row = entryOf(skipped, reasonRow(skipped, reason), (name) => ({
      what: 'keys' as const,
      reason: name,
      count: 0,
      sample: [],
    }));
    row.count += 1;
    if (row.sample.length < SKIPPED_SAMPLE_MAX) {
      row.sample.push(`db${db} ${displayName(key, keyDisplay).slice(0, SKIPPED_NAME_LENGTH_MAX)}`);
    }
  };
  return {
    get keysCompared() {
      return counts.compared;
    },
    get keysScanned() {
      return counts.scanned;
    },
    get differences() {
      return counts.differences;
    },
    addScanned: (db, side, keys) => {
      counts.scanned += keys;
      ofDatabase(db)[side === 'source' ? 'sourceKeys' : 'targetKeys'] += keys;
    },
    addCompared: (type, keys) => {
      counts.compared += keys;
      ofType(type).keys += keys;
    },
    addSkipped,
    addVerdict: ({ db, key, type, differences, skipped: reasons }) => {
      for (const reason of reasons) addSkipped(db, key, reason);
      if (differences.length === 0) {
        if (reasons.length === 0) counts.inFlight += 1;
        return;
      }
      if (!isFirst(db, key, 'different')) return;
      const name = displayName(key, keyDisplay);
      for (const { kind, detail } of differences) count({ db, key: name, type, kind, detail });
      list?.add({ db, key, type, differences });
    },
    addDifference: (difference) => {
      const { db, key, type, kind, detail } = difference;
      count(difference);
      list?.addNamed({ db, key, type, differences: [{ kind, detail }] });
    },
    forgetDifferences: () => {
      counts.differences = 0;
      kinds.clear();
      listed.clear();
      remembered.clear();
      for (const row of [...databases.values(), ...types.values()]) row.differences = 0;
    },
    toReport: () => {
      const sample = takeInTurn([...listed.values()], DIFFERENCES_LISTED_MAX);
      return {
        keysCompared: counts.compared,
        inFlight: counts.inFlight,
        skipped: [...skipped.values()],
        byDatabase: [...databases.values()].sort((a, b) => a.db - b.db),
        byType: [...types.values()].sort((a, b) => b.keys - a.keys),
        differences: {
          total: counts.differences,
          byKind: Array.from(kinds, ([kind, count]) => ({ kind, count })),
          listed: sample,
          cut: counts.differences - sample.length,
        },
      };
    },
  };
}

/** One of each kind, then another of each: the first ones, which people see, show all kinds there are. */
function takeInTurn<Item>(rows: readonly (readonly Item[])[], most: number): Item[] {
  const taken: Item[] = [];
  const longest = Math.max(0, ...rows.map((row) => row.length));
  for (let index = 0; index < longest && taken.length < most; index++) {
    taken.push(...rows.flatMap((row) => row.slice(index, index + 1)));
  }
  return taken.slice(0, most);
}

/** Modules are few; should they be many, the last row takes the rest. */
function reasonRow(rows: ReadonlyMap<string, Skipped>, reason: string): string {
  return rows.has(reason) || rows.size < SKIPPED_REASONS_MAX - 1 ? reason : 'other reasons';
}

function entryOf<Key, Value>(map: Map<Key, Value>, key: Key, make: (key: Key) => Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const fresh = make(key);
  map.set(key, fresh);
  return fresh;
}
