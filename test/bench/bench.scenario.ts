import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../scripts/tool.ts';
import { benchReportSchema } from './report.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'bench-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe('npm run bench', () => {
  it('measures copy, live stream, catching up and comparing, and leaves its figures for programs', async () => {
    const json = join(directory, 'bench.json');
    const small = ['--scale', '0.005', '--rounds', '1', '--sets', 'A,C', '--noise-repeats', '0'];
    const { code, output } = await bench(...small, '--json', json);
    expect(code, output).toBe(0);
    const report = benchReportSchema.parse(JSON.parse(await readFile(json, 'utf8')));
    expect(report.failures).toEqual([]);
    expect(report.copy.map(({ set, contestant, difference }) => [set, contestant, difference])).toEqual([
      ['A', 'native', undefined],
      ['A', 'ours', undefined],
      ['A', 'ours-untuned', undefined],
      ['C', 'native', undefined],
      ['C', 'ours', undefined],
      ['C', 'ours-untuned', undefined],
    ]);
    expect(report.live.map(({ contestant }) => contestant)).toEqual(['none', 'native', 'raw', 'ours']);
    expect(report.catchUp.map(({ contestant }) => contestant)).toEqual(['native', 'raw', 'ours']);
    expect(report.verify.map(({ set, contestant }) => [set, contestant])).toEqual([
      ['A', 'ours'],
      ['C', 'ours'],
    ]);
    for (const run of [...report.live, ...report.catchUp]) expect(run.difference).toBeUndefined();
    expect(report.verdicts.map(({ name }) => name)).toContain('copy A: time against native');
    expect(output).toMatch(/time ours \/ native +\d/);
    expect(output).toMatch(/time ours-untuned \/ native +\d/);
  }, 180_000);

  it('says what it does not understand', async () => {
    const { code, output } = await bench('--sets', 'A,X');
    expect(code).toBe(1);
    expect(output).toContain('sets');
  });
});

function bench(...args: string[]): Promise<{ code: unknown; output: string }> {
  return new Promise((resolve) => {
    // A peer that happens to be named in the environment has no part in what is tested here.
    const env = { ...process.env, REDIS_SHAKE: '', FULL_CHECK: '', SOURCE_SERVER: '' };
    execFile(
      process.execPath,
      [join(ROOT, 'scripts/bench.ts'), ...args],
      { env },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : error.code, output: stdout + stderr });
      },
    );
  });
}
