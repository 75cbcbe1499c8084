import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Journal } from '../../../src/agent/redis/journal.ts';
import { systemClock } from '../../../src/core/clock.ts';

const FIRST = 'a'.repeat(40);
const SECOND = 'b'.repeat(40);
const MIB = 2 ** 20;
const { signal } = new AbortController();

let parent: string;
let directory: string;
let nowMs: number;

beforeEach(async () => {
  parent = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-journal-'));
  directory = path.join(parent, 'spool');
  nowMs = 1_000;
});

afterEach(() => rm(parent, { recursive: true, force: true }));

it('gives what was received, and again from where the target stands, whatever went to disk', async () => {
  const journal = Journal.from(options(), { replid: FIRST, offset: 5_000 });
  const received: Buffer[] = [];
  let readOffset = 5_000;
  let committed = 5_000;
  const random = seeded(7);
  let spooledMax = 0;
  for (let round = 0; round < 3_000; round++) {
    const chunk = randomBytes(1 + Math.floor(random() * (round % 400 < 200 ? 160_000 : 300)));
    received.push(chunk);
    journal.append(chunk);
    // For a while the reader keeps up, for a while it does not.
    for (let reads = 0; reads < 4 && round % 800 < 300 && journal.waitingBytes > 0; reads++) {
      readOffset += (await journal.read(signal)).length;
    }
    spooledMax = Math.max(spooledMax, journal.spooledBytes);
    if (round % 7 === 0) {
      committed = Math.max(committed, readOffset - Math.floor(random() * 500_000));
      journal.commit(committed);
    }
    if (round % 500 !== 499) continue;
    const back = Math.max(5_000, committed - Math.floor(random() * 3 * MIB));
    expect(journal.holds({ replid: FIRST, offset: back })).toBe(true);
    journal.rewind(back);
    const all = Buffer.concat(received);
    expect((await readAll(journal)).equals(all.subarray(back - 5_000))).toBe(true);
    readOffset = 5_000 + all.length;
    committed = back;
  }
  expect(spooledMax).toBeGreaterThan(4 * MIB);
  expect(journal.receivedOffset).toBe(readOffset);
  journal.commit(readOffset);
  expect(journal.spooledBytes).toBe(0);
  expect(readdirSync(directory)).toEqual([]);
  journal.discard();
});

it('keeps a small stream in memory, with what was committed before', async () => {
  const journal = Journal.from(options(), { replid: FIRST, offset: 0 });
  for (let chunk = 0; chunk < 40; chunk++) {
    journal.append(Buffer.alloc(MIB, chunk));
    await journal.take(MIB, signal);
    journal.commit((chunk + 1) * MIB);
  }
  expect(existsSync(directory)).toBe(false);
  expect(journal.holds({ replid: FIRST, offset: 36 * MIB })).toBe(true);
  expect(journal.holds({ replid: FIRST, offset: 1 })).toBe(false);
});

it('forgets an RDB as it is read, and leaves the stream behind it to a later process', async () => {
  const journal = new Journal(options());
  const rdb = randomBytes(30 * MIB);
  const stream = randomBytes(25 * MIB);
  for (const bytes of [rdb, stream]) {
    for (let at = 0; at < bytes.length; at += MIB / 2) journal.append(bytes.subarray(at, at + MIB / 2));
  }
  expect(journal.committedOffset).toBe(0);
  expect((await journal.take(rdb.length, signal)).equals(rdb)).toBe(true);
  journal.beginStream({ replid: FIRST, offset: 777 });
  expect([journal.committedOffset, journal.receivedOffset]).toEqual([777, 777 + stream.length]);
  journal.close();
  const next = Journal.recover(options(), { replid: FIRST, offset: 1_777 });
  expect(next?.receivedOffset).toBe(777 + stream.length);
  if (next === undefined) throw new Error('nothing was recovered');
  expect((await readAll(next)).equals(stream.subarray(1_000))).toBe(true);
  next.discard();
});

it('leaves all that it has received to a later process while the reader is on disk', async () => {
  const journal = Journal.from(options(), { replid: FIRST, offset: 0 });
  for (let chunk = 0; chunk < 20; chunk++) journal.append(Buffer.alloc(MIB, chunk));
  journal.append(Buffer.from('the last'));
  const last = journal.receivedOffset;
  journal.close();
  expect(Journal.recover(options(), { replid: FIRST, offset: 3 * MIB })?.receivedOffset).toBe(last);
  expect(Journal.recover(options(), { replid: SECOND, offset: 3 * MIB })).toBeUndefined();
  expect(readdirSync(directory)).toEqual([]);
});

it('goes on under another id, to which belongs what was received before it', () => {
  const journal = Journal.from(options(), { replid: FIRST, offset: 100 });
  journal.append(Buffer.alloc(50));
  journal.continueAs(SECOND);
  journal.append(Buffer.alloc(50));
  expect(journal.replid).toBe(SECOND);
  const held = (replid: string, offset: number) => journal.holds({ replid, offset });
  expect([held(SECOND, 99), held(SECOND, 100), held(SECOND, 200), held(SECOND, 201)]).toEqual([
    false,
    true,
    true,
    false,
  ]);
  // Under the first id these are other bytes, if any.
  expect([held(FIRST, 100), held(FIRST, 150), held(FIRST, 151)]).toEqual([true, true, false]);
});

it('tells when bytes arrived, not when they are read', async () => {
  const journal = Journal.from(options(), { replid: FIRST, offset: 0 });
  const arrives = (bytes: Buffer, atMs: number) => {
    nowMs = atMs;
    journal.append(bytes);
  };
  arrives(Buffer.alloc(17 * MIB, 'a'), 2_000);
  arrives(Buffer.alloc(300_000, 'b'), 3_000);
  arrives(Buffer.from('c'), 5_000);
  nowMs = 9_000;
  const arrivals = new Set<string>();
  while (journal.waitingBytes > 0) {
    for (const letter of new Set(String(await journal.read(signal)))) {
      arrivals.add(`${letter} at ${journal.readArrivedAtMs}`);
    }
  }
  expect([...arrivals]).toEqual(['a at 2000', 'b at 3000', 'c at 5000']);
  journal.discard();
});

it('gives what has arrived before it says what it failed with, and goes on when it is revived', async () => {
  const journal = Journal.from(options(), { replid: FIRST, offset: 0 });
  journal.append(Buffer.from('arrived'));
  journal.fail(new Error('lost'));
  expect(String(await journal.read(signal))).toBe('arrived');
  await expect(journal.read(signal)).rejects.toThrow('lost');
  journal.revive();
  const reading = journal.read(signal);
  journal.append(Buffer.from('more'));
  expect(String(await reading)).toBe('more');
});

function options() {
  return { directory, bytesMax: 2 ** 40, bootId: 'this-boot', clock: { ...systemClock, nowMs: () => nowMs } };
}

async function readAll(journal: Journal): Promise<Buffer> {
  const parts: Buffer[] = [];
  while (journal.waitingBytes > 0) parts.push(Buffer.from(await journal.read(signal)));
  return Buffer.concat(parts);
}

/** Numbers from 0 to 1 that are the same in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state / 0x7fffffff;
  };
}
