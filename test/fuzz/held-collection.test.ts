import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { carryRdb } from './carry.ts';
import { length, makeRdb, string } from './rdb-bytes.ts';
import { startSwallowingTarget } from './swallowing-target.ts';

/** More than is read back from disk at once. */
const ELEMENTS = Array.from({ length: 60 }, (_, index) => string(`${index} `.repeat(7_000)));
const LIST = 1;
const PIECE_BYTES = 600_000;

it('carries a collection element by element that has been held on disk until it was too large', async () => {
  const list = [Buffer.of(254, 0, LIST), string('list'), length(ELEMENTS.length), ...ELEMENTS];
  const rdb = makeRdb('REDIS0011', list);
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-held-'));
  await using target = await startSwallowingTarget();
  await using writer = await target.open();
  const carried = await carryRdb({
    pieces: Array.from({ length: Math.ceil(rdb.length / PIECE_BYTES) }, (_, index) =>
      rdb.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES),
    ),
    writer,
    hasHashFieldTtls: false,
    wholeValueBytesMax: 100_000,
    restoreBytesMax: 300_000,
    directory,
  });
  await writer.settle();
  await rm(directory, { recursive: true, force: true });
  expect(carried).toMatchObject({ isComplete: true, keys: 1 });
  expect(target.complaint).toBeUndefined();
});
