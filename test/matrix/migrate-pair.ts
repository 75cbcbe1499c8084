import { createHash } from 'node:crypto';
import { holdsHashFieldTtls } from '../../src/agent/sync/target-commands.ts';
import type { Endpoint } from '../../src/contract/endpoint.ts';
import { compareDumps, readTypedDump } from '../agent/sync/typed-dump.ts';
import { type HostAgent, openHostAgent } from '../host-agent.ts';
import { loadDataSet } from '../servers/data-set.ts';
import { compareVersions, type ServerBinary } from '../servers/server-binary.ts';
import { type RunningServer, startServer } from '../servers/start.ts';
import { startEveryCommand, type WrittenCommands } from './every-command.ts';

/** What a migration leaves to look at. */
export type MigratedPair = {
  /** What an independent comparison finds, key by key; empty for equal. */
  readonly differences: readonly string[];
  /** What DEBUG DIGEST says of both sides, or of all their keys that it digests alike. */
  readonly digests: readonly [source: string, target: string];
  readonly keys: number;
  readonly written: WrittenCommands;
};

/** How much is written. */
export type MigrationSize = { readonly keys: number; readonly rounds: number };

/** As exact as the times of a source are that sends them relative to its clock. */
const TTL_PRECISION_MS = 1;
/** Longer than any expiry that is to lapse while the writers write. */
const BRIEF_MS = 1_500;

/**
 * Migrates between two servers with the built agent, as the action does: sync while clients write by every command the
 * source knows, verify, cut over. Then looks at both sides.
 */
export async function migratePair(
  pair: { readonly source: ServerBinary; readonly target: ServerBinary },
  { keys, rounds }: MigrationSize,
): Promise<MigratedPair> {
  await using source = await startServer({ server: pair.source, config: configOf(pair.source) });
  await using target = await startServer({ server: pair.target, config: { 'enable-debug-command': 'yes' } });
  const canExpireFields = holdsHashFieldTtls(
    { has: () => compareVersions(target.server.version, '9.0') >= 0 },
    target.server.kind,
  );
  const knowsFieldExpiry = await knows(source, 'hpexpire');
  await loadDataSet(source.client(), { keys, seed: 7, hashFieldTtls: canExpireFields && knowsFieldExpiry });
  await using agent = await openHostAgent(endpointOf(source), endpointOf(target));
  const writers = await startEveryCommand(source, { canExpireFields });
  await agent.start({ kind: 'sync', ...ends(source, target), flushTarget: false });
  await agent.until('sync', ({ progress }) => progress.stage === 'live');
  await writers.rounds(rounds);
  await evictSome(source);
  await writers.rounds(1);
  const written = await writers.stop();
  await outlast(source, BRIEF_MS);
  await forgetScripts(source);
  await verifyAndCutOver(agent, source, target);
  return { ...(await compare(source, target)), written };
}

/** A source whose scripts write behind a fence is only cut over when its statistics show none: here they have ended. */
async function forgetScripts(source: RunningServer): Promise<void> {
  if (isBefore(source.server, '6.2')) await source.client().config('RESETSTAT');
}

async function verifyAndCutOver(
  agent: HostAgent,
  source: RunningServer,
  target: RunningServer,
): Promise<void> {
  const limits = { maxDifferences: 0, ttlToleranceMs: 1000, keyDisplay: 'shown' } as const;
  const request = { ...ends(source, target), ...limits, route: 'replica' } as const;
  await agent.run({ kind: 'verify', ...request });
  const report = agent.store.readReport('verify');
  if (report?.kind !== 'verify' || !report.passed) {
    const { byKind, listed } = report?.kind === 'verify' ? report.differences : { byKind: [], listed: [] };
    throw new Error(
      `The verification did not pass: ${JSON.stringify({ byKind, listed: listed.slice(0, 5) })}`,
    );
  }
  await agent.run({
    kind: 'cutover',
    ...request,
    maxVerificationAgeMs: 3_600_000,
    maxWritePauseMs: 60_000,
  });
}

async function compare(source: RunningServer, target: RunningServer): Promise<Omit<MigratedPair, 'written'>> {
  const isOld = isBefore(source.server, '7.0');
  // Valkey forwards what a group has read without ENTRIESREAD, as Redis did before 7.4.
  const isReadCounted = source.server.kind === 'redis' && !isBefore(source.server, '7.4');
  const options = { isStreamCounted: !isOld, isReadCounted, isSettled: true };
  // Reading every key also removes those that have expired, which a digest would count.
  const dumps = [
    await readTypedDump(source.client(), options),
    await readTypedDump(target.client(), options),
  ] as const;
  const differences = compareDumps(...dumps, { toleranceMs: isOld ? TTL_PRECISION_MS : 0 });
  const others = incomparableTypes(source.server, target.server);
  const digestOf = (server: RunningServer) =>
    others.length === 0 ? digestAll(server) : digestWithout(server, others);
  const digests = [await digestOf(source), await digestOf(target)] as const;
  const libraries = [await listLibraries(source), await listLibraries(target)];
  if (libraries[0] !== libraries[1]) differences.push(`functions: ${libraries.join(' / ')}`);
  return { differences, digests, keys: dumps[0].keys.size };
}

async function digestAll(server: RunningServer): Promise<string> {
  return String(await server.client().call('DEBUG', 'DIGEST'));
}

/**
 * Types that the two digest in different ways: before Redis 7.2 a score counts with 17 digits, since then with as few
 * as tell it apart; and that a field expires counts for Redis only.
 */
function incomparableTypes(source: ServerBinary, target: ServerBinary): readonly string[] {
  const hasLongScores = isBefore(source, '7.2');
  const mayExpireFields = source.kind === 'redis' && !isBefore(source, '7.4');
  return [
    ...(hasLongScores ? ['zset'] : []),
    ...(mayExpireFields && compareVersions(target.version, '9.0') >= 0 ? ['hash'] : []),
  ];
}

async function digestWithout(server: RunningServer, types: readonly string[]): Promise<string> {
  const digests: string[] = [];
  for (const [, db] of (await server.client().info('keyspace')).matchAll(/^db(\d+):/gm)) {
    const client = server.client(Number(db));
    const keys = await client.keysBuffer('*');
    const found = await Promise.all(keys.map((key) => client.type(key)));
    const others = keys.filter((_, index) => !types.includes(found[index] ?? ''));
    if (others.length === 0) continue;
    const values = (await client.call('DEBUG', 'DIGEST-VALUE', ...others)) as string[];
    digests.push(...others.map((key, index) => `${db} ${key.toString('base64')} ${values[index]}`));
  }
  return createHash('sha256').update(digests.sort().join()).digest('hex');
}

async function listLibraries(server: RunningServer): Promise<string> {
  if (!(await knows(server, 'function'))) return '[]';
  const libraries = (await server.client().call('FUNCTION', 'LIST', 'WITHCODE')) as unknown[];
  return JSON.stringify(libraries.map((library) => JSON.stringify(library)).sort());
}

/** Lets the source run out of memory for a moment, so that it evicts keys that expire. */
async function evictSome(source: RunningServer): Promise<void> {
  const client = source.client();
  const evicted = async () => Number(/evicted_keys:(\d+)/.exec(await client.info('stats'))?.[1]);
  await client.config('SET', 'maxmemory-policy', 'volatile-random');
  const used = Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1]);
  await client.config('SET', 'maxmemory', String(used));
  try {
    for (let round = 0; (await evicted()) < 5 && round < 2_000; round++) {
      await client.set(`evictable:${round}`, 'x'.repeat(2_000), 'EX', 5_000).catch((error: Error) => {
        if (!error.message.startsWith('OOM')) throw error;
      });
    }
  } finally {
    await client.config('SET', 'maxmemory', '0');
  }
  if ((await evicted()) === 0) throw new Error('nothing was evicted');
}

/** Waits by the clock of the server until what was to expire within so much time has. */
async function outlast(server: RunningServer, durationMs: number): Promise<void> {
  const client = server.client();
  await client.set('outlasting', '1', 'PX', durationMs);
  while ((await client.exists('outlasting')) === 1) await client.call('WAIT', 1, 20);
}

async function knows(server: RunningServer, command: string): Promise<boolean> {
  const [info] = (await server.client().call('COMMAND', 'INFO', command)) as unknown[];
  return Array.isArray(info);
}

/** Servers before 7.0 need no permission for DEBUG, and do not know the setting. */
function configOf(server: ServerBinary): Record<string, string> {
  const isOld = isBefore(server, '7.0');
  return {
    'repl-diskless-sync-delay': '0',
    'repl-backlog-size': '64mb',
    ...(isOld ? {} : { 'enable-debug-command': 'yes' }),
  };
}

/** Whether it is a Redis of before that version. */
function isBefore({ kind, version }: ServerBinary, limit: string): boolean {
  return kind === 'redis' && compareVersions(version, limit) < 0;
}

function ends(source: RunningServer, target: RunningServer): { source: Endpoint; target: Endpoint } {
  return { source: endpointOf(source), target: endpointOf(target) };
}

function endpointOf({ host, port }: RunningServer): Endpoint {
  return { host, port, tls: false };
}
