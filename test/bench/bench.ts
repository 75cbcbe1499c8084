import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { formatCount } from '../../src/core/units.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import type { BoutOptions } from './bout.ts';
import { runCatchUp } from './catch-up-run.ts';
import type { Contestant } from './contestant.ts';
import { runCopy } from './copy-run.ts';
import { DATA_SETS } from './data-sets.ts';
import { chooseComparers, chooseContestants, findBinaries } from './line-up.ts';
import { runLive } from './live-run.ts';
import type { BenchOptions } from './options.ts';
import { type PreparedSet, prepareSet } from './prepared-set.ts';
import { computeRatios } from './ratios.ts';
import type { BenchReport, Run } from './report.ts';
import type { PairBinaries } from './server-pair.ts';
import { judge, VERIFY_GAIN_MIN } from './verdicts.ts';
import { runComparer, startEqualPair } from './verify-run.ts';

/** What a bench needs besides its options. */
export type BenchWorld = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Progress, for people. */
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
};

const LIVE_COMMANDS = 3_000_000;
const CATCH_UP_COMMANDS = 2_000_000;

/**
 * Measures everything that was asked for.
 *
 * Runs that fail are listed in the report. Throws when not even a data set could be made, and the signal's reason.
 */
export async function runBench(options: BenchOptions, world: BenchWorld): Promise<BenchReport> {
  const startedAt = new Date();
  const binaries = await findBinaries(options, world.env);
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-bench-'));
  try {
    const bench = startBench({ ...options, ...world, binaries, directory });
    const isWanted = (part: BenchOptions['only']) => options.only === undefined || options.only === part;
    for (const id of options.sets) {
      if (isWanted('copy') || isWanted('verify')) await measureSet(bench, { id, isWanted });
    }
    if (isWanted('live')) await measureStream(bench);
    return conclude(bench, startedAt);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

type Bench = ReturnType<typeof startBench>;
type Conditions = BenchOptions & BenchWorld & { binaries: PairBinaries; directory: string };
type Collected = Pick<BenchReport, 'sets' | 'copy' | 'live' | 'catchUp' | 'verify' | 'failures'>;

function startBench(conditions: Conditions) {
  const collected: Collected = { sets: [], copy: [], live: [], catchUp: [], verify: [], failures: [] };
  return { ...conditions, collected };
}

type Wanted = { id: BenchOptions['sets'][number]; isWanted(part: BenchOptions['only']): boolean };

async function measureSet(bench: Bench, { id, isWanted }: Wanted): Promise<void> {
  const { scale, binaries, directory, signal, say, collected } = bench;
  const { title, itemName } = DATA_SETS[id];
  say(`${id}: making ${title}`);
  await using set = await prepareSet({ id, scale, server: binaries.source, directory, signal });
  const { items, rdbBytes, fingerprint } = set;
  collected.sets.push({ id, title, items, itemName, keys: fingerprint.keys, rdbBytes });
  if (isWanted('copy')) await measureCopy(bench, set);
  if (isWanted('verify')) await measureVerify(bench, set);
}

async function measureCopy(bench: Bench, set: PreparedSet): Promise<void> {
  const { collected } = bench;
  const { id } = set;
  const { itemName } = DATA_SETS[id];
  const contestants = chooseContestants(bench, [
    'native',
    'native-on-empty-db',
    'ours',
    'ours-untuned',
    'scan',
    'redis-shake',
    'redis-shake-scan',
  ]);
  await interleave(bench, { what: id, contestants }, async (boutOptions, place) => {
    const run = await runCopy(set, boutOptions);
    return {
      run,
      keep: (attempts) => collected.copy.push({ ...place, attempts, ...run }),
      text: `${formatCount(run.copyMs)} ms, ${formatCount(run.itemsPerSecond)} ${itemName}/s`,
    };
  });
}

/** All on one pair, since nobody changes it; redis-full-check only where there is a target to reach. */
async function measureVerify(bench: Bench, set: PreparedSet): Promise<void> {
  const { binaries, collected, directory } = bench;
  const { id } = set;
  const isContest = id in VERIFY_GAIN_MIN;
  const comparers = chooseComparers(bench).filter(({ name }) => isContest || name === 'ours');
  const withoutStreams = comparers.some(({ name }) => name !== 'ours');
  await using pair = await startEqualPair(set, { binaries, withoutStreams });
  await interleave(bench, { what: `verify ${id}`, contestants: comparers }, async ({ contestant }, place) => {
    const run = await runComparer(contestant, pair, directory);
    return {
      run,
      keep: (attempts) => collected.verify.push({ ...place, attempts, set: id, ...run }),
      text: `${formatCount(run.keysPerSecond)} keys/s`,
    };
  });
}

async function measureStream(bench: Bench): Promise<void> {
  const { scale, collected, liveCommands: commands, liveKeys: keys } = bench;
  const load = (count: number) => ({ commands, keys, count: Math.max(1, Math.round(count * scale)) });
  const alone = chooseContestants(bench, ['none', 'native', 'raw', 'ours', 'redis-shake']);
  await interleave(bench, { what: 'live', contestants: alone }, async (boutOptions, place) => {
    const run = await runLive(load(LIVE_COMMANDS), boutOptions);
    return {
      run,
      keep: (attempts) => collected.live.push({ ...place, attempts, ...run }),
      text: `${formatCount(run.appliedPerSecond ?? 0)} commands/s applied, drained after ${formatCount(run.drainedAfterMs ?? 0)} ms`,
    };
  });
  const following = chooseContestants(bench, ['native', 'raw', 'ours', 'redis-shake']);
  await interleave(bench, { what: 'catch-up', contestants: following }, async (boutOptions, place) => {
    const run = await runCatchUp(load(CATCH_UP_COMMANDS), boutOptions);
    return {
      run,
      keep: (attempts) => collected.catchUp.push({ ...place, attempts, ...run }),
      text: `${formatCount(run.appliedPerSecond)} commands/s`,
    };
  });
}

type Series<Kind> = { what: string; contestants: readonly Kind[] };
type Circumstances = Omit<BoutOptions, 'purpose' | 'data' | 'contestant'>;
type Place = Pick<Run, 'contestant' | 'round'>;
type Measured = {
  run: Pick<Run, 'isNoisy' | 'foreignShare' | 'difference'>;
  keep: (attempts: number) => void;
  text: string;
};

/** Every contestant once in each round, so that what changes on the machine meanwhile meets all of them. */
async function interleave<Kind extends Pick<Contestant, 'name'>>(
  bench: Bench,
  { what, contestants }: Series<Kind>,
  measure: (options: Circumstances & { contestant: Kind }, place: Place) => Promise<Measured>,
): Promise<void> {
  const { rounds, signal, binaries, directory, say, collected, noiseRepeats } = bench;
  for (let round = 1; round <= rounds; round++) {
    for (const contestant of contestants) {
      const place = { contestant: contestant.name, round };
      const label = `${what}, round ${round}, ${contestant.name}`;
      try {
        const options = { contestant, binaries, directory, signal };
        const { best, attempts } = await repeatNoisy(noiseRepeats, () => measure(options, place));
        best.keep(attempts);
        say(`${label}: ${best.text}${remarks(best.run)}`);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        const message = error instanceof Error ? error.message : String(error);
        collected.failures.push({ what, ...place, message });
        say(`${label}: FAILED: ${message}`);
      }
    }
  }
}

/** Measures again while others disturb it, and keeps the attempt that they disturbed least. */
async function repeatNoisy(
  repeats: number,
  measure: () => Promise<Measured>,
): Promise<{ best: Measured; attempts: number }> {
  let best = await measure();
  let attempts = 1;
  for (; best.run.isNoisy && attempts <= repeats; attempts++) {
    const next = await measure();
    if (next.run.foreignShare < best.run.foreignShare) best = next;
  }
  return { best, attempts };
}

function remarks({ isNoisy, foreignShare, difference }: Measured['run']): string {
  const noise = isNoisy ? `, noisy: others used ${(100 * foreignShare).toFixed(0)} %` : '';
  return `${noise}${difference === undefined ? '' : `, DIFFERENT: ${difference}`}`;
}

function conclude({ binaries, collected, rounds, scale }: Bench, startedAt: Date): BenchReport {
  const ratios = computeRatios(collected);
  const describe = ({ kind, version }: ServerBinary) => `${kind} ${version}`;
  return {
    format: 1,
    startedAt: startedAt.toISOString(),
    durationMs: Date.now() - startedAt.getTime(),
    machine: {
      cores: os.availableParallelism(),
      cpuModel: os.cpus()[0]?.model ?? 'unknown',
      memoryBytes: os.totalmem(),
      kernel: `${os.type()} ${os.release()}`,
      node: process.versions.node,
    },
    source: describe(binaries.source),
    target: describe(binaries.target),
    rounds,
    scale,
    ...collected,
    ratios,
    verdicts: judge(collected, ratios),
  };
}
