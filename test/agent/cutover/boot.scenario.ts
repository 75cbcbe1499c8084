import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { JobKind } from '../../../src/contract/jobs.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { type HostAgent, openHostAgent } from '../../host-agent.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { type FakeSystemd, makeFakeSystemd } from '../../simulator/fake-systemd.ts';
import { cutoverRequest } from './cutover-pair.ts';
import { endpointOf, readSettings } from './job-context.ts';

type Scene = AsyncDisposable & {
  readonly source: RunningServer;
  readonly target: RunningServer;
  readonly host: HostAgent;
  readonly systemd: FakeSystemd;
};

const COMPARE = { maxDifferences: 0, ttlToleranceMs: 1, keyDisplay: 'shown' } as const;
const LIMIT_MS = 60_000;

/** A live sync and a verification that passed, on a host with systemd. */
async function openScene(): Promise<Scene> {
  await using opening = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), 'systemd-'));
  opening.defer(() => rmSync(directory, { recursive: true, force: true }));
  const systemd = makeFakeSystemd(directory);
  const config = { 'repl-diskless-sync-delay': '0' };
  const source = opening.use(await startServer({ server: await sourceServer(), config }));
  const target = opening.use(await startServer({ server: await targetServer() }));
  await source.client().mset({ a: '1', b: '2' });
  const endpoints = { source: endpointOf(source), target: endpointOf(target) };
  const host = opening.use(await openHostAgent(endpoints.source, endpoints.target, systemd));
  await host.start({ kind: 'sync', ...endpoints, flushTarget: false });
  await host.until('sync', ({ progress }) => progress.stage === 'live');
  await host.run({ kind: 'verify', ...endpoints, ...COMPARE });
  const owned = opening.move();
  return { source, target, host, systemd, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function pidOf({ host }: Scene, kind: JobKind): number {
  const pid = host.store.readProcess(kind)?.identity.pid;
  if (pid === undefined) throw new Error(`there is no ${kind}`);
  return pid;
}

/** Everything of ours goes down at once, with the life of the kernel in which it was begun. */
async function goDown(scene: Scene): Promise<void> {
  const { store } = scene.host;
  for (const kind of ['keeper', 'cutover', 'sync'] as const) {
    process.kill(pidOf(scene, kind), 'SIGKILL');
    await until(() => store.readState(kind)?.status !== 'running');
    const path = join(store.directory, 'jobs', kind, 'process.json');
    const file = JSON.parse(readFileSync(path, 'utf8'));
    const identity = { ...file.identity, bootId: 'an earlier one' };
    writeFileSync(path, JSON.stringify({ ...file, identity }));
  }
}

async function until(condition: () => boolean): Promise<void> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  while (!condition()) await systemClock.sleep(20, signal);
}

const IS_ROOT = process.getuid?.() === 0;

describe('a host with systemd that goes down behind the fence', () => {
  it('lifts it when it comes back, without anybody, and leaves no unit', async (context) => {
    if (!IS_ROOT) context.skip('the agent asks systemd only as root');
    await using scene = await openScene();
    const { source, host, systemd } = scene;
    const before = await readSettings(source);
    expect(systemd.enabled()).toEqual([]);
    // Nothing is committed any more, so the drain lasts.
    process.kill(pidOf(scene, 'sync'), 'SIGSTOP');
    await source.client().set('late', '1');
    await host.start(cutoverRequest(scene, 'replica'));
    await host.until('cutover', ({ progress }) => progress.stage === 'draining');
    expect(systemd.enabled()).toHaveLength(1);
    await goDown(scene);
    await expect(source.client().set('still', 'fenced')).rejects.toThrow('NOREPLICAS');

    systemd.boot();
    await host.until('keeper', ({ status }) => status === 'succeeded', LIMIT_MS);
    expect(await readSettings(source)).toEqual(before);
    await source.client().set('writes', 'go on');
    await until(() => systemd.enabled().length === 0);
  }, 180_000);

  it('has nothing to come back for after a cutover that ended', async (context) => {
    if (!IS_ROOT) context.skip('the agent asks systemd only as root');
    await using scene = await openScene();
    await scene.host.run(cutoverRequest(scene, 'replica'));
    await scene.host.until('keeper', ({ status }) => status === 'succeeded', LIMIT_MS);
    await until(() => scene.systemd.enabled().length === 0);
    scene.systemd.boot();
    await expect(scene.source.client().set('too', 'late')).rejects.toThrow('NOREPLICAS');
  }, 180_000);
});
