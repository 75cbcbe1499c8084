import type { KeyDisplay } from '../../contract/jobs.ts';
import {
  DIFFERENCES_LISTED_MAX,
  type Difference,
  type DifferenceKind,
  type VerifyReport,
} from '../../contract/reports.ts';
import { displayName } from './display.ts';
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
  /** A difference that belongs to no key: functions, as database -1. */
  addDifference(difference: Difference): void;
  toReport(): Pick<VerifyReport, 'keysCompared' | 'inFlight' | 'byDatabase' | 'byType' | 'differences'>;
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
    addVerdict: ({ db, key, type, differences }) => {
      if (differences.length === 0) {
        counts.inFlight += 1;
        return;
      }
      const id = `${db} ${displayName(key, 'hashed')}`;
      if (remembered.has(id)) return;
      if (remembered.size < KEYS_REMEMBERED_MAX) remembered.add(id);
      const name = displayName(key, keyDisplay);
      for (const { kind, detail } of differences) addDifference({ db, key: name, type, kind, detail });
    },
    addDifference,
    toReport: () => ({
      keysCompared: counts.compared,
      inFlight: counts.inFlight,
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

function entryOf<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const fresh = make();
  map.set(key, fresh);
  return fresh;
}
