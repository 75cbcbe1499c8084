import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, statSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { removeSpool, Spool } from '../../../src/agent/redis/spool.ts';

const REPLID = 'a'.repeat(40);
const SEGMENT_BYTES = 2 ** 20;

let parent: string;
let directory: string;

beforeEach(async () => {
  parent = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-spool-'));
  directory = path.join(parent, 'spool');
});

afterEach(() => rm(parent, { recursive: true, force: true }));

it('gives back what was pushed, in order and again, while more is pushed', () => {
  const spool = new Spool(options());
  const pushed: Buffer[] = [];
  let place = 1_000;
  for (let round = 0; round < 400; round++) {
    const bytes = randomBytes(1 + ((round * 7_919) % 50_000));
    pushed.push(bytes);
    spool.push({ bytes, arrivedAtMs: round * 70 }, place);
    place += bytes.length;
    if (round % 100 === 0) expect(readFrom(spool, 1_000).equals(Buffer.concat(pushed))).toBe(true);
  }
  expect([spool.from, spool.end]).toEqual([1_000, place]);
  const all = Buffer.concat(pushed);
  expect(readFrom(spool, 1_000).equals(all)).toBe(true);
  expect(readFrom(spool, 1_777).equals(all.subarray(777))).toBe(true);
  spool.close();
});

it('gives segments back to the disk as soon as nothing of them is needed', () => {
  const spool = new Spool(options());
  expect(existsSync(directory)).toBe(false);
  const half = Buffer.alloc(SEGMENT_BYTES / 2, 'x');
  for (let index = 0; index < 4; index++) spool.push({ bytes: half, arrivedAtMs: 1 }, index * half.length);
  expect(readdirSync(directory)).toHaveLength(2);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  spool.dropBefore(SEGMENT_BYTES - 1);
  expect(readdirSync(directory)).toHaveLength(2);
  spool.dropBefore(SEGMENT_BYTES);
  expect(readdirSync(directory)).toHaveLength(1);
  expect(spool.from).toBe(SEGMENT_BYTES);
  spool.dropBefore(spool.end);
  expect(readdirSync(directory)).toEqual([]);
  expect(spool.isEmpty).toBe(true);
  spool.close();
  removeSpool(directory);
  expect(existsSync(directory)).toBe(false);
});

it('tells when bytes arrived, to 100 ms and never later, also after the clock was set back', () => {
  const spool = new Spool(options());
  const arrivals: [string, number][] = [
    ['a', 1_000],
    ['b', 1_099],
    ['c', 1_100],
    ['d', 400],
    ['e', 450],
    ['f', 9_000],
  ];
  for (const [index, [text, arrivedAtMs]] of arrivals.entries()) {
    spool.push({ bytes: Buffer.from(text), arrivedAtMs }, index);
  }
  expect([0, 1, 2, 3, 4, 5].map((place) => spool.at(place)?.arrivedAtMs)).toEqual([
    1_000, 1_000, 1_100, 400, 400, 9_000,
  ]);
  expect(String(spool.at(0)?.bytes)).toBe('ab');
  expect(String(spool.at(4)?.bytes)).toBe('e');
  spool.close();
});

it('refuses more than its bound, and keeps what it has', () => {
  const spool = new Spool({ ...options(), bytesMax: 10 });
  spool.push({ bytes: Buffer.from('12345678'), arrivedAtMs: 1 }, 0);
  expect(() => spool.push({ bytes: Buffer.from('901'), arrivedAtMs: 1 }, 8)).toThrow(
    expect.objectContaining({ code: 'spool-full', retryable: true }),
  );
  expect(String(readFrom(spool, 0))).toBe('12345678');
  spool.close();
});

it('names a disk on which nothing can be written', () => {
  const spool = new Spool({ ...options(), directory: path.join(import.meta.filename, 'spool') });
  expect(() => spool.push({ bytes: Buffer.from('1'), arrivedAtMs: 1 }, 0)).toThrow(
    expect.objectContaining({ code: 'spool-failed' }),
  );
});

it('is taken up by a later process, from the offset that it wants on', () => {
  const bytes = leaveStream();
  const spool = Spool.recover(options(), { replid: REPLID, offset: 1_500_100 });
  expect(spool?.end).toBe(bytes.length + 100);
  expect(readFrom(spool, 1_500_100).equals(bytes.subarray(1_500_000))).toBe(true);
  expect(readdirSync(directory)).toHaveLength(2);
  const more = Buffer.from('and so on');
  spool?.push({ bytes: more, arrivedAtMs: 1 }, bytes.length + 100);
  expect(readFrom(spool, bytes.length + 95).equals(Buffer.concat([bytes.subarray(-5), more]))).toBe(true);
  spool?.close();
});

it('is taken up under the id that its stream was given last', () => {
  const spool = new Spool(options());
  spool.push({ bytes: Buffer.from('RDB then stream'), arrivedAtMs: 1 }, 0);
  spool.placeInStream({ replid: 'b'.repeat(40), baseOffset: -9 });
  spool.placeInStream({ replid: REPLID, baseOffset: -9 });
  spool.close();
  const taken = Spool.recover(options(), { replid: REPLID, offset: 0 });
  expect(String(readFrom(taken, 0))).toBe('stream');
  taken?.close();
});

it.each<[string, () => void, { replid?: string; offset?: number; bootId?: string }]>([
  ['of another history', () => {}, { replid: 'c'.repeat(40) }],
  ['that begins behind what is wanted', () => {}, { offset: 99 }],
  ['that ends before it', () => {}, { offset: 10 ** 9 }],
  ['of before a reboot', () => {}, { bootId: 'another' }],
  ['that lacks its first part', () => unlinkSync(segment(0)), {}],
  ['without names', () => writeFileSync(path.join(directory, 'unplaced_0'), 'x'), { bootId: 'another' }],
])('deletes what is left %s', (_what, harm, { replid = REPLID, offset = 100, bootId }) => {
  leaveStream();
  harm();
  const recovered = Spool.recover({ ...options(), ...(bootId && { bootId }) }, { replid, offset });
  expect(recovered).toBeUndefined();
  expect(readdirSync(directory)).toEqual([]);
});

it('takes up what lies before a gap, and deletes what lies behind it', () => {
  const bytes = leaveStream();
  truncateSync(segment(1), 1_000);
  const spool = Spool.recover(options(), { replid: REPLID, offset: 100 });
  const end = SEGMENT_BYTES + 1_000;
  expect(readFrom(spool, 100).equals(bytes.subarray(0, end))).toBe(true);
  expect(readdirSync(directory)).toHaveLength(2);
  spool?.close();
});

function options() {
  return { directory, bytesMax: 2 ** 40, bootId: 'this-boot', segmentBytes: SEGMENT_BYTES };
}

/** Leaves three segments from the offset 100 on, as a killed process does. */
function leaveStream(): Buffer {
  const spool = new Spool(options());
  spool.placeInStream({ replid: REPLID, baseOffset: 0 });
  const bytes = Buffer.alloc(2 * SEGMENT_BYTES + 5_000, randomBytes(100_003));
  for (let at = 0; at < bytes.length; at += 2 ** 14) {
    spool.push({ bytes: bytes.subarray(at, at + 2 ** 14), arrivedAtMs: 1 }, 100 + at);
  }
  spool.close();
  return bytes;
}

function segment(index: number): string {
  const names = readdirSync(directory).sort((one, other) => offsetOf(one) - offsetOf(other));
  return path.join(directory, names[index] ?? '');
}

function offsetOf(name: string): number {
  return Number(name.split('_')[1]);
}

function readFrom(spool: Spool | undefined, from: number): Buffer {
  const parts: Buffer[] = [];
  let place = from;
  for (let piece = spool?.at(place); piece !== undefined; piece = spool?.at(place)) {
    parts.push(Buffer.from(piece.bytes));
    place += piece.bytes.length;
  }
  return Buffer.concat(parts);
}
