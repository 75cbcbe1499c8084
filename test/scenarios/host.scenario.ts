import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { INSTANCE_PATH, openStage, type Stage } from './stage.ts';

describe('a host through Systems Manager', () => {
  it('bears throttling, lost invocations and lost commands', async () => {
    await using stage = await openStage({ isNewHost: true });
    await stage.source.client().set('key', 'value');
    stage.simulator.faults.inject({ operation: 'SendCommand', error: 'ThrottlingException', times: 2 });
    stage.simulator.faults.inject({
      operation: 'GetCommandInvocation',
      error: 'InvocationDoesNotExist',
      times: 3,
    });
    stage.simulator.faults.inject({ operation: 'GetCommandInvocation', drop: 'answer', times: 1, after: 4 });
    stage.simulator.faults.inject({ delivery: 'undeliverable', times: 1, after: 2 });
    const started = await stage.run('start-migration');
    expect({ exitCode: started.exitCode, log: started.log }).toMatchObject({ exitCode: 0 });
    expect(await stage.group.node.client().get('key')).toBe('value');
  });
});

describe('a local host', () => {
  it('runs every phase without Systems Manager', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    const local = {
      host: 'local',
      'instance-id': undefined,
      'state-directory': join(stage.instance.directory, 'local'),
    };
    for (const phase of [
      'preflight',
      'backup',
      'start-migration',
      'status',
      'verify',
      'complete-migration',
      'cleanup',
    ]) {
      const result = await stage.run(phase, { inputs: local });
      expect({ phase, exitCode: result.exitCode, log: result.exitCode ? result.log : '' }).toMatchObject({
        exitCode: 0,
      });
    }
    expect(await stage.group.node.client().get('key')).toBe('value');
    expect(stage.simulator.calls.filter(({ service }) => service === 'ssm')).toEqual([]);
  });
});

describe('a host that is lost for good', () => {
  it('is followed by another one, which copies anew when its claim was deleted by hand', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    expect((await stage.run('start-migration')).exitCode).toBe(0);
    await stage.instance.reboot();
    const other = await stage.simulator.addInstance({ env: { PATH: INSTANCE_PATH } });
    const inputs = {
      'instance-id': other.instanceId,
      'state-directory': join(other.directory, 'valkey-migrate'),
      'flush-target': 'true',
    };
    const refused = await stage.run('start-migration', { inputs });
    expect(refused.outputs['error-code']).toBe('migration-conflict');
    expect(await stage.group.node.client().get('key')).toBe('value');

    await stage.group.node.client().del('__valkey-migrate__');
    await stage.source.client().set('key', 'newer');
    for (const phase of ['start-migration', 'verify', 'complete-migration']) {
      const result = await stage.run(phase, { inputs });
      expect({ exitCode: result.exitCode, log: result.exitCode === 0 ? '' : result.log }).toEqual({
        exitCode: 0,
        log: '',
      });
    }
    expect(await stage.group.node.client().get('key')).toBe('newer');
  });
});

describe('a runner that takes no report', () => {
  it('makes the phase fail, which has done its work and says so', async () => {
    await using stage = await openStage();
    const result = await stage.run('status', { inputs: { 'report-directory': '/dev/null/reports' } });
    expect(result.exitCode).toBe(1);
    expect(result.outputs).toMatchObject({ 'error-code': 'report-unwritable', 'migration-status': 'none' });
    expect(result.summary).toContain('report-unwritable');
  });
});

describe('a cancelled run', () => {
  it.each([
    { onCancel: 'keep', status: 'running', words: 'goes on on the host' },
    { onCancel: 'stop', status: 'stopped', words: 'was asked to stop' },
  ])('with on-cancel $onCancel leaves the job $status and says so', async ({ onCancel, status, words }) => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    await loadSlowTarget(stage);
    const cancelling = new AbortController();
    const result = await stage.run('start-migration', {
      inputs: { 'on-cancel': onCancel },
      cancel: cancelling.signal,
      onLine: (line) => {
        if (line.includes('Started a sync job')) cancelling.abort();
      },
    });
    expect(result.exitCode).toBe(1);
    expect(result.outputs['error-code']).toBe('cancelled');
    expect(result.log).toContain(words);
    expect(result.summary).toContain('cancelled');
    const seen = await stage.run('status');
    expect(JSON.stringify(seen.report)).toContain(`"status":"${status}"`);
    await stage.run('rollback');
  });
});

/** Writes so much that the copy is still on its way when the run is cancelled. */
async function loadSlowTarget(stage: Stage): Promise<void> {
  const client = stage.source.client();
  await client.config('SET', 'repl-diskless-sync-delay', '5');
}
