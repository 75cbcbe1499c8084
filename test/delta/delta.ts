import { type VerifyReport, verifyReportSchema } from '../../src/contract/reports.ts';
import { endpointOf } from '../agent/cutover/job-context.ts';
import { type HostAgent, openHostAgent } from '../host-agent.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../servers/start.ts';

/** Of how many keys how many are touched. */
export type DeltaSize = { readonly keys: number; readonly touched: number };

const KEYS_PER_SCRIPT = 20_000;
const JOB_LIMIT_MS = 600_000;
const DURATION_MAX_MS = 1_000;
const REPEATS = 5;

/** Verifies all keys once, and after each of some rounds of writes those that the round has touched. */
export async function verifyDeltas(
  { keys, touched }: DeltaSize,
  rounds: number,
): Promise<readonly VerifyReport[]> {
  await using source = await startServer({ server: await sourceServer() });
  await using target = await startServer({ server: await targetServer() });
  await write(source, keys, `redis.call('SET', 'key:' .. i, ('v'):rep(100))`);
  const pair = { source: endpointOf(source), target: endpointOf(target) };
  await using host = await openHostAgent(pair.source, pair.target);
  await host.start({ kind: 'sync', ...pair, flushTarget: false });
  await host.until('sync', ({ progress }) => progress.stage === 'live', JOB_LIMIT_MS);
  const compared = { maxDifferences: 0, ttlToleranceMs: 1, keyDisplay: 'shown' } as const;
  await runVerify(host, { kind: 'verify', ...pair, ...compared });
  const reports: VerifyReport[] = [];
  const stride = Math.floor(keys / touched);
  for (let round = 0; round < rounds; round++) {
    await write(source, touched, `redis.call('SET', 'key:' .. i * ${stride}, '${round}')`);
    reports.push(await runVerify(host, { kind: 'verify', ...pair, ...compared, scope: 'delta' }));
  }
  return reports;
}

/** The long form: prints how long each took, and throws when one took too long or compared something else. */
export async function proveDelta(size: DeltaSize, print: (line: string) => void): Promise<void> {
  const reports = await verifyDeltas(size, REPEATS);
  for (const { scope, fullReason, keysCompared, startedAtMs, finishedAtMs, passed } of reports) {
    const tookMs = finishedAtMs - startedAtMs;
    print(
      `${scope}: ${keysCompared} of ${size.keys} keys compared in ${tookMs} ms, ${passed ? 'equal' : 'different'}`,
    );
    if (scope !== 'delta') throw new Error(`all keys were compared: ${fullReason}`);
    if (!passed || keysCompared < size.touched) throw new Error('not equal, or not all that was touched');
    if (tookMs > DURATION_MAX_MS) throw new Error(`more than ${DURATION_MAX_MS} ms`);
  }
}

async function runVerify(host: HostAgent, job: Parameters<HostAgent['start']>[0]): Promise<VerifyReport> {
  await host.start(job);
  await host.until('verify', ({ status }) => status === 'succeeded', JOB_LIMIT_MS);
  return verifyReportSchema.parse(host.store.readReport('verify'));
}

/** Runs a statement for `i` from 1 to `count`. */
async function write(server: RunningServer, count: number, statement: string): Promise<void> {
  const script = `for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do ${statement} end`;
  for (let from = 1; from <= count; from += KEYS_PER_SCRIPT) {
    await server.client().eval(script, 0, from, Math.min(count, from + KEYS_PER_SCRIPT - 1));
  }
}
