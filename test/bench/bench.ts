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
import { chooseContestants, findBinaries } from './line-up.ts';
import { runLive } from './live-run.ts';
import type { BenchOptions } from './options.ts';
import { prepareSet } from './prepared-set.ts';
import { computeRatios } from './ratios.ts';
import type { BenchReport, Run } from './report.ts';
import type { PairBinaries } from './server-pair.ts';
import { judge } from './verdicts.ts';

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
    if (options.only !== 'live') for (const id of options.sets) await measureSet(bench, id);
    if (options.only !== 'copy') await measureStream(bench);
    return conclude(bench, startedAt);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

type Bench = ReturnType<typeof startBench>;
type Conditions = BenchOptions & BenchWorld & { binaries: PairBinaries; directory: string };
type Collected = Pick<BenchReport, 'sets' | 'copy' | 'live' | 'catchUp' | 'failures'>;

function startBench(conditions: Conditions) {
  const collected: Collected = { sets: [], copy: [], live: [], catchUp: [], failures: [] };
  return { ...conditions, collected };
}

async function measureSet(bench: Bench, id: BenchOptions['sets'][number]): Promise<void> {
  const { scale, binaries, directory, signal, say, collected } = bench;
  const { title, itemName } = DATA_SETS[id];
  say(`${id}: making ${title}`);
  await using set = await prepareSet({ id, scale, server: binaries.source, directory, signal });
  const { items, rdbBytes, fingerprint } = set;
  collected.sets.push({ id, title, items, itemName, keys: fingerprint.keys, rdbBytes });
  const contestants = chooseContestants(bench, ['native', 'native-on-empty-db', 'ours', 'redis-shake']);
  await interleave(bench, { what: id, contestants }, async (boutOptions, place) => {
    const run = await runCopy(set, boutOptions);
    return {
      run,
      keep: (attempts) => collected.copy.push({ ...place, attempts, ...run }),
      text: `${formatCount(run.copyMs)} ms, ${formatCount(run.itemsPerSecond)} ${itemName}/s`,
    };
  });
}

async function measureStream(bench: Bench): Promise<void> {
  const { scale, collected, liveCommands } = bench;
  const load = (count: number) => ({ commands: liveCommands, count: Math.max(1, Math.round(count * scale)) });
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

type Series = { what: string; contestants: readonly Contestant[] };
type Place = Pick<Run, 'contestant' | 'round'>;
type Measured = {
  run: Pick<Run, 'isNoisy' | 'foreignShare' | 'difference'>;
  keep: (attempts: number) => void;
  text: string;
};

/** Every contestant once in each round, so that what changes on the machine meanwhile meets all of them. */
async function interleave(
  bench: Bench,
  { what, contestants }: Series,
  measure: (options: Omit<BoutOptions, 'purpose' | 'data'>, place: Place) => Promise<Measured>,
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
