import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { ExtraKeys } from '../../../src/agent/sync/extra-keys.ts';
import { TargetWriter } from '../../../src/agent/sync/target-writer.ts';
import { startServer, targetServer } from '../../servers/start.ts';
import { accessTo } from '../verify/verify-pair.ts';

const KEYS = 20_000;
const RESERVED = '__valkey-migrate__';
const { signal } = new AbortController();

it('removes exactly the keys that the copy did not bring, in every database', async () => {
  await using target = await startServer({ server: await targetServer() });
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-extra-'));
  const access = accessTo('target', target);
  await using writer = await TargetWriter.open({
    access,
    clientName: 'test',
    onFailure: () => {},
    onAnswers: () => {},
    signal,
  });
  using extraKeys = new ExtraKeys(directory);
  const stay = new Map<number, string[]>();
  let extras = 0;
  for (const db of [0, 5, 9]) {
    const staying: string[] = [];
    stay.set(db, staying);
    const pipeline = target.client(db).pipeline();
    for (const [index, key] of keysOf(db).entries()) {
      pipeline.set(key, '1');
      if (index % 3 === db % 3) {
        extras += 1;
        continue;
      }
      extraKeys.keep(db, {
        bytes: Buffer.concat([Buffer.from('before'), key]),
        start: 6,
        end: 6 + key.length,
      });
      staying.push(key.toString('latin1'));
    }
    await pipeline.exec();
  }
  await target.client().set(RESERVED, 'the claim');
  // Brought by the copy, and gone again: it does no harm.
  extraKeys.keep(3, { bytes: Buffer.from('absent'), start: 0, end: 6 });
  expect(await extraKeys.remove({ access, writer, signal })).toBe(extras);
  await writer.settle();
  for (const db of [0, 5, 9]) {
    const left = (await target.client(db).keysBuffer('*')).map((key) => key.toString('latin1'));
    const wanted = [...(stay.get(db) ?? []), ...(db === 0 ? [RESERVED] : [])];
    expect(left.sort()).toEqual(wanted.sort());
  }
  expect(await readdir(directory)).toEqual([]);
  await rm(directory, { recursive: true });
});

/** Names that are alike in every way that a sum could mistake: with zeros before and behind them, empty, long. */
function keysOf(db: number): Buffer[] {
  const alike = Array.from({ length: 30 }, (_, zeros) => [
    Buffer.concat([Buffer.alloc(zeros), Buffer.from('a')]),
    Buffer.concat([Buffer.from('a'), Buffer.alloc(zeros + 1)]),
    Buffer.alloc(zeros),
  ]).flat();
  const many = Array.from({ length: KEYS }, (_, index) =>
    Buffer.from(`${index % 7 === 0 ? db : 'key'}:${index}`),
  );
  return [...alike, ...many, Buffer.alloc(40_000, 'long'), Buffer.alloc(200_000, 'longer')];
}
