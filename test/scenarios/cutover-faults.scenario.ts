import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openMigrationStore } from '../../src/agent/job/store.ts';
import type { JobKind } from '../../src/contract/jobs.ts';
import { systemClock } from '../../src/core/clock.ts';
import { openStage, readSettings, type Stage } from './stage.ts';

const LIMIT_MS = 60_000;

describe('a cutover', () => {
  it('whose action is killed goes on on the host, and the next run says that it is done', async () => {
    await using stage = await verifiedStage();
    const kill = new AbortController();
    const killed = await stage.run('complete-migration', {
      kill: kill.signal,
      onLine: (line) => {
        if (/^cutover: /.test(line)) kill.abort();
      },
    });
    expect(killed.exitCode).toBeNull();
    await untilEnded(stage, 'cutover');
    await untilEnded(stage, 'keeper');
    const looked = await stage.run('status');
    expect(looked.outputs['migration-status']).toBe('handed-over');
    expect(looked.summary).toContain('Handed over, not marked complete.');
    await expectCompleted(stage);
  }, 180_000);

  it('that loses Systems Manager goes on on the host, and the next run says that it is done', async () => {
    await using stage = await verifiedStage();
    let lost: { withdraw(): void } | undefined;
    const failed = await stage.run('complete-migration', {
      onLine: (line) => {
        if (!/^cutover: /.test(line)) return;
        lost ??= stage.simulator.faults.inject({
          operation: 'SendCommand',
          error: 'AccessDeniedException',
          times: 1000,
        });
      },
    });
    expect(failed.exitCode).toBe(1);
    lost?.withdraw();
    await expectCompleted(stage);
  }, 180_000);

  it('that is killed on the host leaves the source as it was, and the next run completes', async () => {
    await using stage = await verifiedStage();
    const settings = await readSettings(stage.source);
    // Nothing is committed any more, so the drain lasts.
    process.kill(pidOf(stage, 'sync'), 'SIGSTOP');
    await stage.source.client().set('late', '1');
    const running = stage.run('complete-migration');
    await untilStage(stage, 'draining');
    await expect(stage.source.client().set('refused', '1')).rejects.toThrow('NOREPLICAS');
    process.kill(pidOf(stage, 'cutover'), 'SIGKILL');
    const dead = await running;
    process.kill(pidOf(stage, 'sync'), 'SIGCONT');
    expect({ code: dead.outputs['error-code'], log: dead.log }).toMatchObject({ code: 'job-dead' });
    expect(dead.summary).toContain('The fence at the source was lifted');
    expect(await readSettings(stage.source)).toBe(settings);
    await stage.source.client().set('writes', 'go on');
    await expectCompleted(stage);
  }, 180_000);
});

describe('a host', () => {
  it('that is rebooted behind the fence leaves a source that takes writes again, by the next run at the latest', async () => {
    await using stage = await verifiedStage();
    const settings = await readSettings(stage.source);
    process.kill(pidOf(stage, 'sync'), 'SIGSTOP');
    await stage.source.client().set('late', '1');
    const running = stage.run('complete-migration');
    await untilStage(stage, 'draining');
    await stage.instance.reboot();
    expect((await running).exitCode).toBe(1);
    const again = await stage.run('complete-migration');
    expect({ code: again.outputs['error-code'], log: again.log }).toMatchObject({ code: 'sync-not-running' });
    expect(await readSettings(stage.source)).toBe(settings);
    await stage.source.client().set('writes', 'go on');
    for (const phase of ['start-migration', 'verify']) {
      const result = await stage.run(phase);
      expect({ exitCode: result.exitCode, log: result.exitCode === 0 ? '' : result.log }).toEqual({
        exitCode: 0,
        log: '',
      });
    }
    await expectCompleted(stage);
  }, 180_000);
});

async function verifiedStage(): Promise<Stage> {
  const stage = await openStage();
  await stage.source.client().mset('a', '1', 'b', '2');
  for (const phase of ['start-migration', 'verify']) {
    const result = await stage.run(phase);
    if (result.exitCode !== 0) throw new Error(result.log);
  }
  return stage;
}

async function expectCompleted(stage: Stage): Promise<void> {
  const done = await stage.run('complete-migration', { inputs: { 'straggler-watch-seconds': '1' } });
  expect({ exitCode: done.exitCode, log: done.exitCode === 0 ? '' : done.log }).toEqual({
    exitCode: 0,
    log: '',
  });
  expect(done.outputs['migration-status']).toBe('completed');
  expect(done.report).toMatchObject({ report: { verification: { differences: { total: 0 } } } });
  expect(done.summary).toContain('### Stragglers');
  await expect(stage.source.client().set('too', 'late')).rejects.toThrow('NOREPLICAS');
  const [atSource, atTarget] = await Promise.all([
    stage.source.client().keys('*'),
    stage.group.node.client().keys('*'),
  ]);
  expect(atTarget.sort()).toEqual(atSource.sort());
}

const storeOf = ({ stateDirectory }: Stage) =>
  openMigrationStore(join(stateDirectory, 'migrations', 'sessions'));

function pidOf(stage: Stage, kind: JobKind): number {
  const pid = storeOf(stage).readProcess(kind)?.identity.pid;
  if (pid === undefined) throw new Error(`there is no ${kind}`);
  return pid;
}

async function untilEnded(stage: Stage, kind: JobKind): Promise<void> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  while (storeOf(stage).readState(kind)?.status !== 'succeeded') await systemClock.sleep(20, signal);
}

async function untilStage(stage: Stage, name: string): Promise<void> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  while (storeOf(stage).readState('cutover')?.progress.stage !== name) await systemClock.sleep(20, signal);
}
