import { expect } from 'vitest';
import { compareVersions } from '../../servers/server-binary.ts';
import type { RunningServer } from '../../servers/start.ts';
import { compareDumps, readTypedDump } from '../sync/typed-dump.ts';

/** Reads both servers key by key, and finds no difference; counters of streams where the source has them. */
export async function expectSame(source: RunningServer, target: RunningServer): Promise<void> {
  const { kind, version } = source.server;
  const isStreamCounted = kind === 'valkey' || compareVersions(version, '7.0.0') >= 0;
  const [atSource, atTarget] = await Promise.all(
    [source, target].map((server) => readTypedDump(server.client(), { isStreamCounted })),
  );
  if (atSource === undefined || atTarget === undefined) throw new Error('two servers make two dumps');
  expect(compareDumps(atSource, atTarget)).toEqual([]);
}
