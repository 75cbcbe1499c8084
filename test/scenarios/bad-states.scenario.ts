import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeClaim } from '../../src/agent/redis/checkpoint.ts';
import { RESERVED_KEY } from '../../src/agent/redis/reserved-key.ts';
import type { ErrorCode } from '../../src/core/error-codes.ts';
import { createToolbox } from '../action/host/toolbox.ts';
import type { ActionResult } from '../runner/run-action.ts';
import { findServer, startServer } from '../servers/start.ts';
import { startGithubStub } from '../simulator/github-stub.ts';
import type { Simulator } from '../simulator/start.ts';
import {
  changingCalls,
  digestData,
  openStage,
  type PhaseChanges,
  readSettings,
  type Stage,
} from './stage.ts';

/** A bad input or state: what is wrong, what is done about it, and the code that the user sees. */
type BadState = {
  readonly name: string;
  readonly code: ErrorCode;
  readonly phase?: string;
  readonly changes?: PhaseChanges;
  /** Makes the state; what it returns undoes it. */
  prepare?(stage: Stage): Promise<{ changes?: PhaseChanges; undo?: () => Promise<unknown> }>;
};

const INPUTS: readonly BadState[] = [
  { name: 'a phase that there is not', code: 'input-unknown-phase', phase: 'migrate' },
  {
    name: 'no replication group',
    code: 'input-missing',
    changes: { inputs: { 'replication-group-id': undefined } },
  },
  {
    name: 'a malformed instance id',
    code: 'input-malformed',
    changes: { inputs: { 'instance-id': 'i-$(reboot)' } },
  },
  {
    name: 'an instance for the local host',
    code: 'input-contradictory',
    changes: { inputs: { host: 'local' } },
  },
];

const AWS: readonly BadState[] = [
  {
    name: 'no credentials',
    code: 'aws-credentials-missing',
    changes: { env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '', AWS_EC2_METADATA_DISABLED: 'true' } },
  },
  {
    name: 'a role that may not look',
    code: 'aws-access-denied',
    prepare: async ({ simulator }) =>
      injected(simulator, { operation: 'DescribeReplicationGroups', error: 'AccessDenied' }),
  },
  {
    name: 'an AWS that always throttles',
    code: 'aws-throttled',
    prepare: async ({ simulator }) =>
      injected(simulator, { operation: 'DescribeReplicationGroups', error: 'Throttling' }),
  },
  {
    name: 'an unknown replication group',
    code: 'replication-group-not-found',
    changes: { inputs: { 'replication-group-id': 'nobody' } },
  },
  {
    name: 'a replication group that is being changed',
    code: 'replication-group-not-available',
    phase: 'start-migration',
    prepare: async ({ group }) => {
      group.status = 'modifying';
      return {
        undo: async () => {
          group.status = 'available';
        },
      };
    },
  },
  {
    name: 'a replication group under a migration of somebody else',
    code: 'replication-group-migrating',
    phase: 'start-migration',
    prepare: async ({ group }) => {
      group.status = 'migrating';
      return {
        undo: async () => {
          group.status = 'available';
        },
      };
    },
  },
];

const HOST: readonly BadState[] = [
  {
    name: 'an unknown instance',
    code: 'instance-not-managed',
    changes: { inputs: { 'instance-id': 'i-0123456789abcdef0' } },
  },
  {
    name: 'an instance whose agent is away',
    code: 'instance-offline',
    prepare: async ({ instance }) => {
      instance.setPingStatus('ConnectionLost');
      return { undo: async () => instance.setPingStatus('Online') };
    },
  },
  {
    name: 'a Windows instance',
    code: 'instance-platform-unsupported',
    prepare: async ({ simulator }) => {
      const windows = await simulator.addInstance({ platformType: 'Windows' });
      return { changes: { inputs: { 'instance-id': windows.instanceId } } };
    },
  },
  {
    name: 'an instance without Node.js',
    code: 'host-node-missing',
    prepare: async ({ simulator, instance }) => {
      const path = await createToolbox(join(instance.directory, 'bare'), { node: false });
      const bare = await simulator.addInstance({ env: { PATH: path } });
      return { changes: { inputs: { 'instance-id': bare.instanceId } } };
    },
  },
  {
    name: 'a state directory that cannot be',
    code: 'host-state-unwritable',
    changes: { inputs: { 'state-directory': '/dev/null/state' } },
  },
];

const SERVERS: readonly BadState[] = [
  {
    name: 'a closed port',
    code: 'source-unreachable',
    changes: { inputs: { 'source-endpoint': '127.0.0.1:1' } },
  },
  {
    name: 'a wrong password',
    code: 'source-auth-failed',
    prepare: async ({ source, instance }) => {
      const file = join(instance.directory, 'wrong-password');
      await writeFile(file, 'not the password\n');
      await source.client().call('ACL', 'SETUSER', 'mover', 'on', '>the password', '~*', '&*', '+@all');
      const undo = () => source.client().call('ACL', 'DELUSER', 'mover');
      return {
        changes: { inputs: { 'source-username': 'mover', 'source-password-from': `file:${file}` } },
        undo,
      };
    },
  },
  {
    name: 'a password file that is not there',
    code: 'secret-unreadable',
    changes: { inputs: { 'source-password-from': 'file:/nowhere/password' } },
  },
  {
    name: 'TLS to a port that has none',
    code: 'source-tls-failed',
    changes: { inputs: { 'source-tls': 'true' } },
  },
  {
    name: 'a user that may not replicate',
    code: 'route-replica-denied',
    changes: {
      inputs: { route: 'replica', 'source-username': 'looker', 'source-password-from': 'file:/dev/null' },
    },
    prepare: async ({ source, instance }) => {
      const file = join(instance.directory, 'looker-password');
      await writeFile(file, 'look');
      await source
        .client()
        .call('ACL', 'SETUSER', 'looker', 'on', '>look', '~*', '&*', '+@all', '-psync', '-sync');
      const undo = () => source.client().call('ACL', 'DELUSER', 'looker');
      return {
        changes: {
          inputs: { route: 'replica', 'source-username': 'looker', 'source-password-from': `file:${file}` },
        },
        undo,
      };
    },
  },
  {
    name: 'the native route from Redis 7.4 or later',
    code: 'route-native-rdb-version',
    phase: 'start-migration',
    prepare: async () => {
      const newer = await startServer({ server: await findServer({ kind: 'redis', version: '8.0' }) });
      const inputs = { route: 'native', 'source-endpoint': `127.0.0.1:${newer.port}` };
      return { changes: { inputs }, undo: async () => newer[Symbol.asyncDispose]() };
    },
  },
  {
    name: 'a target with keys of somebody else',
    code: 'target-not-empty',
    phase: 'start-migration',
    prepare: async ({ group }) => {
      await group.node.client().set('somebody', 'else');
      return { undo: () => group.node.client().del('somebody') };
    },
  },
  {
    name: 'a target that another migration claims',
    code: 'migration-conflict',
    phase: 'start-migration',
    prepare: async ({ group }) => {
      const claim = {
        migrationId: 'other',
        repository: 'other/shop',
        hostId: 'another-host',
        state: 'copying',
      } as const;
      await group.node.client().set(RESERVED_KEY, encodeClaim(claim));
      return { undo: () => group.node.client().del(RESERVED_KEY) };
    },
  },
];

const GATE: readonly BadState[] = [
  {
    name: 'a cutover of a migration that never began',
    code: 'migration-unknown',
    phase: 'complete-migration',
  },
  {
    name: 'an environment without reviewers',
    code: 'environment-unprotected',
    prepare: async () => {
      const github = await startGithubStub({ production: 0 });
      return {
        changes: {
          inputs: {
            'cutover-environment': 'production',
            'allow-unprotected-environment': 'false',
            'github-token': 'token',
          },
          env: { GITHUB_API_URL: github.url },
        },
        undo: async () => github[Symbol.asyncDispose](),
      };
    },
  },
  {
    name: 'an environment that GitHub does not show',
    code: 'environment-unreadable',
    changes: {
      inputs: {
        'cutover-environment': 'production',
        'allow-unprotected-environment': 'false',
        'github-token': 'token',
      },
      env: { GITHUB_API_URL: 'http://127.0.0.1:1' },
    },
  },
];

const ALL = [...INPUTS, ...AWS, ...HOST, ...SERVERS, ...GATE];

describe('a bad input or state', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await openStage();
    await stage.source.client().mset('greeting', 'hello', 'counter', '7');
  });
  afterAll(async () => {
    await stage[Symbol.asyncDispose]();
  });

  it('has a code of its own, and there are at least twenty', () => {
    expect(new Set(ALL.map(({ code }) => code)).size).toBe(ALL.length);
    expect(ALL.length).toBeGreaterThanOrEqual(20);
  });

  it.each(ALL)(
    '$name is refused with $code, and nothing is changed',
    async ({ code, phase, changes, prepare }) => {
      const prepared = (await prepare?.(stage)) ?? {};
      try {
        const before = await look(stage);
        const result = await stage.run(phase ?? 'preflight', { ...changes, ...prepared.changes });
        expect({ code: result.outputs['error-code'], log: result.log }).toMatchObject({ code });
        expectFailureIsTold(result, code);
        expect(await look(stage)).toEqual(before);
      } finally {
        await prepared.undo?.();
      }
    },
  );
});

/** Outputs, summary, report and annotation are there although the phase failed. */
function expectFailureIsTold(result: ActionResult & { report: unknown }, code: ErrorCode): void {
  expect(result.exitCode).toBe(1);
  expect(result.outputs.result).toBe('failed');
  expect(result.summary).toContain(code);
  expect(result.report).toMatchObject({ result: 'failed', error: { code } });
  const { remedy } = errorOf(result.report);
  expect(remedy.length).toBeGreaterThan(10);
  const errors = result.annotations.filter(({ level }) => level === 'error');
  expect(errors.some(({ message }) => message.includes(code) || message.includes(remedy))).toBe(true);
}

function errorOf(report: unknown): { remedy: string } {
  return z.object({ error: z.object({ remedy: z.string() }) }).parse(report).error;
}

async function look(stage: Stage) {
  return {
    source: await digestData(stage.source),
    target: await digestData(stage.group.node),
    settings: await readSettings(stage.source),
    calls: changingCalls(stage.simulator),
  };
}

async function injected(simulator: Simulator, rule: { operation: string; error: string }) {
  const fault = simulator.faults.inject({ ...rule, times: 1000 });
  return { undo: async () => fault.withdraw() };
}
