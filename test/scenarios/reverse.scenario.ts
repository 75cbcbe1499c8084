import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { expectSame } from '../agent/scan/expect-same.ts';
import { startWriters } from '../demo/writers.ts';
import { loadDataSet } from '../servers/data-set.ts';
import { findServer } from '../servers/start.ts';
import { createTlsFiles } from '../servers/tls.ts';
import { openStage, readSettings, type Stage } from './stage.ts';

const KEYS = 3000;
const PARAMETER_GROUP = 'sessions-valkey';
const BACK = { direction: 'reverse' };

it('keeps a way back, and goes back through the same gates with every acknowledged write', async () => {
  await using stage = await openReverseStage();
  const { source, group } = stage;
  await loadDataSet(source.client(), { keys: KEYS, seed: 1 });
  const before = await readAsFound(stage);
  await using writers = startWriters(source, 'shop');
  const looked = await passing(stage, 'preflight');
  expect(looked.summary).toContain('start-migration adds what is missing');
  await passing(stage, 'start-migration');
  expect(await notifications(stage)).toBe('AE');
  await passing(stage, 'verify', { repair: 'differences-and-extras' });
  const completed = await passing(stage, 'complete-migration');
  expect(completed.summary).toContain('Way back');
  expect(completed.outputs['primary-endpoint']).toBe(`127.0.0.1:${group.node.port}`);
  writers.moveTo(group.node);
  await expect(source.client().set('a', '1')).rejects.toThrow('NOPERM');
  const kept = await passing(stage, 'status');
  expect(kept.summary).toContain('as long as the way back is kept');
  expect(kept.report).toMatchObject({ wayBack: { status: 'running' }, latency: { kind: 'latency' } });

  const resumed = await passing(stage, 'start-migration', BACK);
  expect(resumed.outputs).toMatchObject({ route: 'scan', 'migration-status': 'live' });
  const refused = await stage.run('cleanup');
  expect(refused.outputs['error-code']).toBe('migration-conflict');
  const early = await stage.run('complete-migration', { inputs: BACK });
  expect(early.outputs['error-code']).toBe('verification-missing');
  await passing(stage, 'verify', { ...BACK, repair: 'differences-and-extras' });
  const returned = await passing(stage, 'complete-migration', BACK);
  expect(returned.outputs).toMatchObject({
    'migration-status': 'completed',
    'primary-endpoint': `127.0.0.1:${source.port}`,
    differences: '0',
  });
  expect(returned.summary).toContain('CLIENT PAUSE WRITE');
  expect(returned.summary).toContain('**The old source has taken over again.**');
  expect(returned.summary).not.toContain('The target has taken over');
  writers.moveTo(source);
  await vi.waitFor(() => source.client().set('back', '1'));
  await writers.stop();
  expect(await writers.audit(source)).toMatchObject({ lost: 0, doubled: 0 });
  expect(await readAsFound(stage)).toEqual(before);
  expect(await notifications(stage)).toBe('');
  expect(await source.client().exists('__valkey-migrate__')).toBe(0);

  const again = await stage.run('complete-migration', { inputs: { reverse: 'true' } });
  expect(again.outputs['error-code']).toBe('migration-completed');
  await passing(stage, 'cleanup');
  expect(existsSync(join(stage.stateDirectory, 'migrations'))).toBe(false);
}, 300_000);

it('goes back over an online migration of ElastiCache too', async () => {
  await using stage = await openReverseStage({ version: '8' });
  const { source, group } = stage;
  await loadDataSet(source.client(), { keys: KEYS, seed: 3 });
  const before = await readAsFound(stage);
  const native = { route: 'native' };
  for (const phase of ['start-migration', 'verify', 'complete-migration'])
    await passing(stage, phase, native);
  await group.node.client().set('late', '1', 'EX', 3600);
  await group.node.client().xadd('late stream', '*', 'f', '1');
  await passing(stage, 'start-migration', BACK);
  await passing(stage, 'verify', BACK);
  await passing(stage, 'complete-migration', BACK);
  await expectSame(group.node, source);
  expect(await source.client().get('late')).toBe('1');
  expect(await readAsFound(stage)).toEqual(before);
}, 300_000);

it('opens with the passwords that were sealed for its migration, and says afterwards where the applications are', async () => {
  await using tls = await createTlsFiles();
  await using stage = await openStage({
    source: await findServer({ kind: 'redis', version: '7.0' }),
    sourceConfig: { user: ['migrator on >s0urce ~* &* +@all'] },
    target: await findServer({ kind: 'valkey', version: '9' }),
    group: { parameterGroup: PARAMETER_GROUP, tls, authToken: 'T4rget-token-of-16' },
  });
  const { source } = stage;
  await source.client().set('a', '1');
  const env = { SOURCE_PASSWORD: 's0urce', TARGET_PASSWORD: 'T4rget-token-of-16' };
  const secrets = {
    'source-username': 'migrator',
    'source-password-from': 'env:SOURCE_PASSWORD',
    'target-password-from': 'env:TARGET_PASSWORD',
    'target-ca-file': tls.ca,
  };
  for (const direction of ['forward', 'reverse']) {
    for (const phase of ['start-migration', 'verify', 'complete-migration'])
      await passing(stage, phase, { ...secrets, direction, reverse: 'true' }, env);
  }
  await source.client().set('a', '2');

  const back = await passing(stage, 'status', BACK);
  expect(back.summary).toContain('Gone back');
  expect(back.outputs['primary-endpoint']).toBe(`127.0.0.1:${source.port}`);
  const forward = await passing(stage, 'status');
  expect(forward.summary).toContain(`Point the applications at \`127.0.0.1:${source.port}\` in place of`);
  expect(forward.report).not.toHaveProperty('latency');
  const measured = await stage.run('status', { inputs: { benchmark: 'true' } });
  expect(measured.outputs['error-code']).toBe('migration-completed');
}, 300_000);

it('gives the way back up, and leaves a source that is fenced for everybody', async () => {
  await using stage = await openReverseStage();
  const { source, group } = stage;
  await loadDataSet(source.client(), { keys: KEYS, seed: 2 });
  for (const phase of ['start-migration', 'verify', 'complete-migration']) await passing(stage, phase);
  await passing(stage, 'start-migration', BACK);
  await expectSame(group.node, source);
  const given = await passing(stage, 'rollback', BACK);
  expect(given.summary).toContain('The way back is given up');
  expect(await source.client().call('ACL', 'USERS')).toEqual(['app', 'default']);
  await expect(source.client().set('a', '1')).rejects.toThrow('NOPERM');
  expect(await notifications(stage)).toBe('');
  const missing = await stage.run('verify', { inputs: BACK });
  expect(missing.outputs['error-code']).toBe('way-back-missing');
  await passing(stage, 'cleanup');
}, 300_000);

it('says before the migration that a default parameter group rules a way back out', async () => {
  await using stage = await openStage();
  const looked = await stage.run('preflight', { inputs: { reverse: 'true' } });
  expect(looked.outputs['error-code']).toBe('parameter-group-unmodifiable');
  expect(looked.summary).toContain('default.valkey');
  const started = await stage.run('start-migration', { inputs: { reverse: 'true' } });
  expect(started.outputs['error-code']).toBe('parameter-group-unmodifiable');
});

it('does not fence for a way back of which the target would not tell', async () => {
  await using stage = await openReverseStage();
  await stage.source.client().set('a', '1');
  for (const phase of ['start-migration', 'verify']) await passing(stage, phase, { reverse: 'false' });
  const refused = await stage.run('complete-migration', { inputs: { reverse: 'true' } });
  expect(refused.outputs['error-code']).toBe('notifications-missing');
  await stage.source.client().set('a', '2');
  await passing(stage, 'start-migration');
  await passing(stage, 'complete-migration');
  await expect(stage.source.client().set('a', '3')).rejects.toThrow('NOPERM');
}, 300_000);

it('sets the notifications back when the migration is given up before its cutover', async () => {
  await using stage = await openReverseStage();
  await stage.source.client().set('a', '1');
  await passing(stage, 'start-migration');
  expect(await notifications(stage)).toBe('AE');
  await passing(stage, 'rollback');
  expect(await notifications(stage)).toBe('');
});

async function openReverseStage({ version }: { version: '8' | '9' } = { version: '9' }): Promise<Stage> {
  return openStage({
    source: await findServer({ kind: 'redis', version: '7.0' }),
    sourceConfig: { 'min-replicas-max-lag': '7', user: ['app on >secret ~app:* +@all -@dangerous'] },
    target: await findServer({ kind: 'valkey', version }),
    group: { parameterGroup: PARAMETER_GROUP },
  });
}

async function passing(
  stage: Stage,
  phase: string,
  inputs: Record<string, string> = {},
  env: Record<string, string> = {},
) {
  const reverse = inputs.direction === undefined ? 'true' : 'false';
  const result = await stage.run(phase, { inputs: { reverse, ...inputs }, env });
  expect({ phase, exitCode: result.exitCode, log: result.log.slice(-3000) }).toMatchObject({ exitCode: 0 });
  return result;
}

async function notifications({ group }: Stage): Promise<unknown> {
  const answer = await group.admin('CONFIG', 'GET', 'notify-keyspace-events');
  return Array.isArray(answer) ? answer[1] : undefined;
}

async function readAsFound({ source }: Stage): Promise<unknown> {
  return { settings: await readSettings(source), users: await source.client().call('ACL', 'LIST') };
}
