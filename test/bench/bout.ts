import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import type { Attaching, Attachment, Contestant } from './contestant.ts';
import { type DataFingerprint, describeDifference, takeFingerprint } from './data-fingerprint.ts';
import { type LoadSpan, startLoadSpan, type WatchedProcess, watchProcess } from './process-usage.ts';
import { FOREIGN_SHARE_MAX, type Run } from './report.ts';
import { rejectOnAbort } from './sampling.ts';
import { type PairBinaries, type ServerPair, startPair } from './server-pair.ts';

/** The circumstances under which a contestant is measured. */
export type BoutOptions = {
  readonly contestant: Contestant;
  readonly binaries: PairBinaries;
  readonly purpose: Attaching['purpose'];
  /** Where the source finds the data it begins with, and what that is; it begins empty without. */
  readonly data?: { readonly directory: string; readonly fingerprint: DataFingerprint };
  /** Below it the bout gets a folder of its own. */
  readonly directory: string;
  readonly signal: AbortSignal;
};

/** A contestant at work on fresh servers, as its measurement sees it. */
export type Bout = {
  readonly pair: ServerPair;
  readonly attachment: Attachment;
  readonly directory: string;
  readonly signal: AbortSignal;
  /** When the contestant was told to begin, by the wall clock. */
  readonly startedAtMs: number;
  /** What was used until now does not count. */
  begin(): Promise<void>;
};

/** What every bout yields besides its own figures. */
export type BoutFigures = Omit<Run, 'contestant' | 'round' | 'attempts'>;

/** What takes longer has failed. */
const BOUT_LIMIT_MS = 600_000;

/**
 * Starts fresh servers, lets the contestant work, measures, and compares the data of both servers afterwards.
 *
 * @throws the signal's reason, what the measurement failed with, or that the contestant did not end well
 */
export async function holdBout<Figures>(
  options: BoutOptions,
  measure: (bout: Bout) => Promise<Figures>,
): Promise<Figures & BoutFigures> {
  const { contestant, binaries, purpose, data } = options;
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(BOUT_LIMIT_MS)]);
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(path.join(options.directory, `${contestant.name}-`));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  const pair = stack.use(
    await startPair(binaries, {
      ...(data === undefined ? {} : { dataDirectory: data.directory }),
      ...(contestant.targetConfig === undefined ? {} : { targetConfig: contestant.targetConfig }),
    }),
  );
  const books = stack.use(await openBooks(pair));
  const startedAtMs = Date.now();
  const attachment = stack.use(await contestant.attach({ pair, purpose, directory, signal }));
  if (attachment.toolPid !== undefined) await books.watchTool(attachment.toolPid);
  const bout = { pair, attachment, directory, signal, startedAtMs, begin: books.begin };
  const figures = await Promise.race([measure(bout), attachment.failed, rejectOnAbort(signal)]);
  await waitForChild(pair, signal);
  const usage = await books.close();
  await attachment.detach();
  const comparison = contestant.name === 'none' ? undefined : compare(pair, data?.fingerprint);
  const difference = await Promise.race([comparison, rejectOnAbort(signal)]);
  return { ...figures, ...usage, ...(difference === undefined ? {} : { difference }) };
}

type Books = AsyncDisposable & {
  watchTool(pid: number): Promise<void>;
  begin(): Promise<void>;
  close(): Promise<Omit<BoutFigures, 'difference'>>;
};

/** Keeps the accounts of the processes in a bout. */
async function openBooks({ source, target }: ServerPair): Promise<Books> {
  const stack = new AsyncDisposableStack();
  const watch = async (pid: number) => stack.use(await watchProcess(pid));
  const [sourceProcess, targetProcess] = [await watch(source.pid), await watch(target.pid)];
  let tool: WatchedProcess | undefined;
  const read = async () => ({
    source: await sourceProcess.usage(),
    target: await targetProcess.usage(),
    tool: await tool?.usage(),
  });
  let span: LoadSpan = startLoadSpan();
  let before = await read();
  return {
    watchTool: async (pid) => {
      tool = await watch(pid);
    },
    begin: async () => {
      before = await read();
      span = startLoadSpan();
    },
    close: async () => {
      const after = await read();
      const sourceSeconds = after.source.cpuSeconds - before.source.cpuSeconds;
      const targetSeconds = after.target.cpuSeconds - before.target.cpuSeconds;
      // Its start counts unless the measurement began later.
      const toolSeconds = (after.tool?.cpuSeconds ?? 0) - (before.tool?.cpuSeconds ?? 0);
      const foreignShare = span.foreignShare(sourceSeconds + targetSeconds + toolSeconds);
      return {
        cpu: { sourceSeconds, targetSeconds, ...(after.tool === undefined ? {} : { toolSeconds }) },
        ...(after.tool === undefined ? {} : { toolPeakBytes: after.tool.peakBytes }),
        targetPeakBytes: after.target.peakBytes,
        foreignShare,
        isNoisy: foreignShare > FOREIGN_SHARE_MAX,
      };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The time of the child that wrote the RDB is the source's when the child has been waited for. */
async function waitForChild({ source }: ServerPair, signal: AbortSignal): Promise<void> {
  const client = source.client();
  while (/^rdb_bgsave_in_progress:1/m.test(await client.info('persistence')))
    await systemClock.sleep(20, signal);
}

async function compare(
  { source, target }: ServerPair,
  known: DataFingerprint | undefined,
): Promise<string | undefined> {
  const expected = known ?? (await takeFingerprint(source.client()));
  return describeDifference(expected, await takeFingerprint(target.client()));
}
