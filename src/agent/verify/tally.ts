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
  toReport(): Pick<
    VerifyReport,
    'keysCompared' | 'inFlight' | 'skipped' | 'byDatabase' | 'byType' | 'differences'
  >;
};

type DatabaseCounts = { db: number; sourceKeys: number; targetKeys: number; differences: number };
type TypeCounts = { type: string; keys: number; differences: number };

/** How many differing keys are remembered, so that a key that a scan returns twice is not counted twice. */
const KEYS_REMEMBERED_MAX = 100_000;

/** Starts counting. */
export function createTally(keyDisplay: KeyDisplay): Tally {
  const databases = new Map<number, DatabaseCounts>();
  const types = new Map<string, TypeCounts>();
  const kinds = new Map<DifferenceKind, number>();
  const listed: Difference[] = [];
  const remembered = new Set<string>();
  const skipped = new Map<string, Skipped & { count: number }>();
  const counts = { compared: 0, scanned: 0, differences: 0, inFlight: 0 };

  const ofDatabase = (db: number) =>
    entryOf(databases, db, () => ({ db, sourceKeys: 0, targetKeys: 0, differences: 0 }));
  const ofType = (type: string) => entryOf(types, type, () => ({ type, keys: 0, differences: 0 }));
  const addDifference = (difference: Difference) => {
    counts.differences += 1;
    ofDatabase(difference.db).differences += 1;
    ofType(difference.type).differences += 1;
    kinds.set(difference.kind, (kinds.get(difference.kind) ?? 0) + 1);
    if (listed.length < DIFFERENCES_LISTED_MAX) listed.push(difference);
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
      for (const { kind, detail } of differences) addDifference({ db, key: name, type, kind, detail });
    },
    addDifference,
    toReport: () => ({
      keysCompared: counts.compared,
      inFlight: counts.inFlight,
      skipped: [...skipped.values()],
      byDatabase: [...databases.values()].sort((a, b) => a.db - b.db),
      byType: [...types.values()].sort((a, b) => b.keys - a.keys),
      differences: {
        total: counts.differences,
        byKind: Array.from(kinds, ([kind, count]) => ({ kind, count })),
        listed,
        cut: counts.differences - listed.length,
      },
    }),
  };
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
