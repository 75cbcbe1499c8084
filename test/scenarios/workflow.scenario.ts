import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { isReservedKey } from '../../src/agent/redis/reserved-key.ts';
import type { WorkflowRun } from '../runner/run-workflow.ts';
import { loadDataSet } from '../servers/data-set.ts';
import type { RecordedCall } from '../simulator/server.ts';
import type { Simulator } from '../simulator/start.ts';
import { digestData, readSettings, type Stage } from './stage.ts';
import {
  GUARDED,
  openWorkflowStage,
  REAL_CONFIGURE_AWS_CREDENTIALS,
  readWorkflowFile,
  type WorkflowStage,
} from './workflow-stage.ts';

const KEYS = 500;
const PASSWORD = 'p@ss/w%rd+';

describe('migrate.yml, run as it is', () => {
  it('changes nothing after verify without an approval, and with one goes from OIDC to its outputs', {
    timeout: 240_000,
  }, async () => {
    await using scene = await openWorkflowStage({ sourceConfig: { requirepass: PASSWORD } });
    const { stage, github } = scene;
    const inputs = { ...scene.inputs, 'source-password-from': 'env:SOURCE_PASSWORD' };
    const secrets = { SOURCE_PASSWORD: PASSWORD };
    await loadDataSet(stage.source.client(), { keys: KEYS, seed: 6 });
    const file = await readWorkflowFile('migrate.yml');
    const waiting = new AbortController();
    let verified: unknown;

    // Nobody answers, until the run is cancelled: GitHub itself gives up after 30 days.
    const unanswered = await scene.run(file, {
      inputs,
      secrets,
      cancel: waiting.signal,
      review: async (environment) => {
        expect(environment).toBe(GUARDED);
        verified = await lookAtServers(stage);
        await expectTrespassersToFail(scene);
        waiting.abort();
        return new Promise(() => {});
      },
    });
    expect(resultsOf(unanswered)).toEqual({ ...PASSED, 'complete-migration': 'cancelled' });
    expect(await lookAtServers(stage)).toEqual(verified);

    const rejected = await scene.run(file, {
      inputs,
      secrets,
      previous: unanswered,
      review: () => Promise.resolve('rejected'),
    });
    expect(resultsOf(rejected)).toEqual({ ...PASSED, 'complete-migration': 'failure' });
    expect(rejected.outputs).toMatchObject({ result: 'failed', 'primary-endpoint': '' });
    expect(await lookAtServers(stage)).toEqual(verified);

    const approved = await scene.run(file, {
      inputs,
      secrets,
      previous: rejected,
      review: (environment) => {
        github.approve('octocat', environment);
        return Promise.resolve('approved');
      },
    });
    expect({ results: resultsOf(approved), log: approved.log }).toMatchObject({ results: PASSED });
    expect(approved.outputs).toMatchObject({
      result: 'passed',
      route: 'replica',
      differences: '0',
      'primary-endpoint': `127.0.0.1:${stage.group.node.port}`,
      'write-pause-ms': expect.stringMatching(/^\d+$/),
    });
    const report = approved.jobs.report?.summary ?? '';
    expect(report).toContain('## Migration of `sessions`: passed');
    expect(report).toContain(`| Approved by | \`octocat\` for \`${GUARDED}\` |`);
    expect(await lookAtServers(stage)).not.toEqual(verified);
    expect([...unanswered.log, ...approved.log].join('\n')).not.toContain(PASSWORD);
    const byJob = rolesOf(stage, 'valkey-migrate-1');
    expect(byJob).toEqual(['read', 'change', 'change', 'read', 'cutover']);
  });
});

/** What every job of a good run ends with. */
const PASSED = {
  preflight: 'success',
  backup: 'success',
  'start-migration': 'success',
  verify: 'success',
  'complete-migration': 'success',
  report: 'success',
};

function resultsOf({ jobs }: WorkflowRun): Record<string, string> {
  return Object.fromEntries(Object.entries(jobs).map(([id, { result }]) => [id, result]));
}

/**
 * Data of both sides, settings of the source, and what the target is: an ElastiCache shows no settings. The key of the
 * sync is left out, which says how far it has come.
 */
async function lookAtServers({ source, group }: Stage): Promise<unknown> {
  const [role] = await group.node.client().role();
  return {
    source: [await digestData(source, isReservedKey), await readSettings(source)],
    target: [await digestData(group.node, isReservedKey), role, group.status],
  };
}

/** The roles that were assumed in sessions of this name, in their order. */
function rolesOf({ simulator }: Stage, session: string): string[] {
  return exchanges(simulator)
    .filter(({ outcome, input }) => outcome === 'ok' && input.RoleSessionName === session)
    .map(({ input }) => String(input.RoleArn).replace(/^.*\//, ''));
}

function exchanges({ calls }: Simulator): RecordedCall[] {
  return calls.filter(({ operation }) => operation === 'AssumeRoleWithWebIdentity');
}

/** A job gets the role of the cutover in its environment alone, and with the role of preflight it cuts nothing over. */
async function expectTrespassersToFail(scene: WorkflowStage): Promise<void> {
  const { simulator } = scene.stage;
  const start = exchanges(simulator).length;
  const file = { name: '.github/workflows/migrate.yml', content: trespass(scene) };
  const run = await scene.run(file, { inputs: {} });
  const assumed = Object.entries(run.jobs).map(([id, { steps }]) => [id, steps.assume?.outcome]);
  expect({ assumed: Object.fromEntries(assumed), log: run.log }).toMatchObject({
    assumed: {
      branch: 'failure',
      'open-environment': 'failure',
      'without-permission': 'failure',
      guarded: 'success',
      preflight: 'success',
    },
  });
  const outcomes = exchanges(simulator).map(({ outcome }) => outcome);
  expect(outcomes.slice(start)).toEqual(['AccessDenied', 'AccessDenied', 'ok', 'ok']);
  expect(run.jobs.preflight?.outputs).toEqual({ 'error-code': 'host-access-denied' });
}

/** What somebody may try who writes another workflow in the place of migrate.yml. */
function trespass({ arns, inputs }: WorkflowStage): string {
  const assume = (role: string) => `
        id: assume
        uses: aws-actions/configure-aws-credentials@v6
        with: { role-to-assume: '${role}', aws-region: ${inputs['aws-region']}, disable-retry: true }`;
  const job = (head: string, role: string) => `
    runs-on: ubuntu-24.04
    if: always()
    ${head}
    steps:
      - name: Assume the role${assume(role)}`;
  const identity = 'permissions: { id-token: write, contents: read }';
  const phaseInputs = Object.entries({
    phase: 'complete-migration',
    'replication-group-id': inputs['replication-group-id'],
    'instance-id': inputs['instance-id'],
    'state-directory': inputs['state-directory'],
    'source-endpoint': inputs['source-endpoint'],
    'ssm-document': `${inputs['ssm-document-prefix']}-read`,
    'allow-unprotected-environment': 'true',
  });
  return `
on: workflow_call
permissions: {}
jobs:
  branch:${job(identity, arns.cutover)}
  open-environment:${job(`${identity}\n    environment: open`, arns.cutover)}
  without-permission:${job('permissions: {}', arns.cutover)}
  guarded:${job(`${identity}\n    environment: ${GUARDED}`, arns.cutover)}
  preflight:${job(`${identity}\n    outputs: { error-code: '\${{ steps.phase.outputs.error-code }}' }`, arns.read)}
      - name: Check out the action
        uses: actions/checkout@v7
        with:
          repository: \${{ job.workflow_repository }}
          ref: \${{ job.workflow_sha }}
          path: .valkey-migrate
      - name: Cut over
        id: phase
        uses: ./.valkey-migrate
        with: ${JSON.stringify(Object.fromEntries(phaseInputs))}
`;
}

it('assumes its roles by the real aws-actions/configure-aws-credentials', async (context) => {
  context.skip(
    REAL_CONFIGURE_AWS_CREDENTIALS === undefined,
    'CONFIGURE_AWS_CREDENTIALS names no checkout of aws-actions/configure-aws-credentials: a stand-in assumed the roles',
  );
  const { content } = await readWorkflowFile('migrate.yml');
  const pinned = /aws-actions\/configure-aws-credentials@\w+ # v(\S+)/.exec(content)?.[1];
  const packageFile = await readFile(join(REAL_CONFIGURE_AWS_CREDENTIALS ?? '', 'package.json'), 'utf8');
  expect(JSON.parse(packageFile)).toMatchObject({ name: 'configure-aws-credentials', version: pinned });
});
