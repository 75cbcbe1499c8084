import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { startOidcStub } from '../simulator/oidc-stub.ts';
import { type RunRequest, runWorkflow } from './run-workflow.ts';
import { readWorkflow } from './workflow.ts';

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

it('runs jobs by their needs and conditions, and hands on what steps and jobs say', async () => {
  const run = await runText(
    `
on:
  workflow_call:
    inputs:
      greeting: { type: string, default: hello }
      count: { type: number, default: 2 }
    outputs:
      said: { value: "\${{ jobs.second.outputs.said }}" }
permissions: {}
env: { EVERYWHERE: "\${{ inputs.greeting }}-\${{ inputs.count }}" }
jobs:
  last:
    needs: [second, broken]
    if: always()
    runs-on: any
    outputs: { seen: "\${{ toJSON(needs.broken.result) }} \${{ needs.second.result }}" }
    steps: [{ run: "true" }]
  left-out: { needs: broken, runs-on: any, steps: [{ run: "true" }] }
  second:
    needs: first
    runs-on: any
    outputs: { said: "\${{ steps.say.outputs.said }}" }
    steps:
      - run: echo "FROM_BEFORE=\${{ needs.first.outputs.word }}" >> "$GITHUB_ENV"
      - id: say
        if: env.FROM_BEFORE == 'word'
        run: |
          printf 'said<<END\\n%s\\n%s\\nEND\\n' "$FROM_BEFORE" "$EVERYWHERE" >> "$GITHUB_OUTPUT"
          echo "::add-mask::hidden"; echo "not hidden"
  first:
    runs-on: any
    outputs: { word: "\${{ steps.word.outputs.word }}" }
    steps:
      - { id: fails, continue-on-error: true, run: exit 3 }
      - { id: word, run: 'echo word=word >> "$GITHUB_OUTPUT"' }
      - { id: skipped, if: failure(), run: exit 1 }
  broken:
    needs: first
    runs-on: any
    steps:
      - { id: fails, run: exit 1 }
      - { id: skipped, run: "true" }
      - { id: after, if: failure(), run: "true" }
`,
    { inputs: { greeting: 'good day' } },
  );
  expect(Object.entries(run.jobs).map(([id, { result }]) => `${id} ${result}`)).toEqual([
    'first success',
    'second success',
    'broken failure',
    'last success',
    'left-out skipped',
  ]);
  expect(run.conclusion).toBe('failure');
  expect(run.outputs).toEqual({ said: 'word\ngood day-2' });
  expect(run.jobs.last?.outputs).toEqual({ seen: '"failure" success' });
  expect(run.jobs.first?.steps).toMatchObject({
    fails: { outcome: 'failure', conclusion: 'success' },
    skipped: { outcome: 'skipped' },
  });
  expect(run.jobs.broken?.steps).toMatchObject({
    skipped: { outcome: 'skipped' },
    after: { outcome: 'success' },
  });
  expect(run.log).toContain('not ***');
});

it('gives a token to a job that has the permission, and runs again only what did not succeed', async () => {
  const text = `
on: workflow_call
permissions: {}
jobs:
  may:
    runs-on: any
    permissions: { id-token: write }
    steps: [{ run: 'test -n "$ACTIONS_ID_TOKEN_REQUEST_URL"' }]
  may-not: { runs-on: any, steps: [{ run: 'test -z "\${ACTIONS_ID_TOKEN_REQUEST_URL-}"' }] }
  guarded:
    needs: [may, may-not]
    environment: production
    runs-on: any
    outputs: { attempt: "\${{ github.run_attempt }}" }
    steps: [{ run: "true" }]
`;
  const rejected = await runText(text, { review: () => Promise.resolve('rejected') });
  expect(rejected.jobs).toMatchObject({ may: { result: 'success' }, 'may-not': { result: 'success' } });
  expect(rejected.jobs.guarded).toEqual({ result: 'failure', outputs: {}, steps: {}, summary: '' });
  const approved = await runText(text, { previous: rejected });
  expect(approved.jobs.guarded).toMatchObject({ result: 'success', outputs: { attempt: '2' } });
  expect(approved.jobs.may).toBe(rejected.jobs.may);
});

it.each([
  [
    'an input that is missing',
    'on: { workflow_call: { inputs: { a: { type: string, required: true } } } }',
    '',
  ],
  ['what it does not heed', 'on: workflow_call', 'strategy: { matrix: { a: [1, 2] } }'],
  ['what GitHub refuses', 'on: workflow_call', 'unknown: 1'],
])('refuses %s', async (_, on, more) => {
  const text = `${on}\njobs:\n  job:\n    runs-on: any\n    ${more}\n    steps: [{ run: "true" }]\n`;
  await expect(runText(text, {})).rejects.toThrow();
});

async function runText(content: string, changes: Partial<RunRequest>) {
  const directory = await mkdtemp(join(tmpdir(), 'run-workflow-'));
  folders.push(directory);
  await using oidc = await startOidcStub();
  return await runWorkflow({
    workflow: await readWorkflow({ name: 'test.yml', content }),
    source: { repository: 'acme/tool', sha: '0'.repeat(40), path: 'test.yml' },
    repository: 'acme/shop',
    trigger: 'workflow_call',
    inputs: {},
    review: () => Promise.resolve('approved'),
    oidc,
    issueToken: () => 'token',
    env: {},
    actions: {},
    checkout: directory,
    directory: join(directory, 'jobs'),
    artifacts: join(directory, 'artifacts'),
    ...changes,
  });
}
