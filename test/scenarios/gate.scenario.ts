import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { findServer } from '../servers/start.ts';
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

  it('refuses when another verification has run since the one that was reviewed', async () => {
    await using stage = await startedStage();
    const first = (await stage.run('verify')).outputs['verification-id'] ?? '';
    const second = (await stage.run('verify')).outputs['verification-id'] ?? '';
    const reviewed = (id: string): PhaseChanges => ({ inputs: { 'reviewed-verification-id': id } });
    await expectRefusal(stage, 'verification-superseded', reviewed(first));
    expect((await stage.run('complete-migration', reviewed(second))).exitCode).toBe(0);
  });

  it('refuses a verification that a new copy made void', async () => {
    await using stage = await startedStage();
    expect((await stage.run('verify')).exitCode).toBe(0);
    expect((await stage.run('rollback', { inputs: { 'flush-target': 'true' } })).exitCode).toBe(0);
    expect((await stage.run('start-migration')).exitCode).toBe(0);
    await expectRefusal(stage, 'verification-missing');
  });

  it('refuses to hand over without the keys of a module, unless it is told to', async () => {
    const redis8 = await findServer({ kind: 'redis', version: '8.0' });
    await using stage = await openStage({ source: redis8 });
    const source = stage.source.client();
    await source.mset('a', '1', 'b', '2');
    await source.call('VADD', 'vectors', 'VALUES', 3, 1, 2, 3, 'element');
    const started = await stage.run('start-migration');
    expect({ exitCode: started.exitCode, log: started.log }).toMatchObject({ exitCode: 0 });
    expect(started.summary).toContain('⚠️ Left out: 1 key.');
    expect(started.summary).toContain('There are keys that no other server can take');
    await source.call('VADD', 'vectors', 'VALUES', 3, 3, 2, 1, 'another element');

    const verified = await stage.run('verify', { inputs: { 'key-display': 'shown' } });
    expect(verified).toMatchObject({ exitCode: 0, outputs: { differences: '0', skipped: '1' } });
    expect(verified.summary).toContain(
      '**Equal.** 2 keys compared (of all keys, in both directions), 0 differences; ⚠️ 1 key skipped',
    );
    expect(verified.summary).toContain('| keys | module vectorset | 1 | `db0 vectors` |');
    const refused = await expectRefusal(stage, 'data-skipped');
    expect(refused.summary).toContain('1 keys (module vectorset)');

    const allowed = await stage.run('complete-migration', { inputs: { 'allow-skipped': 'true' } });
    expect({ exitCode: allowed.exitCode, log: allowed.log }).toMatchObject({ exitCode: 0 });
    expect(allowed.outputs.skipped).toBe('1');
    expect(allowed.summary).toContain('1 key left out');
    expect(await stage.group.node.client().exists('a', 'b', 'vectors')).toBe(2);
  });

  it('refuses when a key of a module came up after the verification', async () => {
    const redis8 = await findServer({ kind: 'redis', version: '8.0' });
    await using stage = await openStage({ source: redis8 });
    await stage.source.client().set('a', '1');
    expect((await stage.run('start-migration')).exitCode).toBe(0);
    expect((await stage.run('verify')).exitCode).toBe(0);
    await stage.source.client().call('VADD', 'vectors', 'VALUES', 3, 1, 2, 3, 'element');
    await expectRefusal(stage, 'data-skipped');
  });

  it('needs the input for hash fields that expire in every phase, and asks no more than that', async () => {
    const [source, target] = await Promise.all([
      findServer({ kind: 'redis', version: '8.0' }),
      findServer({ kind: 'valkey', version: '8' }),
    ]);
    await using stage = await openStage({ source, target });
    await stage.source.client().hset('h', 'f', 'v');
    await stage.source.client().call('HPEXPIRE', 'h', 3_600_000, 'FIELDS', 1, 'f');
    const refused = await stage.run('start-migration');
    expect(refused.outputs['error-code']).toBe('source-data-unsupported');
    expect(refused.summary).toContain('hash-field-ttl: keep-values');
    const inputs = { 'hash-field-ttl': 'keep-values' };
    expect((await stage.run('start-migration', { inputs })).exitCode).toBe(0);
    expect((await stage.run('verify')).outputs['error-code']).toBe('verification-different');
    expect((await stage.run('verify', { inputs })).outputs).toMatchObject({ differences: '0', skipped: '1' });
    await expectRefusal(stage, 'verification-different');
    const completed = await stage.run('complete-migration', { inputs });
    expect({ exitCode: completed.exitCode, log: completed.log }).toMatchObject({ exitCode: 0 });
    expect(await stage.group.node.client().hgetall('h')).toEqual({ f: 'v' });
  });

  it('refuses a gate that stands open, and goes through one with reviewers', async () => {
    await using stage = await startedStage();
    await using github = await startGithubStub({ guarded: 2, open: 0 }, ['octocat']);
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
    const done = await stage.run('complete-migration', through('guarded'));
    expect(done.exitCode).toBe(0);
    expect(done.report).toMatchObject({
      proof: {
        approvals: [{ by: 'octocat', environments: ['guarded'] }],
        agentSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
      report: { verification: { differences: { total: 0 } }, fence: 'min-replicas-to-write 1000000' },
    });
    expect(done.summary).toContain('| Approved by | `octocat` for `guarded` |');
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
