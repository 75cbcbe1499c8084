import type { JobRequestOf } from '../../src/contract/jobs.ts';
import type { CutoverReport } from '../../src/contract/reports.ts';
import { systemClock } from '../../src/core/clock.ts';
import { type HostAgent, openHostAgent } from '../host-agent.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../servers/start.ts';
import { counterName, isExpiring, keyName, startWriters, type WriterOrder, type Written } from './writes.ts';

/** How many cutovers, of how much, beside what. */
export type CutoverSeries = {
  readonly cutovers: number;
  readonly keys: number;
  readonly writers: number;
  readonly writesPerSecond: number;
  readonly source?: ServerBinary;
  readonly target?: ServerBinary;
};

/** What a series of cutovers showed. */
export type CutoverResults = {
  /** Each cutover's pause, sorted. */
  readonly pausesMs: readonly number[];
  readonly writes: number;
};

const PAUSE_P95_MAX_MS = 2_000;
/** How long the writers go on after the cutover says that it is done. */
const AFTERWARDS_MS = 300;
const BATCH_KEYS = 1000;
const JOB_LIMIT_MS = 180_000;

/**
 * Cuts over again and again, with the built agent, beside writers that record what was acknowledged: none of it may be
 * missing at the target, none may have come to the source only. Throws at the first loss.
 */
export async function runCutovers(
  series: CutoverSeries,
  print: (line: string) => void,
): Promise<CutoverResults> {
  const config = { 'repl-diskless-sync-delay': '0', save: '' };
  await using source = await startServer({ server: series.source ?? (await sourceServer()), config });
  await using target = await startServer({ server: series.target ?? (await targetServer()), config });
  const { host, port } = source;
  const { writers, writesPerSecond } = series;
  const order = { host, port, writers, writesPerSecond, keysPerWriter: Math.ceil(series.keys / writers) };
  await fill(source, order);
  const pausesMs: number[] = [];
  let writes = 0;
  for (let number = 1; number <= series.cutovers; number++) {
    const { report, written } = await cutOverOnce({ source, target, order });
    pausesMs.push(report.writePauseMs);
    writes += written.writes;
    print(`${number}: ${describe(report)}, ${written.writes} writes`);
    await source.client().config('SET', 'min-replicas-to-write', '0');
    await target.client().flushall();
  }
  return { pausesMs: pausesMs.sort((a, b) => a - b), writes };
}

/** The long form: the write pause must be short at 1 million keys and 20,000 writes a second. Throws when it is not. */
export async function proveCutovers(
  { cutovers, keys }: Pick<CutoverSeries, 'cutovers' | 'keys'>,
  print: (line: string) => void,
): Promise<void> {
  const series = { cutovers, keys, writers: 20, writesPerSecond: 20_000 };
  const { pausesMs, writes } = await runCutovers(series, print);
  const [median, p95] = [percentile(pausesMs, 0.5), percentile(pausesMs, 0.95)];
  print(`${cutovers} cutovers, ${writes} acknowledged writes, none missing, none too late`);
  print(`write pause: median ${median} ms, p95 ${p95} ms, longest ${pausesMs.at(-1)} ms`);
  if (p95 > PAUSE_P95_MAX_MS) throw new Error(`the write pause is ${p95} ms at p95`);
}

type Cutover = {
  readonly source: RunningServer;
  readonly target: RunningServer;
  readonly order: WriterOrder;
};

async function cutOverOnce(cutover: Cutover): Promise<{ report: CutoverReport; written: Written }> {
  const { source, target, order } = cutover;
  const pair = { source: endpointOf(source), target: endpointOf(target) };
  await using host = await openHostAgent(pair.source, pair.target);
  await using writers = startWriters(order);
  await host.start({ kind: 'sync', ...pair, flushTarget: false });
  await host.until('sync', ({ progress }) => progress.stage === 'live', JOB_LIMIT_MS);
  const compare = { maxDifferences: 0, ttlToleranceMs: 1, keyDisplay: 'shown' } as const;
  await host.run({ kind: 'verify', ...pair, ...compare });
  await host.run(cutoverRequest(pair));
  await systemClock.sleep(AFTERWARDS_MS, new AbortController().signal);
  const written = await writers.stop();
  await assertNothingLost(cutover, written);
  return { report: readReport(host), written };
}

function cutoverRequest(pair: Pick<JobRequestOf<'cutover'>, 'source' | 'target'>): JobRequestOf<'cutover'> {
  return {
    kind: 'cutover',
    ...pair,
    route: 'replica',
    maxDifferences: 0,
    ttlToleranceMs: 1,
    keyDisplay: 'shown',
    maxVerificationAgeMs: 3_600_000,
    maxWritePauseMs: 30_000,
  };
}

function readReport({ store }: HostAgent): CutoverReport {
  const report = store.readReport('cutover');
  if (report?.kind !== 'cutover') throw new Error('the cutover left no report');
  return report;
}

/** Every acknowledged write is there or was written over, and the source has nothing that the target has not. */
async function assertNothingLost({ source, target, order }: Cutover, written: Written): Promise<void> {
  if (!written.refusals.some((text) => text.includes('NOREPLICAS'))) {
    throw new Error(`the writers were never refused: ${written.refusals.join()}`);
  }
  const [from, to] = [source.client(), target.client()];
  for (let writer = 0; writer < order.writers; writer++) {
    const own = written.acknowledged[writer] ?? new Float64Array();
    for (let index = 0; index < own.length; index += BATCH_KEYS) {
      const names = Array.from(own.subarray(index, index + BATCH_KEYS), (_, at) =>
        keyName(writer, index + at),
      );
      const [atSource, atTarget] = await Promise.all([from.mget(names), to.mget(names)]);
      names.forEach((name, at) => {
        const [held, had, least] = [atTarget[at], atSource[at], own[index + at] ?? 0];
        if (held !== had) throw new Error(`${name} is ${held} at the target and ${had} at the source`);
        if (Number(held) < least) throw new Error(`${name} is ${held}, and ${least} was acknowledged`);
      });
      await assertSameTimes(
        cutoverPair(from, to),
        names.filter((_, at) => isExpiring(index + at)),
      );
    }
    const count = Number(await to.get(counterName(writer)));
    if (count < (written.counts[writer] ?? 0)) throw new Error(`${counterName(writer)} is ${count}`);
    if (count !== Number(await from.get(counterName(writer))))
      throw new Error(`${counterName(writer)} differs`);
  }
}

type Clients = {
  readonly from: ReturnType<RunningServer['client']>;
  readonly to: ReturnType<RunningServer['client']>;
};
const cutoverPair = (from: Clients['from'], to: Clients['to']): Clients => ({ from, to });

async function assertSameTimes({ from, to }: Clients, names: readonly string[]): Promise<void> {
  const read = async (client: Clients['from']) => {
    const pipeline = client.pipeline();
    for (const name of names) pipeline.pexpiretime(name);
    return ((await pipeline.exec()) ?? []).map(([, time]) => Number(time));
  };
  const [atSource, atTarget] = await Promise.all([read(from), read(to)]);
  names.forEach((name, at) => {
    if (atSource[at] === atTarget[at]) return;
    throw new Error(`${name} expires at ${atTarget[at]} on the target and at ${atSource[at]} on the source`);
  });
}

/** Every key that the writers write, with its number 0. */
async function fill(source: RunningServer, { writers, keysPerWriter }: WriterOrder): Promise<void> {
  const client = source.client();
  const zero = '0'.repeat(64);
  for (let writer = 0; writer < writers; writer++) {
    for (let from = 0; from < keysPerWriter; from += BATCH_KEYS) {
      const pipeline = client.pipeline();
      for (let index = from; index < Math.min(from + BATCH_KEYS, keysPerWriter); index++) {
        if (isExpiring(index)) pipeline.set(keyName(writer, index), zero, 'EX', 36_000);
        else pipeline.set(keyName(writer, index), zero);
      }
      await pipeline.exec();
    }
  }
}

function describe({
  writePauseMs,
  drainDurationMs,
  proofDurationMs,
  settleDurationMs,
  ...report
}: CutoverReport) {
  const { scope, keysCompared } = report.verification;
  return `pause ${writePauseMs} ms (drain ${drainDurationMs}, proof ${proofDurationMs}, expiry times ${settleDurationMs}), ${scope} of ${keysCompared} keys`;
}

function endpointOf({ host, port }: RunningServer) {
  return { host, port, tls: false };
}

/** The value below which a share of the sorted values lies. */
function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}
