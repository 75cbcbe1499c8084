import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { renderSummary } from '../../src/action/summary/summary.ts';
import { type VerifyReport, verifyReportSchema } from '../../src/contract/reports.ts';
import { systemClock } from '../../src/core/clock.ts';
import { SAMPLE_HEAD } from '../action/summary/sample-views.ts';
import { endpointOf } from '../agent/cutover/job-context.ts';
import { openHostAgent } from '../host-agent.ts';
import { PEAK_BYTES_MAX, readPeakBytes } from '../memory/peak-memory.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../servers/start.ts';

/** GitHub drops a summary that is larger. */
export const SUMMARY_BYTES_LIMIT = 1024 * 1024;

/** What a verification of very different servers came to. */
export type ManyDifferences = {
  readonly report: VerifyReport;
  /** How many of each kind were made. */
  readonly made: Readonly<Record<string, number>>;
  readonly durationMs: number;
  /** NaN where the system does not tell. */
  readonly peakBytes: number;
  readonly summaryBytes: number;
  /** Lines of the list on the host, by kind, and how many different keys they name. */
  readonly listedByKind: Readonly<Record<string, number>>;
  readonly keysListed: number;
};

const POLL_MS = 50;
const KEYS_PER_SCRIPT = 20_000;
const HOSTILE_NAMES = [
  '</details><h1>passed</h1>|`$x$`&amp;',
  '| a | b |\n\n# passed',
  ...Array.from({ length: 30 }, (_, index) => `${index}${'|<&`*'.repeat(20_000)}`),
];

/** Makes so many differences of four kinds, beside some with names of 100 kB, and verifies with the built agent. */
export async function findManyDifferences(count: number, limitMs: number): Promise<ManyDifferences> {
  await using source = await startServer({ server: await sourceServer() });
  await using target = await startServer({ server: await targetServer() });
  const each = Math.floor(count / 4);
  await fill(source, target, each);
  const ends = { source: endpointOf(source), target: endpointOf(target) };
  await using agent = await openHostAgent(ends.source, ends.target);
  const startedAtMs = Date.now();
  const compared = { maxDifferences: 0, ttlToleranceMs: 1000, keyDisplay: 'shown' } as const;
  await agent.start({ kind: 'verify', ...ends, ...compared });
  let peakBytes = Number.NaN;
  for (let isDone = false; !isDone; ) {
    await systemClock.sleep(POLL_MS, AbortSignal.timeout(limitMs));
    if (Date.now() - startedAtMs > limitMs) throw new Error(`the verification took more than ${limitMs} ms`);
    const { pid } = agent.store.readProcess('verify')?.identity ?? { pid: 0 };
    peakBytes = (await readPeakBytes(pid)) ?? peakBytes;
    isDone = agent.store.readState('verify')?.status !== 'running';
  }
  const durationMs = Date.now() - startedAtMs;
  const report = verifyReportSchema.parse(agent.store.readReport('verify'));
  const list = await readList(report.list?.path ?? '');
  const view = { ...SAMPLE_HEAD, phase: 'verify', result: 'failed', report } as const;
  return {
    report,
    made: { missing: each + HOSTILE_NAMES.length, extra: each, value: each, ttl: each },
    durationMs,
    peakBytes,
    summaryBytes: Buffer.byteLength(renderSummary(view)),
    ...list,
  };
}

/** The long form: prints the figures and throws when one is not what it must be. */
export async function measureManyDifferences(
  { differences }: { differences: number },
  print: (line: string) => void,
): Promise<void> {
  const found = await findManyDifferences(differences, 3_600_000);
  const { report, made, durationMs, peakBytes, summaryBytes, keysListed } = found;
  const total = Object.values(made).reduce((sum, kind) => sum + kind, 0);
  print(`${report.differences.total} of ${total} differences found in ${(durationMs / 1000).toFixed(1)} s`);
  print(`${Math.round(peakBytes / 1024 ** 2)} MiB resident at most, ${summaryBytes} bytes of summary`);
  print(`${keysListed} keys listed on the host, ${report.list?.bytes} bytes`);
  const isRight = report.differences.total === total && keysListed === total;
  const isSmall = summaryBytes < SUMMARY_BYTES_LIMIT && !(peakBytes > PEAK_BYTES_MAX);
  if (!isRight || !isSmall) throw new Error('more than it may be, or less than there is');
}

/** `missing:`, `extra:`, `value:` and `ttl:`, as many of each, and hostile names that are missing. */
async function fill(source: RunningServer, target: RunningServer, each: number): Promise<void> {
  const run = async (server: RunningServer, statement: string) => {
    const script = `for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do ${statement} end`;
    for (let from = 1; from <= each; from += KEYS_PER_SCRIPT) {
      await server.client().eval(script, 0, from, Math.min(each, from + KEYS_PER_SCRIPT - 1));
    }
  };
  const expiring = (atSeconds: number) => `redis.call('SET', 'ttl:' .. i, 'v', 'EXAT', ${atSeconds})`;
  await run(source, `redis.call('SET', 'missing:' .. i, i) redis.call('HSET', 'value:' .. i, 'f', i)`);
  await run(source, expiring(4_102_444_800));
  await run(target, `redis.call('SET', 'extra:' .. i, i) redis.call('HSET', 'value:' .. i, 'f', -i)`);
  await run(target, expiring(4_102_444_860));
  for (const name of HOSTILE_NAMES) await source.client().set(name, 'v');
}

async function readList(path: string): Promise<{ listedByKind: Record<string, number>; keysListed: number }> {
  const listedByKind: Record<string, number> = {};
  const keys = new Set<string>();
  for await (const line of createInterface({ input: createReadStream(path) })) {
    const { keyBase64, differences } = JSON.parse(line);
    keys.add(keyBase64.slice(0, 200));
    for (const { kind } of differences) listedByKind[kind] = (listedByKind[kind] ?? 0) + 1;
  }
  return { listedByKind, keysListed: keys.size };
}
