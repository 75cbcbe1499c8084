import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startWriters } from '../demo/writers.ts';
import { loadDataSet } from '../servers/data-set.ts';
import { findServer } from '../servers/start.ts';
import { digestData, openStage, readSettings, type Stage } from './stage.ts';

const KEYS = 3000;

describe('a migration by the replica route', () => {
  it('moves a source with live writers through all phases and loses no acknowledged write', async () => {
    await using stage = await openStage({ isNewHost: true });
    await loadDataSet(stage.source.client(), { keys: KEYS, seed: 1 });
    await using writers = startWriters(stage.source, 'shop');

    await passing(stage, 'preflight', { 'canary-write': 'true' });
    await passing(stage, 'backup');
    const started = await passing(stage, 'start-migration');
    expect(started.outputs['migration-status']).toBe('live');
    expect(started.summary).toContain('```mermaid');
    const verified = await passing(stage, 'verify');
    expect(Number(verified.outputs['keys-compared'])).toBeGreaterThanOrEqual(KEYS);
    expect(verified.outputs.differences).toBe('0');
    const completed = await passing(stage, 'complete-migration');
    writers.moveTo(stage.group.node);
    expect(completed.outputs['primary-endpoint']).toBe(`127.0.0.1:${stage.group.node.port}`);
    expect(Number(completed.outputs['write-pause-ms'])).toBeGreaterThan(0);
    const status = await passing(stage, 'status', { benchmark: 'true' });
    expect(status.outputs['migration-status']).toBe('completed');
    expect(status.report).toMatchObject({
      latency: { primaries: [{ address: completed.outputs['primary-endpoint'] }] },
      benchmark: { address: completed.outputs['primary-endpoint'], removed: true },
      setup: { memberClusters: ['sessions-001', 'sessions-002'], transitEncryption: false },
    });
    for (const words of ['### Latency', '### Benchmark', 'min-replicas-to-write', 'sessions-002']) {
      expect(status.summary).toContain(words);
    }

    await writers.stop();
    const audit = await writers.audit(stage.group.node);
    expect(audit).toMatchObject({ lost: 0, doubled: 0 });
    expect(audit.acknowledged).toBeGreaterThan(0);
    expect(await stage.group.node.client().exists('__valkey-migrate__')).toBe(0);
    await expect(stage.source.client().set('too', 'late')).rejects.toThrow('NOREPLICAS');
  });

  it('says again what was done when a completed phase is run again, and starts nothing anew', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    for (const phase of ['start-migration', 'verify', 'complete-migration']) await passing(stage, phase);
    await stage.group.node.client().set('key', 'written after the cutover');

    const again = await passing(stage, 'complete-migration');
    expect(again.outputs['write-pause-ms']).toBeDefined();
    expect(again.summary).toContain('nothing was done now');
    const restarted = await stage.run('start-migration');
    expect(restarted.outputs['error-code']).toBe('migration-completed');
    const rolledBack = await stage.run('rollback');
    expect(rolledBack.outputs['error-code']).toBe('migration-completed');
    expect(await stage.group.node.client().get('key')).toBe('written after the cutover');

    // Somebody protects the target: a status says what it cannot tell, and passes.
    await stage.group.admin('CONFIG', 'SET', 'requirepass', 'new');
    const status = await passing(stage, 'status');
    expect(status.annotations.map(({ message }) => message).join()).toMatch(
      /How fast the target answers is not/,
    );
    expect(status.summary).toContain('### Next steps');
    expect(status.summary).not.toContain('### Latency');
  });

  it('adopts the running sync when the phase is run again, and ships the agent only once', async () => {
    await using stage = await openStage({ isNewHost: true });
    await stage.source.client().set('key', 'value');
    const first = await passing(stage, 'start-migration');
    expect(first.log).toContain('Shipping the agent');
    const second = await passing(stage, 'start-migration');
    expect(second.log).not.toContain('Shipping the agent');
    expect(second.log).toContain('Adopted the running sync job');
  });

  it('refuses another migration onto the same target, from this host or from another', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    await passing(stage, 'start-migration');
    const other = await stage.run('start-migration', { inputs: { 'migration-id': 'other' } });
    expect(other.outputs['error-code']).toBe('migration-conflict');
    const elsewhere = await stage.run('start-migration', {
      inputs: { 'migration-id': 'other', 'state-directory': join(stage.instance.directory, 'second-host') },
    });
    expect(elsewhere.outputs['error-code']).toBe('migration-conflict');
    const repository = await stage.run('start-migration', { repository: 'other/shop' });
    expect(repository.outputs['error-code']).toBe('migration-conflict');
    const status = await stage.run('status', { inputs: { benchmark: 'true' } });
    expect(status.outputs).toMatchObject({ 'migration-status': 'live', 'error-code': 'migration-conflict' });
    expect(await stage.group.node.client().keys('*:benchmark:*')).toEqual([]);
  });

  it('rolls back to a source exactly as it was found', async () => {
    await using stage = await openStage();
    await loadDataSet(stage.source.client(), { keys: 200, seed: 2 });
    const found = { settings: await readSettings(stage.source), data: await digestData(stage.source) };
    await passing(stage, 'start-migration');
    await passing(stage, 'verify');
    await passing(stage, 'rollback', { 'flush-target': 'true' });
    expect({ settings: await readSettings(stage.source), data: await digestData(stage.source) }).toEqual(
      found,
    );
    expect(await stage.group.node.client().dbsize()).toBe(0);
    expect(await stage.source.client().info('replication')).toContain('connected_slaves:0');
    await passing(stage, 'start-migration');
  });

  it('finds a killed sync dead, says so, and goes on from its checkpoint', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    await using writers = startWriters(stage.source, 'shop');
    await passing(stage, 'start-migration');
    process.kill(await syncPid(stage), 'SIGKILL');
    const dead = await passing(stage, 'status');
    expect(dead.outputs['migration-status']).toBe('failed');
    expect(dead.summary).toContain('killed');
    const refused = await stage.run('complete-migration');
    expect(refused.exitCode).toBe(1);
    await passing(stage, 'start-migration');
    for (const phase of ['verify', 'complete-migration']) await passing(stage, phase);
    writers.moveTo(stage.group.node);
    await writers.stop();
    expect(await writers.audit(stage.group.node)).toMatchObject({ lost: 0, doubled: 0 });
  });

  it('survives a reboot of the host', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    await passing(stage, 'start-migration');
    await stage.instance.reboot();
    const dead = await passing(stage, 'status');
    expect(dead.outputs['migration-status']).toBe('failed');
    for (const phase of ['start-migration', 'verify', 'complete-migration']) await passing(stage, phase);
    expect(await stage.group.node.client().get('key')).toBe('value');
  });

  it('removes everything of its own from the host, and only when nothing runs', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'value');
    await passing(stage, 'start-migration');
    expect((await stage.run('cleanup')).exitCode).toBe(1);
    for (const phase of ['verify', 'complete-migration', 'cleanup']) await passing(stage, phase);
    expect(await readdir(stage.stateDirectory)).toEqual([]);
    expect(await stage.group.node.client().get('key')).toBe('value');
  });
});

describe('a migration by the native route', () => {
  it('lets ElastiCache replicate, proves the two sides equal and promotes', async () => {
    await using stage = await openStage({ source: await findServer({ kind: 'redis', version: '7.0' }) });
    await loadDataSet(stage.source.client(), { keys: KEYS, seed: 3 });
    await using writers = startWriters(stage.source, 'shop');
    for (const phase of [
      'preflight',
      'backup',
      'start-migration',
      'status',
      'verify',
      'complete-migration',
    ]) {
      await passing(stage, phase, { route: 'native' });
    }
    writers.moveTo(stage.group.node);
    await writers.stop();
    expect(await writers.audit(stage.group.node)).toMatchObject({ lost: 0, doubled: 0 });
    expect(stage.group.status).toBe('available');
    expect(await stage.group.node.client().info('replication')).toContain('role:master');
  });

  it('is chosen where it serves, and not where it would wipe the target', async () => {
    await using older = await openStage({ source: await findServer({ kind: 'redis', version: '7.0' }) });
    expect((await passing(older, 'preflight', { route: 'auto' })).outputs.route).toBe('native');
    await using newer = await openStage({ source: await findServer({ kind: 'redis', version: '8.0' }) });
    expect((await passing(newer, 'preflight', { route: 'auto' })).outputs.route).toBe('replica');
  });

  it('is aborted by a rollback that leaves the source as it was found', async () => {
    await using stage = await openStage({ source: await findServer({ kind: 'redis', version: '7.0' }) });
    await stage.source.client().set('key', 'value');
    const settings = await readSettings(stage.source);
    await passing(stage, 'start-migration', { route: 'native' });
    expect(stage.group.status).toBe('migrating');
    await passing(stage, 'rollback');
    expect(stage.group.status).toBe('available');
    expect(await readSettings(stage.source)).toBe(settings);
    await stage.source.client().set('key', 'still written');
  });

  it('is refused from a newer source with the reason, and the target keeps its data', async () => {
    await using stage = await openStage({ source: await findServer({ kind: 'redis', version: '8.0' }) });
    await stage.source.client().set('key', 'value');
    await stage.group.node.client().set('precious', 'data');
    for (const phase of ['preflight', 'start-migration']) {
      const refused = await stage.run(phase, { inputs: { route: 'native' } });
      expect(refused.outputs['error-code']).toBe('route-native-rdb-version');
      expect(refused.summary).toMatch(/RDB/);
    }
    expect(await stage.group.node.client().get('precious')).toBe('data');
    expect(stage.simulator.calls.map(({ operation }) => operation)).not.toContain('StartMigration');
  });

  it('warns of the wipe when it is forced, and says why it failed', async () => {
    // Every attempt fails, so none needs the time that one which works might take.
    await using stage = await openStage({
      source: await findServer({ kind: 'redis', version: '8.0' }),
      timing: { linkTimeoutMs: 1500 },
    });
    await stage.source.client().set('key', 'value');
    const forced = { route: 'native', 'allow-native-rdb-version': 'true', 'flush-target': 'true' };
    const preflight = await passing(stage, 'preflight', forced);
    expect(
      preflight.annotations.some(({ level, message }) => level === 'warning' && /wipe/i.test(message)),
    ).toBe(true);
    const failed = await stage.run('start-migration', { inputs: forced });
    expect(failed.outputs['error-code']).toBe('migration-start-failed');
  });
});

async function passing(stage: Stage, phase: string, inputs: Record<string, string> = {}) {
  const result = await stage.run(phase, { inputs });
  expect({
    phase,
    exitCode: result.exitCode,
    log: result.exitCode === 0 ? '' : result.log + result.stderr,
  }).toEqual({
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
