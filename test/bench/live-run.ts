import { type Bout, type BoutFigures, type BoutOptions, holdBout } from './bout.ts';
import { type Canary, startCanary } from './canary.ts';
import { type Load, runLoad } from './load-generator.ts';
import type { LiveRun } from './report.ts';
import { repeat, summarize } from './sampling.ts';

const LAG_LOOK_MS = 50;
const DRAIN_LOOK_MS = 5;
const SMALL_LAG_MS = 100;

/** Measures how a contestant follows a source that is written to as fast as it can take it. */
export function runLive(
  load: Load,
  options: Omit<BoutOptions, 'purpose' | 'data'>,
): Promise<Omit<LiveRun, 'contestant' | 'round' | 'attempts'> & BoutFigures> {
  return holdBout({ ...options, purpose: 'follow' }, async (bout) =>
    options.contestant.name === 'none' ? measureAlone(load, bout) : measureFollowing(load, bout),
  );
}

async function measureAlone(load: Load, bout: Bout) {
  await bout.begin();
  const { durationMs, opsPerSecond } = await runLoad(bout.pair.source, load, bout);
  return { sourceOpsPerSecond: opsPerSecond, loadMs: durationMs };
}

async function measureFollowing(load: Load, bout: Bout) {
  await using canary = startCanary(bout.pair, bout.signal);
  // The first one that passes shows that the stream flows.
  await canary.passed();
  await using lag = watchLagBytes(bout);
  canary.takeLags();
  await bout.begin();
  const { durationMs, opsPerSecond } = await runLoad(bout.pair.source, load, bout);
  const { drainedAfterMs, lagUnder100MsAfterMs } = await drain(canary, bout.signal);
  const [lagMs, lagBytes] = [summarize(canary.takeLags()), summarize(lag.samples)];
  await canary.rest();
  await canary.passed();
  return {
    sourceOpsPerSecond: opsPerSecond,
    loadMs: durationMs,
    appliedPerSecond: (load.count * load.commands.length) / ((durationMs + drainedAfterMs) / 1000),
    drainedAfterMs,
    lagUnder100MsAfterMs,
    ...(lagMs === undefined ? {} : { lagMs }),
    ...(lagBytes === undefined ? {} : { lagBytes }),
  };
}

/** Waits until the target has what was written before, and notes when the lag was large for the last time until then. */
async function drain(canary: Canary, signal: AbortSignal) {
  const startedAtMs = performance.now();
  let lagUnder100MsAfterMs = 0;
  const drained = new AbortController();
  const look = async () => {
    if (canary.lagMs() >= SMALL_LAG_MS) lagUnder100MsAfterMs = performance.now() - startedAtMs;
  };
  const looking = repeat(look, {
    intervalMs: DRAIN_LOOK_MS,
    signal: AbortSignal.any([signal, drained.signal]),
  });
  const drainedAfterMs = await canary.passed();
  drained.abort();
  await looking;
  return { drainedAfterMs, lagUnder100MsAfterMs };
}

/** Compares the offsets of both sides now and then, where the contestant's is known. */
function watchLagBytes({ pair, attachment, signal }: Bout): AsyncDisposable & { samples: readonly number[] } {
  const samples: number[] = [];
  const { appliedOffset } = attachment;
  if (appliedOffset === undefined) return { samples, [Symbol.asyncDispose]: async () => {} };
  const client = pair.source.client();
  const stopping = new AbortController();
  const look = async () => {
    const [info, applied] = await Promise.all([client.info('replication'), appliedOffset()]);
    const offset = Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1]);
    samples.push(Math.max(0, offset - applied));
  };
  const watching = repeat(look, {
    intervalMs: LAG_LOOK_MS,
    signal: AbortSignal.any([signal, stopping.signal]),
  });
  watching.catch(() => {});
  return {
    samples,
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await watching;
      client.disconnect();
    },
  };
}
