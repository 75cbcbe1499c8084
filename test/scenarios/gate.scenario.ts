import { describe, expect, it } from 'vitest';
import { startGithubStub } from './github-stub.ts';
import { openStage, type PhaseChanges, readSettings, type Stage } from './stage.ts';

describe('complete-migration', () => {
  it('refuses without a verification, and leaves the source as it is', async () => {
    await using stage = await startedStage();
    await expectRefusal(stage, 'verification-missing');
  });

  it('refuses after a verification that found differences', async () => {
    await using stage = await startedStage();
    await stage.group.node.client().set('extra', 'key');
    const verified = await stage.run('verify');
    expect(verified.outputs['error-code']).toBe('verification-different');
    expect(verified.outputs.differences).toBe('1');
    expect(verified.report).toMatchObject({
      report: { differences: { byKind: [{ kind: 'extra', count: 1 }] } },
    });
    await expectRefusal(stage, 'verification-different');
  });

  it('refuses when the data came to differ after the verification, and lifts the fence', async () => {
    await using stage = await startedStage();
    expect((await stage.run('verify')).exitCode).toBe(0);
    await stage.group.node.client().set('extra', 'key');
    const refused = await expectRefusal(stage, 'verification-different');
    expect(refused.summary).toContain('1 difference');
    expect(refused.report).toMatchObject({
      report: { verification: { differences: { total: 1, listed: [{ kind: 'extra', db: 0 }] } } },
    });
  });

  it('refuses a verification that a new copy made void', async () => {
    await using stage = await startedStage();
    expect((await stage.run('verify')).exitCode).toBe(0);
    expect((await stage.run('rollback', { inputs: { 'flush-target': 'true' } })).exitCode).toBe(0);
    expect((await stage.run('start-migration')).exitCode).toBe(0);
    await expectRefusal(stage, 'verification-missing');
  });

  it('refuses a gate that stands open, and goes through one with reviewers', async () => {
    await using stage = await startedStage();
    await using github = await startGithubStub({ guarded: 2, open: 0 });
    expect((await stage.run('verify')).exitCode).toBe(0);
    const through = (environment: string): PhaseChanges => ({
      inputs: { 'cutover-environment': environment, 'github-token': 'token' },
      env: { GITHUB_API_URL: github.url },
    });
    await expectRefusal(stage, 'environment-unprotected', through('open'));
    await expectRefusal(stage, 'environment-unprotected', through('missing'));
    expect((await stage.run('complete-migration', through('guarded'))).exitCode).toBe(0);
  });
});

async function startedStage(): Promise<Stage> {
  const stage = await openStage();
  await stage.source.client().mset('a', '1', 'b', '2');
  expect((await stage.run('start-migration')).exitCode).toBe(0);
  return stage;
}

async function expectRefusal(stage: Stage, code: string, changes?: PhaseChanges) {
  const settings = await readSettings(stage.source);
  const refused = await stage.run('complete-migration', changes);
  expect({ code: refused.outputs['error-code'], log: refused.log }).toMatchObject({ code });
  expect(refused.exitCode).toBe(1);
  expect(refused.summary).toContain(code);
  expect(await readSettings(stage.source)).toBe(settings);
  await stage.source.client().incr('writes still go on');
  return refused;
}
