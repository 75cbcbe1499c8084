import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { type HostAgent, openHostAgent } from '../../host-agent.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { cutoverRequest } from './cutover-pair.ts';
import { endpointOf, readSettings } from './job-context.ts';

type Pair = { readonly source: RunningServer; readonly target: RunningServer; readonly host: HostAgent };

const COMPARE = { maxDifferences: 0, ttlToleranceMs: 1, keyDisplay: 'shown' } as const;
const LIMIT_MS = 30_000;
/** In their order. */
const STAGES = ['preparing', 'fencing', 'draining', 'proving', 'handing-over', 'settling'];

/** The built agent, with a live sync and a verification that passed. */
async function startPair(): Promise<Pair & AsyncDisposable> {
  await using opening = new AsyncDisposableStack();
  const config = { 'repl-diskless-sync-delay': '0' };
  const source = opening.use(await startServer({ server: await sourceServer(), config }));
  const target = opening.use(await startServer({ server: await targetServer() }));
  await source.client().mset({ a: '1', b: '2', c: '3' });
  await source.client().expire('a', 1000);
  const endpoints = { source: endpointOf(source), target: endpointOf(target) };
  const host = opening.use(await openHostAgent(endpoints.source, endpoints.target));
  await host.start({ kind: 'sync', ...endpoints, flushTarget: false });
  await host.until('sync', ({ progress }) => progress.stage === 'live');
  await host.run({ kind: 'verify', ...endpoints, ...COMPARE });
  const owned = opening.move();
  return { source, target, host, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function signalJob({ host }: Pair, kind: 'sync' | 'cutover', name: NodeJS.Signals): void {
  const pid = host.store.readProcess(kind)?.identity.pid;
  if (pid === undefined) throw new Error(`there is no ${kind}`);
  process.kill(pid, name);
}

async function untilWritable(source: RunningServer): Promise<void> {
  const client = source.client();
  const signal = AbortSignal.timeout(LIMIT_MS);
  const isWritable = () =>
    client.set('again', '1').then(
      () => true,
      () => false,
    );
  while (!(await isWritable())) await systemClock.sleep(50, signal);
}

/** What must hold however a cutover ended: a source that takes writes and is followed, or a target that took over. */
async function expectNoHalf(pair: Pair, before: Record<string, string>): Promise<'lifted' | 'completed'> {
  const { source, target, host } = pair;
  await host.until('keeper', ({ status }) => status === 'succeeded', LIMIT_MS);
  const report = host.store.readReport('keeper');
  const outcome = report?.kind === 'keeper' ? report.outcome : undefined;
  const isFenced = (await source.client().config('GET', 'min-replicas-to-write')).includes('1000000');
  if (isFenced) {
    expect(outcome).not.toBe('lifted');
    expect(await target.client().exists('__valkey-migrate__')).toBe(0);
    expect(await target.client().pexpiretime('a')).toBe(await source.client().pexpiretime('a'));
    expect(host.store.readState('sync')?.status).not.toBe('running');
    return 'completed';
  }
  expect(await readSettings(source)).toEqual(before);
  expect(readdirSync(host.store.directory)).not.toContain('fence.json');
  expect(host.store.readState('sync')?.status).toBe('running');
  await source.client().set('after', outcome ?? '');
  const signal = AbortSignal.timeout(LIMIT_MS);
  while ((await target.client().get('after')) !== outcome) await systemClock.sleep(20, signal);
  return 'lifted';
}

describe('a cutover that is killed', () => {
  it('before its proof leaves a source as it was, which is followed on, and the next one succeeds', async () => {
    await using pair = await startPair();
    const before = await readSettings(pair.source);
    // Nothing is committed any more, so the drain lasts.
    signalJob(pair, 'sync', 'SIGSTOP');
    await pair.source.client().set('late', '1');
    await pair.host.start(cutoverRequest(pair, 'replica'));
    await pair.host.until('cutover', ({ progress }) => progress.stage === 'draining');
    await expect(pair.source.client().set('d', '4')).rejects.toThrow('NOREPLICAS');
    signalJob(pair, 'cutover', 'SIGKILL');
    await untilWritable(pair.source);
    signalJob(pair, 'sync', 'SIGCONT');
    expect(await expectNoHalf(pair, before)).toBe('lifted');

    await pair.host.run(cutoverRequest(pair, 'replica'));
    await expect(pair.source.client().set('d', '4')).rejects.toThrow('NOREPLICAS');
    expect(await pair.target.client().get('late')).toBe('1');
  });

  it.each(STAGES)('at the stage %s, or soon after, leaves no half', async (stage) => {
    await using pair = await startPair();
    const before = await readSettings(pair.source);
    await pair.host.start(cutoverRequest(pair, 'replica'));
    if (await untilStage(pair, stage)) signalJob(pair, 'cutover', 'SIGKILL');
    if (pair.host.store.readState('keeper') === undefined) {
      expect(await readSettings(pair.source)).toEqual(before);
    } else await expectNoHalf(pair, before);
    await pair.host.run(cutoverRequest(pair, 'replica'));
    await expect(pair.source.client().set('d', '4')).rejects.toThrow('NOREPLICAS');
  });
});

describe('a cutover that hangs', () => {
  it('beyond its time is ended, and its fence lifted', async () => {
    await using pair = await startPair();
    const before = await readSettings(pair.source);
    signalJob(pair, 'sync', 'SIGSTOP');
    await pair.source.client().set('late', '1');
    await pair.host.start({ ...cutoverRequest(pair, 'replica'), maxWritePauseMs: 1000 });
    await pair.host.until('cutover', ({ progress }) => progress.stage === 'draining');
    signalJob(pair, 'cutover', 'SIGSTOP');
    await untilWritable(pair.source);
    signalJob(pair, 'sync', 'SIGCONT');
    expect(await expectNoHalf(pair, before)).toBe('lifted');
    expect(pair.host.store.readState('cutover')?.status).toBe('dead');
  });
});

/** Whether the job was seen at the stage, or at a later one, before it ended. */
async function untilStage({ host }: Pair, stage: string): Promise<boolean> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  for (;;) {
    const state = host.store.readState('cutover');
    if (state?.status !== 'running') return false;
    if (STAGES.indexOf(state.progress.stage) >= STAGES.indexOf(stage)) return true;
    await systemClock.sleep(1, signal);
  }
}
