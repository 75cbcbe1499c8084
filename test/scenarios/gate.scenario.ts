import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { startGithubStub } from '../simulator/github-stub.ts';
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

  it('shows as many differences as fit, however many there are, and counts the rest', async () => {
    await using stage = await startedStage();
    const pipeline = stage.group.node.client().pipeline();
    for (let index = 0; index < 1500; index += 1) pipeline.set(randomBytes(60).toString('base64'), 'extra');
    await pipeline.exec();
    const verified = await stage.run('verify', { inputs: { 'key-display': 'shown' } });
    expect(verified.outputs.differences).toBe('1500');
    // The report is larger than what Systems Manager gives back of one command, so it came in pages.
    expect(JSON.stringify(verified.report).length).toBeGreaterThan(100_000);
    expect(verified.report).toMatchObject({ report: { differences: { total: 1500, cut: 500 } } });
    expect(Buffer.byteLength(verified.summary)).toBeLessThan(1024 * 1024);
    expect(verified.annotations.length).toBeLessThanOrEqual(30);
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
      inputs: {
        'cutover-environment': environment,
        'allow-unprotected-environment': 'false',
        'github-token': 'token',
      },
      env: { GITHUB_API_URL: github.url },
    });
    await expectRefusal(stage, 'environment-unprotected', through('open'));
    await expectRefusal(stage, 'environment-unprotected', through('missing'));
    await expectRefusal(stage, 'environment-unprotected', through(''));
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
