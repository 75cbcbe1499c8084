import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findServer, type RunningServer, sourceServer, startServer, targetServer } from '../servers/start.ts';
import { createTlsFiles } from '../servers/tls.ts';

const AGENT = join(import.meta.dirname, '..', '..', 'dist', 'agent', 'index.js');

let source: RunningServer;
let target: RunningServer;
let state: string;
beforeAll(async () => {
  source = await startServer({ server: await sourceServer() });
  target = await startServer({ server: await targetServer() });
  state = await mkdtemp(join(tmpdir(), 'agent-'));
});
afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  await rm(state, { recursive: true, force: true });
});

describe('the agent from a shell', () => {
  it('explains itself', async () => {
    const { status, stdout } = await agent('help');
    expect(status).toBe(0);
    expect(stdout).toContain('preflight');
  });

  it('looks at both servers', async () => {
    const { status, stdout } = await agent('preflight', ...pair());
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kind: 'preflight', route: 'replica' });
  });

  it('ends a verification with 0 for equal, 1 for different and 2 for could not tell', async () => {
    await source.client().set('key', 'value');
    await target.client().set('key', 'value');
    const equal = await agent('verify', '--json', ...pair());
    expect(equal).toMatchObject({ status: 0 });
    expect(JSON.parse(equal.stdout)).toMatchObject({ kind: 'verify', passed: true, keysCompared: 1 });
    await target.client().set('key', 'other');
    const told = await agent('verify', ...pair());
    expect(told.status).toBe(1);
    expect(told.stdout).toMatch(/^DIFFERENT: 1 keys compared in both directions, 1 differences\n/);
    expect(told.stdout).toContain('db0 string key: value: first difference at byte 0');
    const different = await agent('verify', '--json', ...pair());
    expect(different.status).toBe(1);
    expect(JSON.parse(different.stdout)).toMatchObject({
      differences: { listed: [{ key: 'key', kind: 'value' }] },
    });
    const unknown = await agent('verify', '--source', '127.0.0.1:1', '--target', `127.0.0.1:${target.port}`);
    expect(unknown.status).toBe(2);
    expect(unknown.stderr).toContain('source-unreachable');
    await target.client().del('key');
  });

  it('verifies over TLS as a user of its own, with the password from a file or from the environment', async () => {
    await using tls = await createTlsFiles();
    const config = { user: 'reader on >a-secret ~* &* +@all -@dangerous -@write +info' };
    await using from = await startServer({ server: await sourceServer(), config, tls });
    await using to = await startServer({ server: await targetServer(), config, tls });
    await from.client().set('key', 'v');
    const file = join(state, 'password');
    await writeFile(file, 'a-secret\n');
    const ends = (['source', 'target'] as const).flatMap((side) => [
      `--${side}=127.0.0.1:${(side === 'source' ? from : to).tlsPort}`,
      `--${side}-username=reader`,
      `--${side}-tls`,
      `--${side}-ca-file=${tls.ca}`,
    ]);
    const passwords = [
      '--source-password-from',
      `file:${file}`,
      '--target-password-from',
      'env:TARGET_SECRET',
    ];
    process.env.TARGET_SECRET = 'a-secret';
    const different = await agent('verify', ...ends, ...passwords, '--json');
    expect({ status: different.status, stderr: different.status === 1 ? '' : different.stderr }).toEqual({
      status: 1,
      stderr: '',
    });
    await to.client().set('key', 'v');
    expect(await agent('verify', ...ends, ...passwords)).toMatchObject({ status: 0 });
    process.env.TARGET_SECRET = 'another';
    const denied = await agent('verify', ...ends, ...passwords);
    expect(denied).toMatchObject({ status: 2, stdout: '' });
    expect(denied.stderr).toContain('target-auth-failed');
    expect(denied.stderr).not.toContain('another');
  });

  it('repairs what differs when told to, and removes what is extra only when told that', async () => {
    await source.client().flushall();
    await source.client().set('lost', 'value');
    await target.client().set('extra', 'value');
    const kept = await agent('verify', ...pair(), '--repair', 'differences');
    expect(kept.status).toBe(1);
    expect(kept.stdout).toContain('1 differences');
    expect(await target.client().get('lost')).toBe('value');
    const repaired = await agent('verify', ...pair(), '--repair', 'differences-and-extras');
    expect(repaired.status).toBe(0);
    expect(repaired.stdout).toMatch(/^EQUAL/);
    expect(await target.client().exists('extra')).toBe(0);
    await source.client().flushall();
    await target.client().flushall();
  });

  it('ends a verification that is stopped with 2: it could not tell', async () => {
    await source.client().eval("for i = 1, 200000 do redis.call('SET', 'many:' .. i, i) end", 0);
    const verifying = agent('verify', ...pair());
    await expect
      .poll(async () => (await agent('status', '--job', 'verify')).stdout, { timeout: 30_000 })
      .toContain('"running"');
    await agent('stop', '--job', 'verify');
    expect(await verifying).toMatchObject({ status: 2, stdout: '' });
    await source.client().flushall();
  });

  it('ends a verification with 1 when keys were skipped: they are not proved equal', async () => {
    await using redis8 = await startServer({ server: await findServer({ kind: 'redis', version: '8.0' }) });
    await redis8.client().call('VADD', 'vectors', 'VALUES', 3, 1, 2, 3, 'element');
    const endpoints = ['--source', `127.0.0.1:${redis8.port}`, '--target', `127.0.0.1:${target.port}`];
    const { status, stdout } = await agent('verify', '--json', ...endpoints);
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ passed: true, skipped: [{ sample: ['db0 vectors'] }] });
  });

  it('measures the way to a server', async () => {
    const { status, stdout } = await agent('ping', '--source', `127.0.0.1:${source.port}`, '--count', '10');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ side: 'source', count: 10 });
  });

  it('syncs in the foreground until it is stopped from another shell', async () => {
    await source.client().set('key', 'value');
    const syncing = agent('sync', ...pair());
    await expect.poll(() => target.client().get('key'), { timeout: 30_000 }).toBe('value');
    await expect
      .poll(async () => (await agent('status', '--job', 'sync')).stdout, { timeout: 30_000 })
      .toContain('"live"');
    await agent('stop', '--job', 'sync');
    expect((await syncing).status).toBe(0);
    expect(JSON.parse((await agent('status', '--job', 'sync')).stdout)).toMatchObject({
      jobs: [{ status: 'stopped' }],
    });
  });

  it.each([
    [['dance'], 'input-malformed'],
    [['verify'], 'input-missing'],
    [['verify', '--source', 'a b', '--target', 'x'], 'input-malformed'],
    [['verify', '--nonsense'], 'input-malformed'],
    [['verify', '--source', 'a:1', '--target', 'b:1', '--repair', 'all'], 'input-malformed'],
    [['sync', '--source', 'a', '--target', 'b', '--max-source-load', '1KB'], 'input-malformed'],
    [['sync', '--source', 'a', '--target', 'b', '--max-target-ops', '5'], 'input-malformed'],
    [['status', '--migration-id', '../etc'], 'input-malformed'],
  ])('refuses %j with %s', async (args, code) => {
    const { status, stderr } = await agent(...args);
    expect(status).toBe(2);
    expect(stderr).toContain(code);
  });
});

function pair(): string[] {
  return ['--source', `127.0.0.1:${source.port}`, '--target', `127.0.0.1:${target.port}`];
}

function agent(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  const command = [AGENT, ...args, '--state-directory', state];
  return new Promise((resolve) => {
    const child = execFile(process.execPath, command, { timeout: 60_000 }, (_error, stdout, stderr) =>
      resolve({ status: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}
