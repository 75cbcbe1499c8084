import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { brokenRules, type SourceFile } from './source-rules.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const DEPENDENCIES = Object.keys(
  z
    .object({ dependencies: z.record(z.string(), z.string()) })
    .parse(JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'))).dependencies,
);

test('the sources keep to the arrows and the manners of ARCHITECTURE.md', () => {
  const files = readdirSync(path.join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => ({ path: `src/${file}`, text: readFileSync(path.join(ROOT, 'src', file), 'utf8') }));
  expect(files.length).toBeGreaterThan(10);
  expect(files.flatMap((file) => brokenRules(file, DEPENDENCIES))).toEqual([]);
});

describe('the rules see', () => {
  const cases: readonly (readonly [string, SourceFile])[] = [
    [
      'the action in the agent',
      { path: 'src/agent/job/x.ts', text: "import { a } from '../../action/inputs.ts';" },
    ],
    [
      'the agent in the action',
      { path: 'src/action/x.ts', text: "import type { a } from '../agent/job/b.ts';" },
    ],
    ['a dynamic import', { path: 'src/action/x.ts', text: "const a = await import('../agent/job/b.ts');" }],
    ['an import for its effects', { path: 'src/contract/x.ts', text: "import '../agent/main.ts';" }],
    [
      'the contract in the core',
      { path: 'src/core/x.ts', text: "import { a } from '../contract/version.ts';" },
    ],
    ['a package in the core', { path: 'src/core/x.ts', text: "import { z } from 'zod';" }],
    ['a wing in the contract', { path: 'src/contract/x.ts', text: "import { a } from '../action/a.ts';" }],
    [
      'the toolkit of GitHub in the agent',
      { path: 'src/agent/x.ts', text: "import { info } from '@actions/core';" },
    ],
    [
      'an AWS client beside its door',
      { path: 'src/action/phases/x.ts', text: "import { A } from '@aws-sdk/client-ssm';" },
    ],
    ['a Redis client on the runner', { path: 'src/action/x.ts', text: "import { Redis } from 'ioredis';" }],
    [
      'the sync in the verification',
      { path: 'src/agent/verify/x.ts', text: "import { a } from '../sync/a.ts';" },
    ],
    [
      'a test in the sources',
      { path: 'src/agent/x.ts', text: "import { a } from '../../test/servers/start.ts';" },
    ],
    ['a package that is not a dependency', { path: 'src/agent/x.ts', text: "import lodash from 'lodash';" }],
    ['an exit in a leaf', { path: 'src/agent/job/x.ts', text: 'process.exit(1);' }],
    ['an exit code in a leaf', { path: 'src/agent/job/x.ts', text: 'process.exitCode = 1;' }],
    ['the environment in a leaf', { path: 'src/action/x.ts', text: "const a = process.env['A'];" }],
    ['the arguments by name', { path: 'src/agent/x.ts', text: "import { argv } from 'node:process';" }],
    ['a barrel', { path: 'src/agent/sync/x.ts', text: "export { a } from './a.ts';" }],
    ['a barrel of everything', { path: 'src/agent/sync/x.ts', text: "export * from './a.ts';" }],
    ['a file without a subject', { path: 'src/agent/sync/utils.ts', text: '' }],
    ['a manager', { path: 'src/agent/job/job-manager.ts', text: '' }],
    ['camel case in a file name', { path: 'src/agent/job/jobState.ts', text: '' }],
  ];
  test.each(cases)('%s', (_, file) => {
    expect(brokenRules(file, DEPENDENCIES)).toHaveLength(1);
  });

  test('nothing in what is allowed', () => {
    const text = `
      // process.exit(1) and import { a } from '../action/a.ts' in a comment
      import { Redis } from 'ioredis';
      import path from 'node:path';
      import type { Job } from '../../contract/jobs.ts';
      import { a } from '../redis/a.ts';
      const node = [process.execPath, process.pid, process.versions];`;
    expect(brokenRules({ path: 'src/agent/sync/a.ts', text }, DEPENDENCIES)).toEqual([]);
    expect(
      brokenRules({ path: 'src/agent/main.ts', text: 'process.exit(process.argv.length);' }, []),
    ).toEqual([]);
  });
});
