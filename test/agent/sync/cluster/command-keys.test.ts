import { expect, it } from 'vitest';
import { type CommandKeys, findKeys, soleKey } from '../../../../src/agent/sync/cluster/command-keys.ts';
import { splitArguments } from '../../../../src/agent/sync/cluster/command-size.ts';
import { planAcrossSlots, refuseForeignOptions } from '../../../../src/agent/sync/cluster/cross-slot.ts';

const RANGES = new Map([
  ['SET', { first: 1, last: 1, step: 1 }],
  ['DEL', { first: 1, last: -1, step: 1 }],
  ['MSET', { first: 1, last: -1, step: 2 }],
  ['RENAME', { first: 1, last: 2, step: 1 }],
  ['BITOP', { first: 2, last: -1, step: 1 }],
  ['SORT', { first: 1, last: 1, step: 1 }],
]);
const KEYS: CommandKeys = { range: (name) => RANGES.get(name), isMovable: () => false };

const args = (text: string) => text.split(' ').map((word) => Buffer.from(word));
const keysOf = (text: string) => {
  const words = args(text);
  return findKeys(text.split(' ')[0] ?? '', words, KEYS).map((index) => words[index]?.toString());
};
const plan = (text: string) => {
  const words = args(text);
  const [name = ''] = text.split(' ');
  return planAcrossSlots(name, words, { keys: findKeys(name, words, KEYS), mayLackKeys: false });
};
const sharesOf = (text: string) => {
  const planned = plan(text);
  if (planned.kind !== 'split') throw new Error('it is joined');
  return planned.shares.map(({ command }) => command.map(String).join(' ')).sort();
};

it('finds keys by the range that the target names', () => {
  expect(keysOf('SET a 1 PX 5')).toEqual(['a']);
  expect(keysOf('DEL a b c')).toEqual(['a', 'b', 'c']);
  expect(keysOf('MSET a 1 b 2')).toEqual(['a', 'b']);
  expect(keysOf('BITOP AND d a b')).toEqual(['d', 'a', 'b']);
  expect(keysOf('PUBLISH c x')).toEqual([]);
});

it('finds keys that depend on the other arguments', () => {
  expect(keysOf('ZUNIONSTORE d 2 a b WEIGHTS 1 2')).toEqual(['d', 'a', 'b']);
  expect(keysOf('MSETEX 2 a 1 b 2 PX 5')).toEqual(['a', 'b']);
  expect(keysOf('SORT a BY STORE LIMIT 0 STORE STORE d')).toEqual(['a', 'd']);
  expect(keysOf('SORT a ALPHA')).toEqual(['a']);
  expect(keysOf('GEORADIUS a 1 2 3 km COUNT 5 ANY STOREDIST d')).toEqual(['a', 'd']);
  expect(keysOf('GEORADIUSBYMEMBER a STORE 3 km STORE d')).toEqual(['a', 'd']);
  expect(keysOf('XGROUP CREATE a g $')).toEqual(['a']);
});

it('refuses a number of keys that cannot be', () => {
  expect(() => keysOf('ZUNIONSTORE d 9 a b')).toThrow('a number of keys');
  expect(() => keysOf('ZUNIONSTORE d x a b')).toThrow('a number of keys');
});

it('knows which commands have one key always', () => {
  expect(soleKey('SET', KEYS)).toBe(1);
  expect(soleKey('XGROUP', KEYS)).toBe(2);
  for (const name of ['DEL', 'RENAME', 'SORT', 'PUBLISH']) expect(soleKey(name, KEYS)).toBeUndefined();
});

it('gives every slot its share of what needs nothing of the others', () => {
  expect(sharesOf('DEL a {a}2 b')).toEqual(['DEL a {a}2', 'DEL b']);
  expect(sharesOf('MSETNX a 1 b 2 {a}x 3')).toEqual(['MSET a 1 {a}x 3', 'MSET b 2']);
  expect(sharesOf('MSETEX 2 a 1 b 2 PX 5')).toEqual(['MSETEX 1 a 1 PX 5', 'MSETEX 1 b 2 PX 5']);
  expect(sharesOf('SMOVE a b m')).toEqual(['SADD b m', 'SREM a m']);
});

it('takes from the other slots only what the destination has already', () => {
  const moved = plan('RPOPLPUSH a b');
  expect(moved).toMatchObject({ kind: 'join', removals: [{ command: ['RPOP', Buffer.from('a')] }] });
  expect(plan('RENAME a b')).toMatchObject({
    kind: 'join',
    removals: [{ command: ['DEL', Buffer.from('a')] }],
  });
  expect(plan('COPY a b')).toMatchObject({ kind: 'join', removals: [] });
});

it('refuses what no cluster can carry out', () => {
  expect(() => plan('NEWCOMMAND a b')).toThrow('NEWCOMMAND');
  const refuse = (text: string) => () => refuseForeignOptions(text.split(' ')[0] ?? '', args(text));
  expect(refuse('COPY a b DB 1')).toThrow('another database');
  expect(refuse('COPY a b DB 0 REPLACE')).not.toThrow();
  expect(refuse('SORT a BY w_* STORE d')).toThrow('BY');
  expect(refuse('SORT a GET # GET o_* STORE d')).toThrow('GET');
  expect(refuse('SORT a BY nosort GET # STORE BY')).not.toThrow();
});

it('splits a command with more arguments than a script can call', () => {
  const members = Array.from({ length: 15_000 }, (_, index) => Buffer.from(`m${index}`));
  const parts = splitArguments('SADD', [...args('SADD key'), ...members]);
  expect(parts.length).toBe(3);
  expect(parts.flatMap((part) => part.slice(2)).map(String)).toEqual(members.map(String));
  const scored = splitArguments('ZADD', [...args('ZADD key GT CH'), ...members]);
  expect(scored.every((part) => part.length % 2 === 0 && String(part[3]) === 'CH')).toBe(true);
  expect(() => splitArguments('XADD', [...args('XADD key'), ...members])).toThrow('15002 arguments');
  expect(splitArguments('SADD', args('SADD key a'))).toEqual([args('SADD key a')]);
});
