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
    spool.push(bytes);
    if (round % 3 === 0) taken.push(Buffer.from(spool.shift() ?? Buffer.alloc(0)));
  }
  expect(spool.bytes).toBe(total(pushed) - total(taken));
  for (let bytes = spool.shift(); bytes !== undefined; bytes = spool.shift()) taken.push(Buffer.from(bytes));
  expect(Buffer.concat(taken).equals(Buffer.concat(pushed))).toBe(true);
  expect(spool.bytes).toBe(0);
});

it('touches the disk only while something waits, and leaves no name there', () => {
  const spool = new Spool({ directory, bytesMax: 2 ** 30 });
  expect(spool.shift()).toBeUndefined();
  expect(existsSync(directory)).toBe(false);
  spool.push(Buffer.from('secret'));
  expect(readdirSync(directory)).toEqual([]);
  spool[Symbol.dispose]();
  expect(existsSync(directory)).toBe(false);
});

it('refuses more than its bound, and keeps what it has', () => {
  using spool = new Spool({ directory, bytesMax: 10 });
  spool.push(Buffer.from('12345678'));
  expect(() => spool.push(Buffer.from('901'))).toThrow(
    expect.objectContaining({ code: 'spool-full', retryable: true }),
  );
  expect(String(spool.shift())).toBe('12345678');
});

it('names a disk on which nothing can be written', () => {
  using spool = new Spool({ directory: path.join(import.meta.filename, 'spool'), bytesMax: 10 });
  expect(() => spool.push(Buffer.from('1'))).toThrow(expect.objectContaining({ code: 'spool-failed' }));
});

function total(parts: readonly Buffer[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}
