import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeCorpus } from './corpus.ts';
import { MADE_RDBS } from './made-rdbs.ts';
import { type Observe, observeCommands, observeRdb } from './observe.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-cuts-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Every value is waited for; nearly every one is taken out as it comes. */
const BOUNDS = [2 ** 21, 16];

describe.each(BOUNDS)('an RDB of which values beyond %i bytes come in pieces', (bound) => {
  it.each(MADE_RDBS)('with $name is read alike byte by byte and cut anywhere', ({ rdb }) => {
    const read = observeRdb(bound);
    const whole = read([rdb]);
    expect(whole.items.length).toBeGreaterThan(0);
    expectSameByteByByte(read, rdb);
    for (let cut = 0; cut < rdb.length; cut++) {
      expectAlike(read([rdb.subarray(0, cut), rdb.subarray(cut)]), whole, cut);
      expectBeginning(read([rdb.subarray(0, cut)]), whole, cut);
    }
  });
});

it.each(makeCorpus().streams)('a command stream is read alike byte by byte and cut anywhere', (stream) => {
  const look = observeCommands(directory);
  const whole = look([stream]);
  expect(whole).toMatchObject({ ending: 'whole' });
  expectSameByteByByte(look, stream);
  for (let cut = 0; cut < stream.length; cut++) {
    expectAlike(look([stream.subarray(0, cut), stream.subarray(cut)]), whole, cut);
    const begun = look([stream.subarray(0, cut)]);
    expect(whole.items.slice(0, begun.items.length)).toEqual(begun.items);
  }
});

function expectSameByteByByte(look: Observe, input: Buffer): void {
  expectAlike(look(Array.from(input, (byte) => Buffer.of(byte))), look([input]), 'each byte');
}

function expectAlike(cut: ReturnType<Observe>, whole: ReturnType<Observe>, at: number | string): void {
  const isAlike = cut.ending === whole.ending && cut.items.join() === whole.items.join();
  if (!isAlike) throw new Error(`read differently when cut at ${at}: it ends as ${cut.ending}`);
}

/** What is cut asks for more, or for what it would have been refused for whole; never does it give something else. */
function expectBeginning(begun: ReturnType<Observe>, whole: ReturnType<Observe>, at: number): void {
  const isBeginning = whole.items.slice(0, begun.items.length).join() === begun.items.join();
  const isOpen = begun.ending === 'incomplete' || begun.ending === whole.ending;
  if (!isBeginning || !isOpen || begun.ending === 'whole')
    throw new Error(`read wrongly when it ends at ${at}: ${begun.ending} after ${begun.items.length} items`);
}
