import { describe, expect, test } from 'vitest';
import { ownStep, readAction, readWorkflow, stringsIn } from './workflow-files.ts';

const ACTION = readAction();

/** Inputs of the action that the workflows leave at their default, and why. */
const LEFT_AT_DEFAULT: Record<string, Record<string, string>> = {
  'migrate.yml': {
    'github-token': 'the default is the token of the job',
    benchmark: 'status only',
    'wait-timeout-minutes': 'bound by the time limit of a job, which the workflow sets',
    'on-cancel':
      'a cancelled run keeps its host job, which the next run adopts; stopping is what operate.yml does',
  },
  'operate.yml': {
    'github-token': 'no environment is read',
    'wait-timeout-minutes': 'status, rollback and cleanup wait for minutes, the time limit of the job',
    'on-cancel': 'nothing is started that goes on',
    route: 'the migration on the host knows its route',
    'install-node': 'the host has run the agent before',
    'native-source-address': 'start-migration only',
    'tune-source':
      'preflight and start-migration only; what it has changed is restored by what the host recorded',
    'max-source-load': 'preflight and start-migration only',
    'max-target-ops': 'start-migration only',
    reverse: 'preflight, start-migration and complete-migration only',
    'canary-write': 'preflight only',
    'allow-native-rdb-version': 'preflight and start-migration only',
    'backup-source': 'backup only',
    'snapshot-target': 'backup only',
    'hash-field-ttl': 'preflight to complete-migration only',
    'allow-skipped': 'complete-migration only',
    'verify-scope': 'verify only',
    'max-differences': 'verify and complete-migration only',
    'ttl-tolerance-ms': 'verify and complete-migration only',
    'key-display': 'verify and complete-migration only',
    repair: 'verify only',
    'verification-max-age-minutes': 'complete-migration only',
    'reviewed-verification-id': 'complete-migration only',
    'max-write-pause-seconds': 'complete-migration only',
    'straggler-watch-seconds': 'complete-migration only',
    'cutover-environment': 'complete-migration only',
    'allow-unprotected-environment': 'complete-migration only',
  },
};

describe.each(Object.entries(LEFT_AT_DEFAULT))('%s', (name, leftAtDefault) => {
  const workflow = readWorkflow(`.github/workflows/${name}`);
  const steps = Object.values(workflow.jobs).flatMap((job) => ownStep(job) ?? []);

  test('passes only what action.yml has, and all of it but what is listed with a reason', () => {
    expect(steps.length).toBeGreaterThan(0);
    for (const step of steps) {
      const expected = Object.keys(ACTION.inputs).filter((input) => !(input in leftAtDefault));
      expect(Object.keys(step.with).sort()).toEqual(expected.sort());
    }
    for (const input of Object.keys(leftAtDefault)) expect(ACTION.inputs).toHaveProperty(input);
  });

  test('uses every input that it declares, and declares every input that it uses', () => {
    const { workflow_dispatch, workflow_call } = workflow.on;
    const declared = new Set([
      ...Object.keys(workflow_dispatch?.inputs ?? {}),
      ...Object.keys(workflow_call?.inputs ?? {}),
    ]);
    const text = stringsIn(workflow.jobs).join('\n');
    const used = new Set([...text.matchAll(/inputs\.([\w-]+)/g)].map(([, input]) => input));
    expect([...used].sort()).toEqual([...declared].sort());
  });

  test('reads only outputs that action.yml has', () => {
    const outputs = stringsIn(workflow.jobs).flatMap((text) => [
      ...text.matchAll(/steps\.phase\.outputs\.([\w-]+)/g),
    ]);
    for (const [, output] of outputs) expect(ACTION.outputs).toHaveProperty(output ?? '');
  });

  test('has the defaults of action.yml', () => {
    const inputs = { ...workflow.on.workflow_dispatch?.inputs, ...workflow.on.workflow_call?.inputs };
    for (const [input, { default: value }] of Object.entries(inputs)) {
      const inAction = ACTION.inputs[input]?.default;
      if (inAction !== undefined) expect(String(value), input).toBe(String(inAction));
    }
    for (const [input, value] of steps.flatMap((step) => Object.entries(step.with))) {
      const fallback = /\|\| '([^']*)' }}$/.exec(String(value))?.[1];
      if (fallback !== undefined) expect(fallback, input).toBe(String(ACTION.inputs[input]?.default));
    }
  });
});

describe('migrate.yml', () => {
  const { on, jobs } = readWorkflow('.github/workflows/migrate.yml');

  test('an input that a run by hand lacks has its default where it is used', () => {
    const byHand = on.workflow_dispatch?.inputs ?? {};
    const onlyForCallers = Object.entries(on.workflow_call?.inputs ?? {}).filter(
      ([input, { default: value }]) => !(input in byHand) && value !== undefined,
    );
    expect(onlyForCallers.length).toBeGreaterThan(0);
    const step = Object.values(jobs).flatMap((job) => ownStep(job) ?? [])[0];
    for (const [input, { default: value }] of onlyForCallers)
      expect(step?.with[input]).toBe(`\${{ format('{0}', inputs.${input}) || '${value}' }}`);
  });
});
