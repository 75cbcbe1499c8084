import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Reporter, TestCase, TestModule } from 'vitest/node';
import { ROOT } from './tool.ts';

/** Where a run leaves its verdict for `scripts/check.ts`. */
export const VERDICT_FILE = path.join(ROOT, '.cache/test-verdict.json');

/** What a run of the tests came to; `unexplained` counts the skips without a reason. */
export type TestVerdict = {
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly { readonly suite: string; readonly tests: number; readonly reason: string }[];
  readonly unexplained: number;
};

/** Leaves the verdict of a vitest run in {@link VERDICT_FILE}. */
export default class VerdictReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const verdict = judge(modules, unhandledErrors.length);
    mkdirSync(path.dirname(VERDICT_FILE), { recursive: true });
    writeFileSync(VERDICT_FILE, JSON.stringify(verdict));
  }
}

function judge(modules: readonly TestModule[], unhandledErrors: number): TestVerdict {
  const failed: string[] = [];
  const skipped = new Map<string, { suite: string; tests: number; reason: string }>();
  let passed = 0;
  let unexplained = 0;
  for (const module of modules) {
    // A file that cannot be loaded, or whose hooks fail, has errors of its own and perhaps no tests at all.
    if (moduleErrors(module) > 0) failed.push(module.relativeModuleId);
    for (const test of module.children.allTests()) {
      const result = test.result();
      if (result.state === 'passed') passed += 1;
      if (result.state === 'failed') failed.push(`${module.relativeModuleId} > ${test.fullName}`);
      if (result.state !== 'skipped' && result.state !== 'pending') continue;
      const reason = reasonOf(test);
      if (reason === undefined) unexplained += 1;
      const key = `${module.relativeModuleId}\n${reason}`;
      const group = skipped.get(key) ?? {
        suite: module.relativeModuleId,
        tests: 0,
        reason: reason ?? 'no reason given',
      };
      skipped.set(key, { ...group, tests: group.tests + 1 });
    }
  }
  if (unhandledErrors > 0) failed.push(`${unhandledErrors} errors outside of any test`);
  return { passed, failed, skipped: [...skipped.values()], unexplained };
}

function moduleErrors(module: TestModule): number {
  const suites = [...module.children.allSuites()];
  return module.errors().length + suites.reduce((sum, suite) => sum + suite.errors().length, 0);
}

/** The note of `context.skip(reason)`; a test that hooks or files before it kept from running has the file's error. */
function reasonOf(test: TestCase): string | undefined {
  const result = test.result();
  if (result.state === 'skipped' && result.note !== undefined) return result.note;
  return moduleErrors(test.module) > 0 ? 'its file failed' : undefined;
}
