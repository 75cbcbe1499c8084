import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '../../src/core/clock.ts';
import { cutoverRequest } from '../agent/cutover/cutover-pair.ts';
import { endpointOf, readSettings } from '../agent/cutover/job-context.ts';
import { type HostJobs, openHostAgent } from '../host-agent.ts';
import { loadDataSet } from '../servers/data-set.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { findServer, type RunningServer, startServer } from '../servers/start.ts';
import { type ModelWriters, readHeld, startModelWriters } from './model-writers.ts';

/** A cutover, so many writes after it, and the way back. */
export type WayBackRun = {
  readonly keys: number;
  readonly writes: number;
  readonly seed: number;
  readonly source: ServerBinary;
  readonly target: ServerBinary;
};

const JOB_LIMIT_MS = 400_000;
const COMPARE = { maxDifferences: 0, ttlToleranceMs: 1, keyDisplay: 'shown' } as const;

/**
 * Cuts over with `reverse`, writes values of every type to the target while its way back begins and goes on, and goes
 * back under these writes: each that was acknowledged must be at the old source, which must have the settings and users
 * that it was found with. Throws at the first that is not.
 */
export async function goThereAndBack(run: WayBackRun, print: (line: string) => void): Promise<void> {
  const config = { 'repl-diskless-sync-delay': '0', save: '' };
  const users = ['app on >secret ~app:* +@all -@dangerous', 'reader on >secret ~* +@read'];
  await using source = await startServer({ server: run.source, config: { ...config, user: users } });
  await using target = await startServer({
    server: run.target,
    config: { ...config, 'notify-keyspace-events': 'EA' },
  });
  await loadDataSet(source.client(), { keys: run.keys, seed: run.seed });
  const before = await readAsFound(source);
  const pair = { source: endpointOf(source), target: endpointOf(target) };
  await using host = await openHostAgent(pair.source, pair.target);
  await host.start({ kind: 'sync', ...pair, flushTarget: false });
  await host.until('sync', ({ progress }) => progress.stage === 'live', JOB_LIMIT_MS);
  await host.run({ kind: 'verify', ...pair, ...COMPARE });
  await host.run({ ...cutoverRequest({ source, target }, 'replica'), reverse: true });
  const writers = startModelWriters(target, run.seed);
  const wayBack = await host.completeWithWayBack();
  await wayBack.until('sync', ({ progress }) => progress.stage === 'live', JOB_LIMIT_MS);
  print(`the way back is live, ${writers.count()} writes so far`);
  await untilCount(writers, run.writes);
  await goBack(wayBack);
  const refusals = await writers.refused;
  if (refusals.length === 0) throw new Error('nobody was writing');
  const report = wayBack.store.readReport('cutover');
  if (report?.kind !== 'cutover') throw new Error('the way back left no report');
  const keys = await assertNothingLost(source, writers);
  print(
    `${writers.count()} acknowledged writes to ${keys} keys, none missing; pause ${report.writePauseMs} ms, ${report.verification.scope} of ${report.verification.keysCompared} keys`,
  );
  if (!isDeepStrictEqual(await readAsFound(source), before))
    throw new Error('the old source is not as it was found');
}

/** The long form, on the oldest and on a new server that is gone back to. */
export async function proveWayBack(
  { keys, writes, seed }: Pick<WayBackRun, 'keys' | 'writes' | 'seed'>,
  print: (line: string) => void,
): Promise<void> {
  const target = await findServer({ kind: 'valkey', version: 'newest' });
  for (const version of ['7.0', '8.0']) {
    const source = await findServer({ kind: 'redis', version });
    print(`Redis ${source.version} to Valkey ${target.version} and back, seed ${seed}`);
    await goThereAndBack({ keys, writes, seed, source, target }, print);
  }
}

async function untilCount(writers: ModelWriters, count: number): Promise<void> {
  const signal = AbortSignal.timeout(JOB_LIMIT_MS);
  while (writers.count() < count) await systemClock.sleep(20, signal);
}

async function goBack(wayBack: HostJobs): Promise<void> {
  const record = wayBack.store.readMigration();
  if (record === undefined) throw new Error('there is no way back');
  const { source, target } = record;
  await wayBack.start({ kind: 'verify', source, target, route: 'scan', ...COMPARE });
  await wayBack.until('verify', ({ status }) => status === 'succeeded', JOB_LIMIT_MS);
  const limits = { maxVerificationAgeMs: 3_600_000, maxWritePauseMs: 120_000 };
  await wayBack.start({ kind: 'cutover', source, target, route: 'scan', ...COMPARE, ...limits });
  await wayBack.until('cutover', ({ status }) => status === 'succeeded', JOB_LIMIT_MS);
}

/** Returns how many keys were looked at. */
async function assertNothingLost(source: RunningServer, writers: ModelWriters): Promise<number> {
  const expected = writers.expected();
  const found = await readHeld(source.client(), [...expected.keys()]);
  for (const [name, wanted] of expected) {
    const is = found.get(name);
    if (isDeepStrictEqual(is, wanted)) continue;
    throw new Error(`${name} is ${JSON.stringify(is)}, and must be ${JSON.stringify(wanted)}`);
  }
  return expected.size;
}

async function readAsFound(server: RunningServer): Promise<unknown> {
  return { settings: await readSettings(server), users: await server.client().call('ACL', 'LIST') };
}
