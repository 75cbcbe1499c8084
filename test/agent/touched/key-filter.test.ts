import { expect, test } from 'vitest';
import { KeyFilter } from '../../../src/agent/touched/key-filter.ts';

function add(filter: KeyFilter, key: string, db = 0): boolean {
  const bytes = Buffer.from(key);
  return filter.add(db, bytes, 0, bytes.length);
}

test('a key is new once, and its bytes may stand anywhere', () => {
  const filter = new KeyFilter();
  expect(add(filter, 'user:1')).toBe(true);
  expect(add(filter, 'user:1')).toBe(false);
  const within = Buffer.from('..user:1..');
  expect(filter.add(0, within, 2, 8)).toBe(false);
  expect(filter.add(0, within, 2, 9)).toBe(true);
});

test('databases, lengths and zeros tell keys apart', () => {
  const filter = new KeyFilter();
  const keys = [
    '',
    '\0',
    '\0\0',
    '\0\0\0\0',
    '\0\0\0\0\0',
    'a',
    'a\0',
    '\0a',
    'abcd',
    'abcdabcd',
    'Aa',
    'BB',
  ];
  for (const db of [0, 1, 2, 15, 255]) {
    for (const key of keys) expect(add(filter, key, db), `${db} ${JSON.stringify(key)}`).toBe(true);
  }
});

test('none of many keys that are much alike is taken for another', () => {
  const filter = new KeyFilter();
  let fresh = 0;
  for (let number = 0; number < 300_000; number++) if (add(filter, `session:${number}:state`)) fresh += 1;
  for (let number = 0; number < 300_000; number++) if (add(filter, `session:${number}:stats`)) fresh += 1;
  expect(fresh).toBe(600_000);
});

test('a full one forgets old keys and never takes a new one for known', () => {
  const filter = new KeyFilter(4);
  for (let number = 0; number < 10_000; number++) expect(add(filter, `k${number}`)).toBe(true);
  expect(add(filter, 'k9999')).toBe(false);
  expect(add(filter, 'k0')).toBe(true);
});
