import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { PERMISSIONS, ROLE_PHASES, type RoleName } from '../../scripts/identity/permissions.ts';
import { readHostPolicy } from '../identity/our-templates.ts';
import { allows } from '../identity/policy.ts';
import { findServer } from '../servers/start.ts';
import type { RecordedCall } from '../simulator/server.ts';
import { HOST_ROLE, openStage, type Stage, type StageOptions } from './stage.ts';
import { makeRoles, ROLES, type Roles } from './template-roles.ts';

const PASSWORD = 'p@ss/w%rd+';

/** In an order in which every phase has something to do. */
const PHASES_IN_ORDER = [
  ...['preflight', 'backup', 'start-migration', 'status', 'rollback'],
  ...['start-migration', 'verify', 'complete-migration'],
];
/** What follows a cutover with `reverse`. */
const PHASES_BACK = ['start-migration', 'verify', 'complete-migration'];
const PARAMETER_GROUP = 'sessions-valkey';

describe.concurrent.each([
  { route: 'replica', source: { kind: 'redis', version: '8.0' } },
  { route: 'native', source: { kind: 'redis', version: '7.0' } },
] as const)('with the roles and the document of the template, the route $route', ({ route, source }) => {
  it('gets through every phase, and calls all that the table has and nothing else', {
    timeout: 480_000,
  }, async () => {
    const isGuarded = route === 'replica';
    await using stage = await openStage({
      source: await findServer(source),
      isNewHost: true,
      ...(isGuarded ? GUARDED_SOURCE : {}),
      // The one run with a way back, the other without.
      ...(isGuarded ? { group: { parameterGroup: PARAMETER_GROUP } } : {}),
    });
    await stage.source.client().set('key', 'value');
    putPasswords(stage);
    const roles = await makeRoles(stage, {
      ParameterGroup: PARAMETER_GROUP,
      PasswordServers: PASSWORD_NAMES.map((name) => `127.0.0.1:${stage.source.port}=${name}`).join(','),
    });
    const seen = new Map<string, Set<string>>();
    const steps = [
      ...PHASES_IN_ORDER.map((phase) => ({ phase, direction: 'forward' })),
      ...(isGuarded ? PHASES_BACK.map((phase) => ({ phase, direction: 'reverse' })) : []),
      { phase: 'cleanup', direction: 'forward' },
    ];
    for (const { phase, direction } of steps) {
      const guarded = { ...secretInputs(phase), reverse: 'true', direction };
      const inputs = { route, 'flush-target': 'true', ...(isGuarded ? guarded : {}) };
      const step = { phase, roles, inputs };
      // Once for each phase is enough to see that it takes its command back.
      const cancelled = seen.has(phase) ? [] : await cancelledCalls(stage, step);
      const calls = [...(seen.get(phase) ?? []), ...cancelled, ...(await completeCalls(stage, step))];
      seen.set(phase, new Set(calls));
    }
    for (const [phase, calls] of seen) {
      expect({ phase, calls: [...calls].sort() }).toEqual({
        phase,
        calls: tabled(phase, { route, isWithWayBack: isGuarded }),
      });
    }
    const denied = stage.simulator.calls.filter(({ outcome }) => outcome.startsWith('AccessDenied'));
    expect(denied.map(({ operation }) => operation)).toEqual([]);
    const byHost = stage.simulator.calls.filter(({ caller }) => caller.includes(HOST_ROLE)).map(actionOf);
    expect(new Set(byHost)).toEqual(
      new Set(isGuarded ? ['ssm:GetParameter', 'secretsmanager:GetSecretValue'] : []),
    );
  });
});

describe('the roles of the template', () => {
  it("cannot do what is another one's, nor reach the host beside the document", async () => {
    await using stage = await openStage();
    const roles = await makeRoles(stage);
    const denied = async (phase: string, role: RoleName, inputs: Record<string, string | undefined> = {}) => {
      const result = await stage.run(phase, {
        env: roles.env(role),
        inputs: { 'ssm-document': roles.documentName(role), ...inputs },
      });
      return [result.outputs['error-code'], result.annotations.map(({ message }) => message).join()];
    };
    expect(await denied('backup', 'read', { 'backup-source': 'false' })).toEqual([
      'aws-access-denied',
      expect.stringContaining('elasticache:CreateSnapshot'),
    ]);
    expect(await denied('status', 'read', { 'ssm-document': undefined })).toEqual([
      'aws-access-denied',
      expect.stringContaining('ssm:SendCommand'),
    ]);
    expect(await denied('start-migration', 'read')).toEqual([
      'host-access-denied',
      expect.stringContaining('for read'),
    ]);
    expect(await denied('verify', 'read', { repair: 'differences' })).toEqual([
      'host-access-denied',
      expect.stringContaining('start a verify job'),
    ]);
    expect(await denied('backup', 'cutover', { 'snapshot-target': 'false' })).toEqual([
      'host-access-denied',
      expect.stringContaining('start a backup job'),
    ]);
    const other = await stage.simulator.addInstance();
    expect(await denied('status', 'change', { 'instance-id': other.instanceId })).toEqual([
      'aws-access-denied',
      expect.stringContaining('ssm:SendCommand'),
    ]);
    expect(
      await denied('status', 'read', { 'state-directory': join(stage.instance.directory, 'other') }),
    ).toEqual(['ssm-document-unsuitable', expect.stringContaining('InvalidParameters')]);
  });
});

const GUARDED_SOURCE: Pick<StageOptions, 'sourceConfig' | 'hostAllows'> = {
  sourceConfig: { requirepass: PASSWORD },
  hostAllows: (call) =>
    allows(
      readHostPolicy({
        ParameterArn: 'arn:aws:ssm:ap-northeast-2:111122223333:parameter/redis/*',
        SecretArn: 'arn:aws:secretsmanager:ap-northeast-2:111122223333:secret:redis-*',
      }),
      call,
    ),
};

/** Where the password lies: in both places, so that every permission of the host is used. */
const PASSWORD_NAMES = ['secretsmanager:redis-source#password', 'ssm:/redis/source'] as const;

function secretInputs(phase: string): Record<string, string> {
  return { 'source-password-from': PASSWORD_NAMES[phase === 'preflight' ? 0 : 1] };
}

function putPasswords({ simulator }: Stage): void {
  simulator.putParameter('/redis/source', PASSWORD, 'SecureString');
  simulator.putSecret('redis-source', JSON.stringify({ password: PASSWORD }));
}

type Step = { phase: string; roles: Roles; inputs: Record<string, string> };

/** Runs a phase, cancelled at its first command, and says what the runner called. */
async function cancelledCalls(stage: Stage, step: Step): Promise<string[]> {
  const { calls, faults } = stage.simulator;
  const start = calls.length;
  const delay = faults.inject({ delivery: 'delayed', delayMs: 5000 });
  const cancelling = new AbortController();
  const running = stage.run(step.phase, { ...changesOf(step), cancel: cancelling.signal });
  await vi.waitFor(() => expect(calls.slice(start).some(isSent)).toBe(true), { timeout: 30_000 });
  cancelling.abort();
  expect((await running).outputs['error-code']).toBe('cancelled');
  delay.withdraw();
  return runnerActions(calls.slice(start));
}

/** Runs a phase to its good end and says what the runner called. */
async function completeCalls(stage: Stage, step: Step): Promise<string[]> {
  const { calls } = stage.simulator;
  const start = calls.length;
  const { exitCode, log } = await stage.run(step.phase, changesOf(step));
  expect({ phase: step.phase, exitCode, log: exitCode === 0 ? '' : log }).toMatchObject({ exitCode: 0 });
  return runnerActions(calls.slice(start));
}

function changesOf({ phase, roles, inputs }: Step) {
  const role = roleOf(phase);
  return { env: roles.env(role), inputs: { 'ssm-document': roles.documentName(role), ...inputs } };
}

function runnerActions(calls: readonly RecordedCall[]): string[] {
  return calls.filter(({ caller }) => !caller.includes(HOST_ROLE)).map(actionOf);
}

function isSent({ operation, outcome }: RecordedCall): boolean {
  return operation === 'SendCommand' && outcome === 'ok';
}

function roleOf(phase: string): RoleName {
  const role = ROLES.find((name) => (ROLE_PHASES[name] as readonly string[]).includes(phase));
  if (role === undefined) throw new Error(`No role has the phase ${phase}`);
  return role;
}

function tabled(
  phase: string,
  { route, isWithWayBack }: { route: 'native' | 'replica'; isWithWayBack: boolean },
): string[] {
  return PERMISSIONS.filter(
    (permission) =>
      (permission.phases as readonly string[]).includes(phase) &&
      (permission.route === undefined || permission.route === route) &&
      (permission.reverse === undefined || isWithWayBack),
  )
    .map(({ action }): string => action)
    .sort();
}

function actionOf({ service, operation }: RecordedCall): string {
  return `${service}:${operation}`;
}
