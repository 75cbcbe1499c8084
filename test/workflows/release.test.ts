import { execFileSync, spawnSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { readText, readWorkflow, stringsIn } from './workflow-files.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

describe('release.yml', () => {
  const { jobs } = readWorkflow('.github/workflows/release.yml');

  test('releases nothing before everything is checked, and only then may write', () => {
    expect(jobs.release?.needs).toEqual(['check']);
    expect(jobs.check?.permissions).toEqual({ contents: 'read' });
    const commands = jobs.check?.steps.map(({ run = '' }) => run).join('\n') ?? '';
    for (const command of ['npm test', 'git diff --exit-code -- dist', 'merge-base --is-ancestor'])
      expect(commands).toContain(command);
  });

  test('attests both bundles, and lays the checksum of the agent beside the templates that take it', () => {
    const steps = jobs.release?.steps ?? [];
    const attestation = steps.find(({ uses }) => uses?.startsWith('actions/attest-build-provenance@'));
    expect(attestation?.with['subject-path']).toBe('dist/*/index.js');
    expect(stringsIn(steps).join('\n')).toContain('agent.sha256 templates/identity.yaml templates/host.yaml');
  });

  test.each([
    ['v1.2.3', 'v1'],
    ['v10.0.0', 'v10'],
  ])('of %s moves the tag %s', (tag, major) => {
    const step = jobs.release?.steps.find(({ name }) => name === 'Move the tag of the major version');
    const script = `gh() { echo "$@"; }\n${step?.run}`;
    const env = { TAG: tag, COMMIT: 'abc', REPOSITORY: 'acme/valkey-migrate', PATH: process.env.PATH };
    expect(execFileSync('bash', ['-euc', script], { env, encoding: 'utf8' })).toBe(
      `api --method PATCH repos/acme/valkey-migrate/git/refs/tags/${major} -f sha=abc -F force=true\n`,
    );
  });

  test('the changelog has a section for the version of package.json, and none for one that is not there', () => {
    const { version } = z.object({ version: z.string() }).parse(JSON.parse(readText('package.json')));
    const notes = (tag: string) =>
      spawnSync(process.execPath, [path.join(ROOT, 'scripts/release-notes.mjs'), tag], { encoding: 'utf8' });
    expect(notes(`v${version}`)).toMatchObject({ status: 0, stdout: expect.stringContaining('- ') });
    expect(notes('v0.1')).toMatchObject({ status: 1, stderr: expect.stringContaining('0.1') });
    expect(notes('v99.0.0').status).toBe(1);
    expect(notes('').status).toBe(1);
  });
});

describe('the smoke test for a second repository', () => {
  const text = readText('examples/smoke-test/.github/workflows/smoke-test.yml');
  const smoke = z
    .object({
      jobs: z.object({
        migrate: z.object({
          uses: z.string(),
          with: z.record(z.string(), z.unknown()),
          permissions: z.unknown(),
        }),
      }),
    })
    .parse(parse(text));
  const { on } = readWorkflow('.github/workflows/migrate.yml');

  test('gives the reusable workflow inputs that it has, and all that it needs', () => {
    const declared = on.workflow_call?.inputs ?? {};
    const given = Object.keys(smoke.jobs.migrate.with);
    expect(given.filter((input) => !(input in declared))).toEqual([]);
    const required = Object.entries(declared).filter(([, { required: isRequired }]) => isRequired === true);
    expect(given).toEqual(expect.arrayContaining(required.map(([input]) => input)));
    expect(smoke.jobs.migrate.permissions).toEqual({
      'id-token': 'write',
      contents: 'read',
      actions: 'read',
    });
  });

  test('looks at outputs that it has', () => {
    const outputs = z
      .object({ on: z.object({ workflow_call: z.object({ outputs: z.record(z.string(), z.unknown()) }) }) })
      .parse(parse(readText('.github/workflows/migrate.yml'))).on.workflow_call.outputs;
    const looked = [...text.matchAll(/needs\.migrate\.outputs\.([\w-]+)/g)].map(([, name]) => name ?? '');
    expect(looked.length).toBeGreaterThan(0);
    for (const name of looked) expect(outputs).toHaveProperty(name);
  });
});
