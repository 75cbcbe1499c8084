import { accessSync, constants } from 'node:fs';
import { loadsRdbOf } from '../../src/agent/preflight/rdb-version.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { findServer, sourceServer, targetServer } from '../servers/start.ts';
import { ours, oursUntuned, scan } from './agent-contestant.ts';
import type { Contestant } from './contestant.ts';
import { native, nativeOnEmptyDb } from './native-contestant.ts';
import { none } from './no-contestant.ts';
import type { BenchOptions, ContestantName } from './options.ts';
import { raw } from './raw-contestant.ts';
import { redisShake, redisShakeScan } from './redis-shake-contestant.ts';
import type { PairBinaries } from './server-pair.ts';
import { type Comparer, fullCheck, ourComparer } from './verify-run.ts';

const DEFAULT_NAMES: readonly ContestantName[] = [
  'none',
  'native',
  'raw',
  'ours',
  'ours-untuned',
  'redis-shake',
  'redis-full-check',
];

/**
 * Those of the names that were asked for and can take part, in that order: RedisShake needs a program, and native
 * replication a target that loads the RDB of the source.
 *
 * Throws when the program of RedisShake is none.
 */
export function chooseContestants(
  options: Pick<BenchOptions, 'contestants' | 'redisShake'> & { readonly binaries: PairBinaries },
  names: readonly ContestantName[],
): Contestant[] {
  const { binaries, redisShake: program, contestants: wanted = DEFAULT_NAMES } = options;
  const natives = loadsRdbOf(binaries.source, binaries.target) ? [native, nativeOnEmptyDb] : [];
  const shake = program === undefined ? undefined : executable('REDIS_SHAKE', program);
  const shakes = shake === undefined ? [] : [redisShake(shake), redisShakeScan(shake)];
  const all = [none, ...natives, raw, ours, oursUntuned, scan, ...shakes];
  return names.flatMap((name) => all.filter((one) => one.name === name && wanted.includes(name)));
}

/** Those that compare: ours, and redis-full-check on the sets for which there is a target. */
export function chooseComparers(options: Pick<BenchOptions, 'contestants' | 'fullCheck'>): Comparer[] {
  const { fullCheck: program } = options;
  const wanted: readonly ContestantName[] = options.contestants ?? DEFAULT_NAMES;
  const peers = program === undefined ? [] : [fullCheck(executable('FULL_CHECK', program))];
  return [ourComparer, ...peers].filter((comparer) => wanted.includes(comparer.name));
}

function executable(variable: string, program: string): string {
  try {
    accessSync(program, constants.X_OK);
    return program;
  } catch {
    throw new Error(`${variable}=${program} is no program that runs here.`);
  }
}

/** The servers: unless told otherwise a Redis whose RDB every Valkey loads, so that native replication takes part. */
export async function findBinaries(
  { source, target }: Pick<BenchOptions, 'source' | 'target'>,
  env: Readonly<Record<string, string | undefined>>,
): Promise<PairBinaries> {
  const isNamedByEnvironment = source === undefined && (env.SOURCE_SERVER ?? '') !== '';
  return {
    source: await (isNamedByEnvironment ? sourceServer() : findNamed(source ?? 'redis-7.0')),
    target: await (target === undefined ? targetServer() : findNamed(target)),
  };
}

async function findNamed(text: string): Promise<ServerBinary> {
  const [, kind, version] = /^(redis|valkey)-(\d[\d.]*)$/.exec(text) ?? [];
  if (version === undefined) throw new Error(`"${text}" is no server; expected redis-7.0 or valkey-8.1`);
  return findServer({ kind: kind === 'redis' ? 'redis' : 'valkey', version });
}
