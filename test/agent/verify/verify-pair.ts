import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Cluster, Redis } from 'ioredis';
import type { Access } from '../../../src/agent/redis/access.ts';
import { FOOTER_VERSION, withFooter } from '../../../src/agent/redis/rdb/footer.ts';
import { compareAll } from '../../../src/agent/verify/compare.ts';
import type { VerifyOptions } from '../../../src/agent/verify/run.ts';
import type { Side } from '../../../src/contract/endpoint.ts';
import type { VerifyReport } from '../../../src/contract/reports.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import type { ServerBinary } from '../../servers/server-binary.ts';
import { type RunningServer, startServer } from '../../servers/start.ts';

/** Where a side of a comparison is reached. */
export type Place = { readonly host: string; readonly port: number };

/** Two servers to compare. */
export type VerifyPair = AsyncDisposable & { readonly source: RunningServer; readonly target: RunningServer };

/** Starts both servers. */
export async function startPair(source: ServerBinary, target: ServerBinary): Promise<VerifyPair> {
  const running = {
    source: await startServer({ server: source }),
    target: await startServer({ server: target }),
  };
  return {
    ...running,
    [Symbol.asyncDispose]: async () => {
      await running.source[Symbol.asyncDispose]();
      await running.target[Symbol.asyncDispose]();
    },
  };
}

/** A plain endpoint on the loopback. */
export function accessTo(side: Side, { host, port }: Place): Access {
  return {
    side,
    host,
    port,
    address: `${host}:${port}`,
    username: undefined,
    password: undefined,
    tls: undefined,
  };
}

/** Compares the pair as a job would, in a folder that is gone afterwards unless one is given. */
export async function verifyPair(
  pair: { readonly source: Place; readonly target: Place },
  overrides: Partial<VerifyOptions> = {},
): Promise<VerifyReport> {
  await using stack = new AsyncDisposableStack();
  const directory = overrides.directory ?? (await mkdtemp(path.join(tmpdir(), 'verify-')));
  if (overrides.directory === undefined) {
    stack.defer(() => rm(directory, { recursive: true, force: true }));
  }
  return await compareAll({
    source: accessTo('source', pair.source),
    target: accessTo('target', pair.target),
    migrationId: 'sessions',
    maxDifferences: 0,
    ttlToleranceMs: 100,
    keyDisplay: 'shown',
    clock: systemClock,
    signal: new AbortController().signal,
    directory,
    report: () => {},
    ...overrides,
  });
}

/**
 * The clock of comparisons in which nothing is on its way, or only by a sync that tells how far it is. What seems to
 * differ is looked at as often as ever, but at a tenth of the pauses: they are for writes in flight that only time tells of.
 */
export const STILL_CLOCK: Clock = {
  nowMs: systemClock.nowMs,
  sleep: (durationMs, signal) => systemClock.sleep(durationMs / 10, signal),
};

/** Compares a pair for which {@link STILL_CLOCK} will do. */
export function verifyStill(
  pair: { readonly source: Place; readonly target: Place },
  overrides: Partial<VerifyOptions> = {},
): Promise<VerifyReport> {
  return verifyPair(pair, { clock: STILL_CLOCK, ...overrides });
}

/** Differences as lines `db key type kind: detail`, sorted, to compare with what was seeded. */
export function differenceLines({ differences }: VerifyReport): string[] {
  return differences.listed
    .map(({ db, key, type, kind, detail }) => `${db} ${key} ${type} ${kind}: ${detail}`)
    .sort();
}

/** Copies every key of the databases by DUMP and RESTORE with the footer made anew, and the functions. */
export async function copyAll({ source, target }: VerifyPair, databases: readonly number[]): Promise<void> {
  for (const db of databases) await copyDatabase(source.client(db), target.client(db));
  const functions = await source.client().callBuffer('FUNCTION', 'DUMP');
  if (Buffer.isBuffer(functions) && functions.length > 10) {
    await target.client().call('FUNCTION', 'RESTORE', withFooter(functions, FOOTER_VERSION));
  }
}

/** Copies every key of a server's database by DUMP and RESTORE with the footer made anew. */
export async function copyDatabase(from: Redis, to: Redis | Cluster): Promise<void> {
  for await (const keys of from.scanBufferStream({ count: 500 })) {
    for (const key of keys) {
      const dump = await from.dumpBuffer(key);
      const expiresAtMs = await from.pexpiretime(key);
      await to.restore(key, Math.max(expiresAtMs, 0), withFooter(dump, FOOTER_VERSION), 'REPLACE', 'ABSTTL');
    }
  }
}
