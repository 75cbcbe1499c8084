import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Spool } from '../../../src/agent/redis/spool.ts';

let parent: string;
let directory: string;

beforeEach(async () => {
  parent = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-spool-'));
  directory = path.join(parent, 'spool');
});

afterEach(() => rm(parent, { recursive: true, force: true }));

it('gives back what was pushed, in order, while more is pushed', () => {
  using spool = new Spool({ directory, bytesMax: 2 ** 30 });
  const pushed: Buffer[] = [];
  const taken: Buffer[] = [];
  for (let round = 0; round < 400; round++) {
    const bytes = randomBytes(1 + ((round * 7_919) % 500_000));
    pushed.push(bytes);
    spool.push(bytes, round * 70);
    if (round % 3 === 0) taken.push(Buffer.from(spool.shift()?.bytes ?? Buffer.alloc(0)));
  }
  expect(spool.bytes).toBe(total(pushed) - total(taken));
  for (let next = spool.shift(); next !== undefined; next = spool.shift())
    taken.push(Buffer.from(next.bytes));
  expect(Buffer.concat(taken).equals(Buffer.concat(pushed))).toBe(true);
  expect(spool.bytes).toBe(0);
});

it('touches the disk only while something waits, and leaves no name there', () => {
  const spool = new Spool({ directory, bytesMax: 2 ** 30 });
  expect(spool.shift()).toBeUndefined();
  expect(existsSync(directory)).toBe(false);
  spool.push(Buffer.from('secret'), 1);
  expect(readdirSync(directory)).toEqual([]);
  spool[Symbol.dispose]();
  expect(existsSync(directory)).toBe(false);
});

it('tells when bytes arrived, to 100 ms and never later, also after the clock was set back', () => {
  using spool = new Spool({ directory, bytesMax: 2 ** 30 });
  const arrivals: [string, number][] = [
    ['a', 1_000],
    ['b', 1_099],
    ['c', 1_100],
    ['d', 400],
    ['e', 450],
    ['f', 9_000],
  ];
  for (const [text, atMs] of arrivals) spool.push(Buffer.from(text), atMs);
  const taken: [string, number][] = [];
  for (let next = spool.shift(); next !== undefined; next = spool.shift())
    taken.push([String(next.bytes), next.arrivedAtMs]);
  expect(taken).toEqual([
    ['ab', 1_000],
    ['c', 1_100],
    ['de', 400],
    ['f', 9_000],
  ]);
});

it('refuses more than its bound, and keeps what it has', () => {
  using spool = new Spool({ directory, bytesMax: 10 });
  spool.push(Buffer.from('12345678'), 1);
  expect(() => spool.push(Buffer.from('901'), 1)).toThrow(
    expect.objectContaining({ code: 'spool-full', retryable: true }),
  );
  expect(String(spool.shift()?.bytes)).toBe('12345678');
});

it('names a disk on which nothing can be written', () => {
  using spool = new Spool({ directory: path.join(import.meta.filename, 'spool'), bytesMax: 10 });
  expect(() => spool.push(Buffer.from('1'), 1)).toThrow(expect.objectContaining({ code: 'spool-failed' }));
});

function total(parts: readonly Buffer[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}
