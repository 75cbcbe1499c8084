import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { moduleCommands } from '../../../src/agent/sync/module-commands.ts';
import { SkipList } from '../../../src/agent/sync/skip-list.ts';
import { SKIP_LIST_FILE, Skips } from '../../../src/agent/sync/skips.ts';
import {
  SKIPPED_REASONS_IN_PROGRESS_MAX,
  SKIPPED_REASONS_MAX,
  SKIPPED_SAMPLE_MAX,
} from '../../../src/contract/skipped.ts';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), 'valkey-migrate-skips-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

const key = (name: string, db = 0) => ({ db, name: Buffer.from(name) });
const open = (counts: ConstructorParameters<typeof Skips>[0]['counts'] = []) =>
  new Skips({ directory, keyDisplay: 'shown', counts });
const lines = () => readFileSync(path.join(directory, SKIP_LIST_FILE), 'utf8').trim().split('\n');

describe('what a sync leaves out', () => {
  it('is counted exactly, and named by the first few', () => {
    const skips = open();
    expect(skips.forClaim()).toEqual({});
    for (let index = 0; index < 20; index++) {
      skips.add({ what: 'keys', reason: 'module vectorset', key: key(`v${index}`) });
    }
    const [row] = skips.report();
    expect(row).toMatchObject({
      what: 'keys',
      count: 20,
      sample: ['db0 v0', 'db0 v1', 'db0 v2'],
    });
    expect(row?.sample).toHaveLength(SKIPPED_SAMPLE_MAX);
    expect(skips.forClaim()).toEqual({ skipped: [{ what: 'keys', reason: 'module vectorset', count: 20 }] });
    expect(lines()).toHaveLength(20);
  });

  it('goes on from the counts of an earlier session, with the names that the host still has', () => {
    const first = open();
    first.add({ what: 'keys', reason: 'module vectorset', key: key('v', 3) });
    first.report();
    const counts = first.forClaim().skipped ?? [];
    const second = open(counts);
    expect(second.hasModuleKeys).toBe(true);
    second.add({ what: 'keys', reason: 'module vectorset', key: key('w') });
    expect(second.report()).toEqual([
      { what: 'keys', reason: 'module vectorset', count: 2, sample: ['db3 v', 'db0 w'] },
    ]);
    second.clear();
    expect([second.report(), second.hasModuleKeys]).toEqual([[], false]);
  });

  it('lists a key of the stream once, however many commands are about it', () => {
    const skips = open();
    for (const name of ['v', 'v', 'w', 'v']) {
      skips.add({ what: 'commands', reason: 'module command VADD', key: key(name) });
    }
    skips.add({ what: 'commands', reason: 'module command FT.CREATE' });
    expect(skips.report()).toEqual([
      { what: 'commands', reason: 'module command VADD', count: 4, sample: ['db0 v', 'db0 w'] },
      { what: 'commands', reason: 'module command FT.CREATE', count: 1, sample: [] },
    ]);
    expect(lines()).toHaveLength(2);
  });

  it('has a bound, whatever the number of its reasons', () => {
    const skips = open();
    for (let index = 0; index < 500; index++)
      skips.add({ what: 'commands', reason: `module command X.${index}` });
    const rows = skips.report();
    expect(rows.length).toBeLessThanOrEqual(SKIPPED_REASONS_MAX);
    expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(500);
    skips.add({ what: 'keys', reason: 'hash-field-ttl', key: key('x'.repeat(5000)) });
    const brief = skips.brief();
    expect(brief.length).toBeLessThanOrEqual(SKIPPED_REASONS_IN_PROGRESS_MAX);
    expect(brief.reduce((sum, { count }) => sum + count, 0)).toBe(501);
    expect(JSON.stringify(brief).length).toBeLessThan(2000);
  });

  it('hides no keys where only expiry times of fields or indexes are left out', () => {
    const skips = open();
    skips.add({ what: 'keys', reason: 'hash-field-ttl', key: key('h') });
    skips.add({ what: 'module-data', reason: 'module ft_index0' });
    expect(skips.hasModuleKeys).toBe(false);
    skips.add({ what: 'commands', reason: 'module command VADD', key: key('v') });
    expect(skips.hasModuleKeys).toBe(true);
  });

  it('has a list that ends at its bound, also after a restart', () => {
    const file = path.join(directory, 'list');
    const list = new SkipList(file, { bytesMax: 200 });
    for (let index = 0; index < 10; index++) list.add({ db: 0, key: `key ${index}`, reason: 'module m' });
    list.flush();
    const text = readFileSync(file, 'utf8');
    expect(text.length).toBeLessThanOrEqual(220);
    expect(text.endsWith('}\n{"cut":true}\n')).toBe(true);
    const again = new SkipList(file, { bytesMax: 200 });
    again.add({ db: 0, key: 'one more', reason: 'module m' });
    again.flush();
    expect(readFileSync(file, 'utf8')).not.toContain('one more');
    expect(again.sample().get('module m')).toContain('db0 key 0');
  });

  it('does not end the sync when the disk does not take the list', () => {
    const list = new SkipList(path.join(directory, 'missing', 'list'));
    list.add({ db: 0, key: 'key', reason: 'module m' });
    expect(() => list.flush()).not.toThrow();
  });
});

describe('the commands of modules', () => {
  it('are those that the source says, and those that are known by their names', () => {
    const reply = [
      ['graph.query', -2, ['write', 'module'], 1, 1, 1],
      ['topk', -2, [Buffer.from('module')], 2, 2, 1],
      ['set', -3, ['write', 'denyoom'], 1, 1, 1],
    ];
    const { keyIndex } = moduleCommands(reply);
    const names = ['GRAPH.QUERY', 'TOPK', 'SET', 'JSON.SET', 'VADD', 'HSET'];
    expect(names.map(keyIndex)).toEqual([1, 2, undefined, 0, 1, undefined]);
    expect(names.map(moduleCommands(undefined).keyIndex)).toEqual([0, undefined, undefined, 0, 1, undefined]);
  });
});
