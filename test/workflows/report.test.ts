import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { readWorkflow } from './workflow-files.ts';

const STEP = readWorkflow('.github/workflows/migrate.yml').jobs.report?.steps.at(-1);
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

const OUTPUTS = 'route replica\nsnapshot-name \ndifferences 0\nengine-version valkey 8.2\n';

test('the report of a migration that went through says passed and shows what each phase said', () => {
  const { output, summary } = runReport({
    phases: 'preflight success \nbackup success \n',
    outputs: OUTPUTS,
    reports: { 'g.preflight.1': '### All is well\n', 'g.backup.1': '### Snapshot\n' },
  });
  expect(output).toBe('result=passed\n');
  expect(summary).toBe(
    [
      '## Migration of `sessions`: passed',
      '',
      '| phase | job | error |',
      '| --- | --- | --- |',
      '| preflight | success |  |',
      '| backup | success |  |',
      '',
      '| output | value |',
      '| --- | --- |',
      '| route | `replica` |',
      '| differences | `0` |',
      '| engine-version | `valkey 8.2` |',
      '',
      '<details><summary>g.backup.1</summary>',
      '',
      '### Snapshot',
      '',
      '</details>',
      '',
      '<details><summary>g.preflight.1</summary>',
      '',
      '### All is well',
      '',
      '</details>',
      '',
    ].join('\n'),
  );
});

test('a failed phase and those that never ran make the migration failed, with the code of the error', () => {
  const { output, summary } = runReport({
    phases: 'preflight success \nbackup failure snapshot-failed\nverify skipped \n',
    outputs: '',
    reports: {},
  });
  expect(output).toBe('result=failed\n');
  expect(summary).toContain('| backup | failure | snapshot-failed |\n| verify | skipped |  |\n');
});

test('a report that is too large for a step summary stays in its artifact', () => {
  const { summary } = runReport({
    phases: 'verify success \n',
    outputs: '',
    reports: { large: 'x'.repeat(150_001), small: 'y\n' },
  });
  expect(summary).not.toContain('xxx');
  expect(summary).toContain('<summary>small</summary>');
});

test('names of phases and outputs in the table are those of the jobs', () => {
  const { jobs } = readWorkflow('.github/workflows/migrate.yml');
  for (const [, job, output] of String(STEP?.env.PHASES).matchAll(/needs\.([\w-]+)\.outputs\.([\w-]+)/g))
    expect(jobs[job ?? '']?.outputs).toHaveProperty(output ?? '');
  for (const [, name, job, output] of String(STEP?.env.OUTPUTS).matchAll(
    /^([\w-]+) \$\{\{ needs\.([\w-]+)\.outputs\.([\w-]+) }}$/gm,
  )) {
    expect(output).toBe(name);
    expect(jobs[job ?? '']?.outputs).toHaveProperty(output ?? '');
  }
});

function runReport({
  phases,
  outputs,
  reports,
}: {
  phases: string;
  outputs: string;
  reports: Record<string, string>;
}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'valkey-migrate-report-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(reports)) {
    mkdirSync(path.join(folder, 'reports', name), { recursive: true });
    writeFileSync(path.join(folder, 'reports', name, 'summary.md'), text);
  }
  const files = {
    GITHUB_OUTPUT: path.join(folder, 'output'),
    GITHUB_STEP_SUMMARY: path.join(folder, 'summary'),
  };
  // As the runner starts a script: bash -e, and pipefail.
  execFileSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', STEP?.run ?? ''], {
    env: {
      PATH: process.env.PATH,
      ...files,
      GROUP: 'sessions',
      REPORTS: path.join(folder, 'reports'),
      PHASES: phases,
      OUTPUTS: outputs,
    },
  });
  return {
    output: readFileSync(files.GITHUB_OUTPUT, 'utf8'),
    summary: readFileSync(files.GITHUB_STEP_SUMMARY, 'utf8'),
  };
}
