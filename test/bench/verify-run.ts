import { mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import { AGENT } from './agent-contestant.ts';
import { POLL_MS } from './contestant.ts';
import type { ContestantName } from './options.ts';
import type { PreparedSet } from './prepared-set.ts';
import { startLoadSpan, watchProcess } from './process-usage.ts';
import { FOREIGN_SHARE_MAX, type VerifyRun } from './report.ts';
import { type PairBinaries, type ServerPair, startPair } from './server-pair.ts';
import { startTool } from './tool-process.ts';

/** A program that compares two servers, by its argv; it must end with 0 when it is done. */
export type Comparer = {
  readonly name: ContestantName;
  argv(pair: ServerPair, directory: string): readonly string[];
};

/** The built agent: every key in both directions, values, expiry times, functions. */
export const ourComparer: Comparer = {
  name: 'ours',
  argv: (pair, directory) => {
    const sides = ['--source', addressOf(pair.source), '--target', addressOf(pair.target)];
    return [process.execPath, AGENT, 'verify', ...sides, '--state-directory', directory];
  },
};

/** redis-full-check with full values and one round: every key of the source, its value, no expiry times. */
export function fullCheck(program: string): Comparer {
  return {
    name: 'redis-full-check',
    argv: (pair, directory) => {
      const sides = ['-s', addressOf(pair.source), '-t', addressOf(pair.target)];
      const files = ['-d', path.join(directory, 'result.db'), '--log', path.join(directory, 'log')];
      return [path.resolve(program), ...sides, '--comparemode', '1', '--comparetimes', '1', ...files];
    },
  };
}

function addressOf({ host, port }: ServerPair['source']): string {
  return `${host}:${port}`;
}

/**
 * A source with the set and a target to which it has replicated it, each alone.
 *
 * `withoutStreams`: redis-full-check ends with a panic at a group that has no pending entries.
 */
export async function startEqualPair(
  { directory }: Pick<PreparedSet, 'directory'>,
  { binaries, withoutStreams }: { readonly binaries: PairBinaries; readonly withoutStreams: boolean },
): Promise<ServerPair> {
  const pair = await startPair(binaries, { dataDirectory: directory });
  const [source, target] = [pair.source.client(), pair.target.client()];
  if (withoutStreams) {
    for await (const keys of source.scanBufferStream({ count: 1000, type: 'stream' })) {
      if (keys.length > 0) await source.unlink(...keys);
    }
  }
  await target.replicaof(pair.source.host, pair.source.port);
  while (!/^master_link_status:up/m.test(await target.info('replication'))) {
    await systemClock.sleep(POLL_MS, AbortSignal.timeout(COPY_LIMIT_MS));
  }
  await target.replicaof('NO', 'ONE');
  return pair;
}

const COPY_LIMIT_MS = 120_000;

/** Measures one comparison, from the start of the process to its end. */
export async function runComparer(
  comparer: Comparer,
  pair: ServerPair,
  parent: string,
): Promise<Omit<VerifyRun, 'contestant' | 'round' | 'attempts' | 'set'>> {
  const directory = await mkdtemp(path.join(parent, `${comparer.name}-`));
  await using source = await watchProcess(pair.source.pid);
  await using target = await watchProcess(pair.target.pid);
  const keys = await pair.source.client().dbsize();
  const [sourceBefore, targetBefore] = [await source.usage(), await target.usage()];
  const span = startLoadSpan();
  const startedAtMs = performance.now();
  await using tool = await startTool(comparer.argv(pair, directory), { directory });
  await using watched = await watchProcess(tool.pid);
  await tool.ended;
  const verifyMs = performance.now() - startedAtMs;
  const [sourceAfter, targetAfter, toolUsage] = [
    await source.usage(),
    await target.usage(),
    await watched.usage(),
  ];
  const cpu = {
    sourceSeconds: sourceAfter.cpuSeconds - sourceBefore.cpuSeconds,
    targetSeconds: targetAfter.cpuSeconds - targetBefore.cpuSeconds,
    toolSeconds: toolUsage.cpuSeconds,
  };
  const foreignShare = span.foreignShare(cpu.sourceSeconds + cpu.targetSeconds + cpu.toolSeconds);
  return {
    cpu,
    verifyMs,
    keys,
    keysPerSecond: keys / (verifyMs / 1000),
    sourceMicrosecondsPerKey: (cpu.sourceSeconds / keys) * 1e6,
    toolPeakBytes: toolUsage.peakBytes,
    targetPeakBytes: targetAfter.peakBytes,
    foreignShare,
    isNoisy: foreignShare > FOREIGN_SHARE_MAX,
  };
}
