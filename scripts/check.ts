import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { ROOT, runNode, runTool, type ToolResult } from './tool.ts';
import { VERDICT_FILE } from './verdict-reporter.ts';

// npm test: everything that has to be true before a change goes in. npm run check: the same without servers.
// Arguments after `test` choose test files, as vitest takes them.

/** The suites that need no server and no bundle. */
const STATIC_SUITES = ['test/architecture', 'test/contract', 'test/core', 'test/docs', 'test/workflows'];

/** The most failed tests that are named again in the last lines. */
const FAILED_LISTED_MAX = 30;

const CHECKS: readonly { readonly name: string; readonly run: () => ToolResult }[] = [
  { name: 'types', run: () => runTool('tsc', ['--noEmit']) },
  { name: 'lint and format', run: () => runTool('biome', ['check', '--error-on-warnings', '.']) },
  { name: 'dist is fresh', run: () => runNode(['scripts/build.ts', '--check']) },
];

const verdictSchema = z.object({
  passed: z.number(),
  failed: z.array(z.string()),
  skipped: z.array(z.object({ suite: z.string(), tests: z.number(), reason: z.string() })),
  unexplained: z.number(),
});

const [mode, ...filters] = process.argv.slice(2);
if (mode !== 'test' && mode !== 'static') throw new Error('Usage: scripts/check.ts test|static [test files]');
process.exitCode = await check(mode === 'test' ? filters : STATIC_SUITES);

/** Runs all checks and then the tests, also after a failure, and returns the exit code. */
async function check(suites: readonly string[]): Promise<number> {
  const failedChecks = CHECKS.filter(({ name, run }) => {
    const startedAtMs = Date.now();
    const { code, output } = run();
    const seconds = ((Date.now() - startedAtMs) / 1000).toFixed(1);
    console.log(
      `${code === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)${code === 0 ? '' : `\n${output}`}`,
    );
    return code !== 0;
  }).map(({ name }) => name);

  const tests = await runTests(suites);
  const failed = [...failedChecks, ...tests.failed];
  for (const name of failed.slice(0, FAILED_LISTED_MAX)) console.log(`failed: ${name}`);
  if (failed.length > FAILED_LISTED_MAX)
    console.log(`failed: ${failed.length - FAILED_LISTED_MAX} more, see above`);
  for (const { suite, tests: count, reason } of tests.skipped)
    console.log(`skipped: ${suite}, ${count} ${count === 1 ? 'test' : 'tests'}: ${reason}`);

  const passed = CHECKS.length - failedChecks.length + tests.passed;
  const skipped = tests.skipped.reduce((sum, group) => sum + group.tests, 0);
  console.log(
    failed.length === 0 ? 'Everything that was checked holds.' : 'Something does not hold: see above.',
  );
  console.log(`${passed} passed, ${failed.length} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return failed.length === 0 ? 0 : 1;
}

/** Runs vitest in a process of its own and reads the verdict that its reporter leaves. */
async function runTests(suites: readonly string[]): Promise<z.infer<typeof verdictSchema>> {
  await rm(VERDICT_FILE, { force: true });
  const reporter = path.join(ROOT, 'scripts/verdict-reporter.ts');
  const { code } = runTool('vitest', ['run', '--reporter=default', `--reporter=${reporter}`, ...suites], {
    isShown: true,
  });
  const text = await readFile(VERDICT_FILE, 'utf8').catch(() => undefined);
  if (text === undefined)
    return {
      passed: 0,
      failed: [`vitest ended with ${code} and left no verdict`],
      skipped: [],
      unexplained: 0,
    };
  const verdict = verdictSchema.parse(JSON.parse(text));
  const failed = [...verdict.failed];
  if (verdict.unexplained > 0) failed.push(`${verdict.unexplained} tests are skipped without a reason`);
  if (code !== 0 && failed.length === 0) failed.push(`vitest ended with ${code}`);
  return { ...verdict, failed };
}
