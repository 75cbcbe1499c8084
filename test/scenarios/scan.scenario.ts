import { expect, it } from 'vitest';
import { startWriters } from '../demo/writers.ts';
import { loadDataSet } from '../servers/data-set.ts';
import { openStage, type Stage } from './stage.ts';

const KEYS = 3000;
/** What providers that keep replication to themselves take away. */
const RENAMED_AWAY = ['PSYNC ""', 'SYNC ""', 'REPLCONF ""'];

it('moves a source that refuses PSYNC through all phases with live writers, and loses no acknowledged write', async () => {
  const sourceConfig = { 'notify-keyspace-events': 'EA', 'rename-command': RENAMED_AWAY };
  await using stage = await openStage({ sourceConfig });
  await loadDataSet(stage.source.client(), { keys: KEYS, seed: 1 });
  await using writers = startWriters(stage.source, 'shop');
  const looked = await passing(stage, 'preflight', { 'canary-write': 'true' });
  expect(looked.outputs.route).toBe('scan');
  const started = await passing(stage, 'start-migration');
  expect(started.outputs).toMatchObject({ route: 'scan', 'migration-status': 'live' });
  const verified = await passing(stage, 'verify', { repair: 'differences-and-extras' });
  expect(verified.outputs.differences).toBe('0');
  const completed = await passing(stage, 'complete-migration');
  writers.moveTo(stage.group.node);
  expect(completed.outputs['migration-status']).toBe('completed');
  await writers.stop();
  expect(await writers.audit(stage.group.node)).toMatchObject({ lost: 0, doubled: 0 });
  expect(await stage.group.node.client().exists('__valkey-migrate__')).toBe(0);
  expect(await stage.source.client().exists('__valkey-migrate__')).toBe(0);
}, 120_000);

it('says in preflight which setting the source lacks', async () => {
  await using stage = await openStage({ sourceConfig: { 'rename-command': RENAMED_AWAY } });
  const result = await stage.run('preflight', { inputs: { route: 'scan' } });
  expect(result.outputs['error-code']).toBe('notifications-missing');
  expect(result.summary).toContain('notify-keyspace-events');
});

async function passing(stage: Stage, phase: string, inputs: Record<string, string> = {}) {
  const result = await stage.run(phase, { inputs: { route: 'auto', ...inputs } });
  expect({ phase, exitCode: result.exitCode, log: result.log.slice(-2000) }).toMatchObject({ exitCode: 0 });
  return result;
}
