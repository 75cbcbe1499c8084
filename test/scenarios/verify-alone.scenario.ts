import { describe, expect, it } from 'vitest';
import { copyDatabase } from '../agent/verify/verify-pair.ts';
import { loadDataSet } from '../servers/data-set.ts';
import { openStage, type Stage } from './stage.ts';

/** Copied by other means: nothing of ours has run. */
async function openFilledStage(): Promise<Stage> {
  const stage = await openStage();
  const source = stage.source.client();
  await loadDataSet(source, { keys: 500, seed: 3, databases: [0] });
  await source.call('FUNCTION', 'FLUSH');
  await copyDatabase(source, stage.group.node.client());
  return stage;
}

describe('a verification without a migration of ours', () => {
  it('passes on equal servers, and leaves no migration behind', async () => {
    await using stage = await openFilledStage();
    const equal = await stage.run('verify');
    expect({ exitCode: equal.exitCode, log: equal.exitCode === 0 ? '' : equal.log }).toEqual({
      exitCode: 0,
      log: '',
    });
    expect(Number(equal.outputs['keys-compared'])).toBeGreaterThanOrEqual(500);
    expect(equal.summary).toContain('**Equal.**');
    const status = await stage.run('status');
    expect(status.outputs['migration-status']).toBe('none');
  });

  it('fails on a difference, names the list on the host, and repairs it when told to', async () => {
    await using stage = await openFilledStage();
    const target = stage.group.node.client();
    await stage.source.client().set('lost', 'v');
    await target.set('extra', 'v');
    const different = await stage.run('verify');
    expect(different.outputs['error-code']).toBe('verification-different');
    expect(different.outputs.differences).toBe('2');
    expect(different.summary).toMatch(/`[^`]*differences-[0-9a-f-]+\.ndjson`/);

    const repaired = await stage.run('verify', { inputs: { repair: 'differences' } });
    expect(repaired.outputs['error-code']).toBe('verification-different');
    expect(repaired.outputs.differences).toBe('1');
    expect(repaired.summary).toContain('Repaired: 2 differences before, 1 after');
    expect(await target.get('lost')).toBe('v');
    expect(await target.get('extra')).toBe('v');

    const removed = await stage.run('verify', { inputs: { repair: 'differences-and-extras' } });
    expect(removed.exitCode).toBe(0);
    expect(await target.exists('extra')).toBe(0);
  });
});

describe('a repair after the cutover', () => {
  it('is refused: the target has taken over, and what it holds is newer', async () => {
    await using stage = await openStage();
    await stage.source.client().set('key', 'old');
    for (const phase of ['start-migration', 'verify', 'complete-migration']) {
      expect((await stage.run(phase)).exitCode, phase).toBe(0);
    }
    await stage.group.node.client().set('key', 'written after the cutover');
    const refused = await stage.run('verify', { inputs: { repair: 'differences' } });
    expect(refused.outputs['error-code']).toBe('repair-refused');
    expect(await stage.group.node.client().get('key')).toBe('written after the cutover');
  });
});
