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
  /** DEBUG DIGEST of both sides, which is made by the servers themselves. */
  readonly digests: readonly [source: string, target: string];
  readonly keys: number;
  readonly written: WrittenCommands;
};

/** How much is written. */
export type MigrationSize = { readonly keys: number; readonly rounds: number };

/** What a source cannot tell: its TTLs are relative, and its clock is read beside them. */
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
  await verifyAndCutOver(agent, source, target);
  return { ...(await compare(source, target)), written };
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
    throw new Error(`The verification did not pass: ${JSON.stringify(report)}`);
  }
  await agent.run({
    kind: 'cutover',
    ...request,
    maxVerificationAgeMs: 3_600_000,
    maxWritePauseMs: 60_000,
  });
}

async function compare(source: RunningServer, target: RunningServer): Promise<Omit<MigratedPair, 'written'>> {
  const { kind, version } = source.server;
  const isOld = kind === 'redis' && compareVersions(version, '7.0') < 0;
  const isReadCounted = kind === 'valkey' ? false : compareVersions(version, '7.4') >= 0;
  const options = { isStreamCounted: !isOld, isReadCounted, isSettled: true };
  // Reading every key also removes those that have expired, which a digest would count.
  const dumps = [
    await readTypedDump(source.client(), options),
    await readTypedDump(target.client(), options),
  ] as const;
  const differences = compareDumps(...dumps, { toleranceMs: isOld ? TTL_PRECISION_MS : 0 });
  const digests = [await digest(source), await digest(target)] as const;
  const libraries = [await listLibraries(source), await listLibraries(target)];
  if (libraries[0] !== libraries[1]) differences.push(`functions: ${libraries.join(' / ')}`);
  return { differences, digests, keys: dumps[0].keys.size };
}

async function digest(server: RunningServer): Promise<string> {
  return String(await server.client().call('DEBUG', 'DIGEST'));
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
function configOf({ kind, version }: ServerBinary): Record<string, string> {
  const isOld = kind === 'redis' && compareVersions(version, '7.0') < 0;
  return {
    'repl-diskless-sync-delay': '0',
    'repl-backlog-size': '64mb',
    ...(isOld ? {} : { 'enable-debug-command': 'yes' }),
  };
}

function ends(source: RunningServer, target: RunningServer): { source: Endpoint; target: Endpoint } {
  return { source: endpointOf(source), target: endpointOf(target) };
}

function endpointOf({ host, port }: RunningServer): Endpoint {
  return { host, port, tls: false };
}
