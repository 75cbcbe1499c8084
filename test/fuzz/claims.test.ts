import { expect, it } from 'vitest';
import { RdbReader } from '../../src/agent/redis/rdb/reader.ts';
import { length, string } from './rdb-bytes.ts';

const HEAD = Buffer.from('REDIS0011');
const PIECE_BYTES = 1024 * 1024;

it.each([
  { name: 'string', type: 0, before: Buffer.alloc(0) },
  { name: 'element of a list', type: 18, before: Buffer.of(2, 1) },
])('takes up a $name of 512 MiB, however long its key is', ({ type, before }) => {
  const reader = new RdbReader();
  const key = Buffer.concat([Buffer.of(type), string('k'.repeat(400))]);
  reader.push(Buffer.concat([HEAD, key, before, length(512 * 1024 * 1024)]));
  reader.push(Buffer.alloc(PIECE_BYTES));
  expect(reader.next()).toBe('large');
});

it('reserves no memory for what a length only claims', () => {
  const reader = new RdbReader();
  reader.push(Buffer.concat([HEAD, Buffer.of(245), length(500 * 1024 * 1024)]));
  reader.next();
  reader.push(Buffer.alloc(PIECE_BYTES));
  expect(reader.next()).toBe('need-more');
  expect(reader.window.length).toBeLessThan(4 * PIECE_BYTES);
});
