import { describe, expect, test } from 'vitest';
import { ROLE_PHASES } from '../../scripts/identity/permissions.ts';
import { type Job, ownStep, readText, readWorkflow, WORKFLOW_FILES } from './workflow-files.ts';

const MIGRATE = readWorkflow('.github/workflows/migrate.yml');
const OPERATE = readWorkflow('.github/workflows/operate.yml');
/** Jobs that read the protection rules of the environment. */
const LOOKS_AT_THE_GATE = ['preflight', 'complete-migration'];
const PHASE_JOBS = [
  ...Object.entries(MIGRATE.jobs).filter(([, job]) => ownStep(job) !== undefined),
  ...Object.entries(OPERATE.jobs),
];

describe.each(WORKFLOW_FILES)('%s', (file) => {
  const workflow = readWorkflow(file);
  const jobs = Object.entries(workflow.jobs);

  test('nothing is permitted but what a job asks for', () => {
    expect(workflow.permissions).toEqual({});
    for (const [name, job] of jobs) expect(job.permissions, name).toBeDefined();
  });

  test('every permission has its reason beside it', () => {
    const grants = readText(file)
      .split('\n')
      .filter((line) => /^ {6}[a-z-]+: (read|write)\b/.test(line));
    expect(grants.length).toBeGreaterThan(0);
    for (const line of grants) expect(line).toMatch(/: (read|write) # \w+/);
  });

  test('every foreign action is pinned by a full commit, with its version beside it', () => {
    const uses = readText(file)
      .split('\n')
      .filter((line) => /^\s*(- )?uses:/.test(line) && !line.includes('./.valkey-migrate'));
    expect(uses.length).toBeGreaterThan(0);
    for (const line of uses) expect(line).toMatch(/uses: [\w-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  test('no script has an expression in it: values reach scripts by their environment', () => {
    for (const [name, job] of jobs)
      for (const step of job.steps) expect(step.run ?? '', `${name}: ${step.name}`).not.toContain('${{');
  });

  test('every job has a limit below the six hours of GitHub', () => {
    for (const [name, job] of jobs) expect(job['timeout-minutes'], name).toBeLessThan(360);
  });

  test('no checkout leaves the token behind', () => {
    const checkouts = jobs
      .flatMap(([, job]) => job.steps)
      .filter((step) => step.uses?.startsWith('actions/checkout@'));
    for (const step of checkouts) expect(step.with['persist-credentials']).toBe(false);
  });
});

describe('migrate.yml', () => {
  test('the phases follow one another, and the report follows all of them, whatever became of them', () => {
    const needs = Object.entries(MIGRATE.jobs).map(([name, job]) => [name, job.needs]);
    const phases = ['preflight', 'backup', 'start-migration', 'verify', 'complete-migration'];
    expect(needs).toEqual([
      ['preflight', []],
      ['backup', ['preflight']],
      ['start-migration', ['backup']],
      ['verify', ['start-migration']],
      ['complete-migration', ['verify']],
      ['report', phases],
    ]);
    expect(readText('.github/workflows/migrate.yml')).toMatch(/report:\n {4}needs: .*\n {4}if: always\(\)/);
  });

  test('every job runs the phase of its name', () => {
    for (const [name, job] of PHASE_JOBS.slice(0, -1)) expect(job.env.PHASE).toBe(name);
    expect(PHASE_JOBS.length).toBe(6);
  });

  test('every phase asks for the role and the document that the table of permissions gives it', () => {
    const roles = {
      read: '${{ inputs.role-to-assume }}',
      change: '${{ inputs.change-role-to-assume || inputs.role-to-assume }}',
      cutover:
        '${{ inputs.cutover-role-to-assume || inputs.change-role-to-assume || inputs.role-to-assume }}',
    };
    for (const [access, phases] of Object.entries(ROLE_PHASES)) {
      for (const phase of phases) {
        const env = MIGRATE.jobs[phase]?.env;
        // A verification that repairs is a change; status, rollback and cleanup are phases of operate.yml.
        if (env === undefined || phase === 'verify') continue;
        expect({ phase, ...env }).toMatchObject({ phase, ACCESS: access, ROLE: Reflect.get(roles, access) });
      }
    }
    const repairs = "inputs.repair && inputs.repair != 'false'";
    expect(MIGRATE.jobs.verify?.env).toMatchObject({
      ACCESS: `\${{ ${repairs} && 'change' || 'read' }}`,
      ROLE: `\${{ ${repairs} && inputs.change-role-to-assume || inputs.role-to-assume }}`,
    });
    // A benchmark writes keys.
    const changes = "(inputs.phase != 'status' || inputs.benchmark)";
    expect(OPERATE.jobs.operate?.env).toMatchObject({
      ACCESS: `\${{ ${changes} && 'change' || 'read' }}`,
      ROLE: `\${{ ${changes} && inputs.change-role-to-assume || inputs.role-to-assume }}`,
    });
  });

  test('only the cutover has an environment, the one that the caller names', () => {
    const environments = Object.entries(MIGRATE.jobs).filter(([, job]) => job.environment !== undefined);
    expect(environments.map(([name, job]) => [name, job.environment])).toEqual([
      ['complete-migration', '${{ inputs.cutover-environment }}'],
    ]);
  });

  test('a run by hand has no more inputs than GitHub allows, and all of them exist for callers too', () => {
    const dispatch = Object.keys(MIGRATE.on.workflow_dispatch?.inputs ?? {});
    const call = Object.keys(MIGRATE.on.workflow_call?.inputs ?? {});
    expect(dispatch.length).toBeLessThanOrEqual(25);
    expect(call.slice(0, dispatch.length)).toEqual(dispatch);
  });
});

describe.each(PHASE_JOBS)('the job %s', (name, job: Job) => {
  test('runs alone on its target, and is never cancelled for another', () => {
    const target = 'valkey-migrate-target-${{ inputs.aws-region }}-${{ inputs.replication-group-id }}';
    const group = name === 'operate' ? OPERATE_GROUP : target;
    expect(job.concurrency).toEqual({ group, 'cancel-in-progress': false, queue: 'max' });
  });

  test('may do nothing but what it says', () => {
    const actions = LOOKS_AT_THE_GATE.includes(name) ? { actions: 'read' } : {};
    expect(job.permissions).toEqual({ 'id-token': 'write', contents: 'read', ...actions });
  });

  test('hands passwords to the step that runs the phase, and nothing else to any', () => {
    const passwords = ['SOURCE_PASSWORD', 'TARGET_PASSWORD'].map((secret) => [
      secret,
      `\${{ secrets.${secret} }}`,
    ]);
    expect(ownStep(job)?.env).toEqual(Object.fromEntries(passwords));
    expect(JSON.stringify(job).match(/secrets\./g)).toHaveLength(passwords.length);
  });

  test('checks out the action of the commit of the workflow', () => {
    expect(job.steps[0]?.with).toMatchObject({
      repository: '${{ job.workflow_repository }}',
      ref: '${{ job.workflow_sha }}',
      path: '.valkey-migrate',
    });
  });

  test('keeps its report also when it fails', () => {
    const upload = job.steps.at(-1);
    expect(upload?.uses).toContain('actions/upload-artifact@');
    expect(upload?.if).toBe('always()');
    expect(upload?.with.path).toBe(ownStep(job)?.with['report-directory']);
  });
});

test('the whole workflow has no concurrency group: it would deadlock with the groups of its jobs', () => {
  expect(MIGRATE.concurrency).toBeUndefined();
  expect(OPERATE.concurrency).toBeUndefined();
});

/** That of the migration for what changes something; a look waits for nobody. */
const OPERATE_GROUP =
  "${{ inputs.phase == 'status' && format('valkey-migrate-status-{0}', github.run_id) || " +
  "format('valkey-migrate-target-{0}-{1}', inputs.aws-region, inputs.replication-group-id) }}";
