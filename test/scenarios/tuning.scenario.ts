import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadDataSet } from '../servers/data-set.ts';
import { openStage, readSettings, type Stage } from './stage.ts';

const TUNED = { 'tune-source': 'true', 'max-source-load': '20MB', 'max-target-ops': '20000' };

describe('a migration with a tuned source', () => {
  it('moves the data within its limits, and leaves the source as it was found but for the fence', async () => {
    await using stage = await openStage();
    await loadDataSet(stage.source.client(), { keys: 2000, seed: 5 });
    const before = z.array(z.string()).parse(JSON.parse(await readSettings(stage.source)));
    const preflight = await passing(stage, 'preflight', TUNED);
    expect(preflight.summary).toContain('The sync sets, and restores afterwards');
    const started = await passing(stage, 'start-migration', TUNED);
    expect(started.summary).toContain('the target gets at most 20,000 commands/s');
    const status = await passing(stage, 'status');
    expect(status.summary).toContain('client-output-buffer-limit');
    expect(status.annotations.filter(({ message }) => /still has settings/.test(message))).toEqual([]);
    await passing(stage, 'verify');
    const completed = await passing(stage, 'complete-migration');
    expect(completed.annotations.filter(({ message }) => /still has settings/.test(message))).toEqual([]);
    await stage.source.client().config('SET', 'min-replicas-to-write', '0');
    expect(
      z
        .array(z.string())
        .parse(JSON.parse(await readSettings(stage.source)))
        .sort(),
    ).toEqual(before.sort());
    await passing(stage, 'cleanup');
  }, 120_000);

  it('warns of settings that a killed sync left, and restores them by a rollback', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    const before = await readSettings(stage.source);
    await passing(stage, 'start-migration', { 'tune-source': 'true' });
    process.kill(await syncPid(stage), 'SIGKILL');
    expect(await readSettings(stage.source)).not.toBe(before);
    const status = await passing(stage, 'status');
    expect(status.annotations.map(({ message }) => message).join()).toContain('still has settings of a sync');
    const rolledBack = await passing(stage, 'rollback');
    expect(rolledBack.summary).toContain('restored: client-output-buffer-limit, repl-backlog-size');
    expect(await readSettings(stage.source)).toBe(before);
  }, 120_000);
});

async function passing(stage: Stage, phase: string, inputs: Record<string, string> = {}) {
  const result = await stage.run(phase, { inputs });
  expect({ phase, exitCode: result.exitCode, log: result.exitCode === 0 ? '' : result.log }).toEqual({
    phase,
    exitCode: 0,
    log: '',
  });
  return result;
}

async function syncPid(stage: Stage): Promise<number> {
  const path = join(stage.stateDirectory, 'migrations', 'sessions', 'jobs', 'sync', 'process.json');
  const schema = z.object({ identity: z.object({ pid: z.number() }) });
  return schema.parse(JSON.parse(await readFile(path, 'utf8'))).identity.pid;
}
