import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findServer } from '../servers/start.ts';
import { openStage, readSettings, type Stage } from './stage.ts';

const NATIVE = { route: 'native' };

describe('a promotion by ElastiCache', () => {
  it('that the role may not ask for lifts the fence, and a later cutover proves anew', async () => {
    await using stage = await verifiedNative();
    const settings = await readSettings(stage.source);
    const fault = stage.simulator.faults.inject({
      operation: 'CompleteMigration',
      error: 'AccessDenied',
      times: 9,
    });
    const denied = await stage.run('complete-migration', { inputs: NATIVE });
    expect(denied.outputs['error-code']).toBe('aws-access-denied');
    expect(await readSettings(stage.source)).toBe(settings);
    fault.withdraw();

    // Somebody ends the online migration, and the source takes writes that the target does not get.
    await stage.group.admin('REPLICAOF', 'NO', 'ONE');
    stage.group.status = 'available';
    await stage.source.client().set('written', 'after the fence was lifted');
    const again = await stage.run('complete-migration', { inputs: NATIVE });
    expect({ exitCode: again.exitCode, code: again.outputs['error-code'] }).toEqual({
      exitCode: 1,
      code: 'sync-not-running',
    });
    await stage.source.client().set('writes', 'go on');
  });

  it('is waited for although AWS throttles the looks at it', async () => {
    await using stage = await verifiedNative();
    // As many as the SDK tries for one look: that look fails, and the waiting goes on.
    stage.simulator.faults.inject({
      operation: 'DescribeReplicationGroups',
      error: 'Throttling',
      times: 6,
      after: 2,
    });
    const done = await stage.run('complete-migration', { inputs: NATIVE });
    expect({ exitCode: done.exitCode, log: done.exitCode === 0 ? '' : done.log }).toEqual({
      exitCode: 0,
      log: '',
    });
    expect(stage.group.status).toBe('available');
    await expect(stage.source.client().set('too', 'late')).rejects.toThrow('NOREPLICAS');
  }, 120_000);

  it('whose request got no answer is found out about by the same run', async () => {
    await using stage = await verifiedNative();
    // The SDK asks again, and is told that the group is busy: with the promotion that it had asked for.
    stage.simulator.faults.inject({ operation: 'CompleteMigration', drop: 'answer', times: 1 });
    const done = await stage.run('complete-migration', { inputs: NATIVE });
    expect({ exitCode: done.exitCode, log: done.exitCode === 0 ? '' : done.log }).toEqual({
      exitCode: 0,
      log: '',
    });
    expect(done.outputs['migration-status']).toBe('completed');
    await expect(stage.source.client().set('too', 'late')).rejects.toThrow('NOREPLICAS');
  }, 120_000);

  it('whose request never gets there keeps the fence, says so, and the next run asks again', async () => {
    await using stage = await verifiedNative();
    const fault = stage.simulator.faults.inject({
      operation: 'CompleteMigration',
      drop: 'request',
      times: 1000,
    });
    const uncertain = await stage.run('complete-migration', { inputs: NATIVE });
    expect(uncertain.exitCode).toBe(1);
    expect(uncertain.summary).toContain('stays fenced');
    await expect(stage.source.client().set('too', 'late')).rejects.toThrow('NOREPLICAS');
    const looked = await stage.run('status');
    expect(looked.outputs['migration-status']).toBe('cutting-over');
    expect(looked.summary).toContain('Handing over.');
    fault.withdraw();
    const again = await stage.run('complete-migration', { inputs: NATIVE });
    expect({ exitCode: again.exitCode, log: again.exitCode === 0 ? '' : again.log }).toEqual({
      exitCode: 0,
      log: '',
    });
    expect(again.outputs['migration-status']).toBe('completed');
  }, 180_000);
});

describe('a rollback', () => {
  it('lifts the fence although AWS refuses to end the online migration', async () => {
    await using stage = await verifiedNative();
    const settings = await readSettings(stage.source);
    stage.simulator.faults.inject({ operation: 'CompleteMigration', drop: 'request', times: 100 });
    expect((await stage.run('complete-migration', { inputs: NATIVE })).exitCode).toBe(1);
    await expect(stage.source.client().set('still', 'fenced')).rejects.toThrow('NOREPLICAS');
    const refused = await stage.run('cleanup');
    expect(refused.outputs['error-code']).toBe('migration-conflict');

    const rolledBack = await stage.run('rollback');
    expect(rolledBack.exitCode).toBe(1);
    expect(rolledBack.outputs['error-code']).toBe('aws-unavailable');
    expect(await readSettings(stage.source)).toBe(settings);
    await stage.source.client().set('writes', 'go on');
  });
});

describe('a start of the native route', () => {
  it('ends soon after its watch on the host failed', async () => {
    await using stage = await openStage({ source: await findServer({ kind: 'redis', version: '7.0' }) });
    await stage.source.client().set('key', 'value');
    let denied: { withdraw(): void } | undefined;
    const failed = await stage.run('start-migration', {
      inputs: NATIVE,
      onLine: (line) => {
        if (!line.includes('StartMigration accepted')) return;
        denied = stage.simulator.faults.inject({
          operation: 'SendCommand',
          error: 'AccessDeniedException',
          times: 100,
        });
      },
    });
    expect(failed.outputs['error-code']).toBe('aws-access-denied');
    expect(failed.summary).toContain('goes on in ElastiCache');
    denied?.withdraw();
    const adopted = await stage.run('start-migration', { inputs: NATIVE });
    expect({ exitCode: adopted.exitCode, log: adopted.exitCode === 0 ? '' : adopted.log }).toEqual({
      exitCode: 0,
      log: '',
    });
  });
});

describe('a cutover that died behind its proof', () => {
  it('is not followed by a sync over what it handed over, but goes on', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    for (const phase of ['start-migration', 'verify', 'complete-migration']) {
      expect((await stage.run(phase)).exitCode).toBe(0);
    }
    await forgetCompletion(stage);
    const restarted = await stage.run('start-migration', { inputs: { 'flush-target': 'true' } });
    expect(restarted.outputs['error-code']).toBe('migration-conflict');
    expect(await stage.group.node.client().get('key')).toBe('value');
    const again = await stage.run('complete-migration');
    expect({ exitCode: again.exitCode, log: again.exitCode === 0 ? '' : again.log }).toEqual({
      exitCode: 0,
      log: '',
    });
  });
});

async function verifiedNative(): Promise<Stage> {
  const stage = await openStage({ source: await findServer({ kind: 'redis', version: '7.0' }) });
  await stage.source.client().mset('a', '1', 'b', '2');
  for (const phase of ['start-migration', 'verify']) {
    const result = await stage.run(phase, { inputs: NATIVE });
    if (result.exitCode !== 0) throw new Error(result.log);
  }
  return stage;
}

/** What a run that dies right before its last word to the host leaves: all done, and not noted. */
async function forgetCompletion(stage: Stage): Promise<void> {
  const directory = join(stage.stateDirectory, 'migrations', 'sessions');
  expect(await readdir(directory)).toContain('migration.json');
  const { completedAtMs: _, ...record } = JSON.parse(
    await readFile(join(directory, 'migration.json'), 'utf8'),
  );
  await writeFile(join(directory, 'migration.json'), JSON.stringify(record));
}
