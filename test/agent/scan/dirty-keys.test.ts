import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { DirtyKeys } from '../../../src/agent/scan/dirty-keys.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'dirty-keys-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const ALL_FREE = () => true;

function make(keysInMemoryMax = 1000, onOverflow = () => {}): DirtyKeys {
  return new DirtyKeys({ directory, onOverflow, keysInMemoryMax });
}

function add(dirty: DirtyKeys, db: number, name: string): void {
  const key = Buffer.from(name);
  dirty.add(db, key, 0, key.length);
}

/** Everything, in the order in which it is taken. */
function takeAll(dirty: DirtyKeys, most = 7): string[] {
  const taken: string[] = [];
  for (;;) {
    const some = dirty.take(most, ALL_FREE);
    if (some === undefined) return taken;
    taken.push(...some.keys.map((key) => `${some.db} ${key}`));
  }
}

describe('dirty keys', () => {
  it('come out once however often they were added, the oldest first, those of one database together', () => {
    using dirty = make();
    for (const name of ['a', 'b', 'a', 'c', 'b']) add(dirty, 0, name);
    add(dirty, 3, 'a');
    expect(dirty.count).toBe(4);
    expect(dirty.take(10, ALL_FREE)?.keys.map(String)).toEqual(['a', 'b', 'c']);
    expect(takeAll(dirty)).toEqual(['3 a']);
    expect(dirty.oldest).toBe(Number.POSITIVE_INFINITY);
  });

  it('stay when they are not free, and keep their age', () => {
    using dirty = make();
    add(dirty, 0, 'large');
    add(dirty, 0, 'other');
    expect(dirty.take(10, ({ key }) => String(key) !== 'large')?.keys.map(String)).toEqual(['other']);
    expect(dirty.take(10, ({ key }) => String(key) !== 'large')).toBeUndefined();
    expect(dirty.oldest).toBe(1);
  });

  it('are never lost, in whatever order they are added and taken, in memory or on disk', () => {
    const step = fc.oneof(
      fc.record({ db: fc.nat(2), name: fc.nat(300) }),
      fc.record({ most: fc.integer({ min: 1, max: 40 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 3000, size: 'max' }), (steps) => {
        using dirty = make(10);
        const open = new Set<string>();
        for (const one of steps) {
          if ('name' in one) {
            add(dirty, one.db, `key ${one.name}`);
            open.add(`${one.db} key ${one.name}`);
            continue;
          }
          const taken = dirty.take(one.most, ALL_FREE);
          for (const key of taken?.keys ?? []) open.delete(`${taken?.db} ${key}`);
          expect(taken === undefined).toBe(taken === undefined && open.size === 0);
        }
        for (const id of takeAll(dirty)) open.delete(id);
        expect([...open]).toEqual([]);
        expect(dirty.count).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('say of each addition when it has been taken, also on disk', () => {
    using dirty = make(10);
    for (let index = 0; index < 5_000; index++) add(dirty, 0, `key ${index}`);
    const { sequence } = dirty;
    const taken = new Set<string>();
    while (dirty.oldest <= sequence) {
      for (const key of dirty.take(100, ALL_FREE)?.keys ?? []) taken.add(String(key));
      add(dirty, 0, `later ${taken.size}`);
    }
    for (let index = 0; index < 5_000; index++) expect(taken).toContain(`key ${index}`);
  });
});
