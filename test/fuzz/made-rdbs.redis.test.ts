import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { holdsHashFieldTtls } from '../../src/agent/sync/target-commands.ts';
import { TargetWriter } from '../../src/agent/sync/target-writer.ts';
import { accessOf } from '../agent/cutover/job-context.ts';
import { compareDumps, readTypedDump, type TypedDump } from '../agent/sync/typed-dump.ts';
import { findServer, type RunningServer, startServer, targetServer } from '../servers/start.ts';
import { carryRdb } from './carry.ts';
import { MADE_RDBS } from './made-rdbs.ts';

/** What is large, and in which pieces it comes. */
const WAYS = [
  { name: 'whole', wholeValueBytesMax: 2 ** 21, restoreBytesMax: 2 ** 29, pieceBytes: 2 ** 20 },
  { name: 'as large values', wholeValueBytesMax: 16, restoreBytesMax: 2 ** 29, pieceBytes: 7 },
  { name: 'element by element', wholeValueBytesMax: 16, restoreBytesMax: 0, pieceBytes: 7 },
];
const TARGETS = [
  { name: 'the target of these tests', find: targetServer },
  { name: 'the newest Valkey', find: () => findServer({ kind: 'valkey', version: 'newest' }) },
];
const LOADED = MADE_RDBS.filter(({ loadedBy }) => loadedBy !== 'none');

describe.each(TARGETS)('$name', ({ find }) => {
  let target: RunningServer;
  beforeAll(async () => {
    target = await startServer({ server: await find() });
  });
  afterAll(() => target[Symbol.asyncDispose]());

  it.for(LOADED.flatMap((made) => WAYS.map((way) => ({ ...made, way }))))(
    'holds the $name carried $way.name as the server does that loads them itself',
    async (made, { skip }) => {
      const expected = await loadItself(made);
      if (expected === undefined) return skip('no server that loads these is at hand');
      await target.client().flushall();
      const hasHashFieldTtls = holdsHashFieldTtls(
        { has: () => target.server.version.startsWith('9') },
        'valkey',
      );
      if (made.loadedBy !== 'any' && !hasHashFieldTtls) {
        await expect(carryTo(target, made)).rejects.toMatchObject({ code: 'source-data-unsupported' });
        return;
      }
      expect(await carryTo(target, made)).toMatchObject({ isComplete: true, keys: expected.keys.size });
      expect(compareDumps(expected, await readTypedDump(target.client()))).toEqual([]);

      async function carryTo(server: RunningServer, { rdb, way }: typeof made) {
        await using writer = await TargetWriter.open({
          access: accessOf('target', server),
          clientName: 'test',
          onFailure: () => {},
          onAnswers: () => {},
          signal: AbortSignal.timeout(30_000),
        });
        const pieces = inPieces(rdb, way.pieceBytes);
        const carried = await carryRdb({
          pieces,
          writer,
          hasHashFieldTtls,
          ...way,
          directory: server.directory,
        });
        await writer.settle();
        return carried;
      }
    },
  );
});

/** What a server that loads the RDB from its own disk finds in it; undefined when there is no such server. */
async function loadItself({ rdb, loadedBy }: (typeof LOADED)[number]): Promise<TypedDump | undefined> {
  const wanted =
    loadedBy === 'valkey 9'
      ? ({ kind: 'valkey', version: '9' } as const)
      : ({ kind: 'redis', version: '8.0' } as const);
  const server = await findServer(wanted).catch(() => undefined);
  if (server === undefined) return undefined;
  await using loading = await startServer({ server });
  await writeFile(path.join(loading.directory, 'dump.rdb'), rdb);
  await loading.restart('SIGKILL');
  return await readTypedDump(loading.client());
}

function inPieces(bytes: Buffer, pieceBytes: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, index) =>
    bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
}
