import { type AddressInfo, createServer } from 'node:net';
import { expect, it } from 'vitest';
import type { RoleName } from '../../scripts/identity/permissions.ts';
import { openStage, type Stage } from './stage.ts';
import { makeRoles, type Roles } from './template-roles.ts';

const PASSWORD = 'pl4nted-s0urce';
/** Another one that the role of the host may read: nothing of this migration. */
const FOREIGN = 'pl4nted-f0reign';

/** A server of somebody who wants the passwords that are shown to it. */
async function startTrap() {
  const heard: Buffer[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      heard.push(data);
      socket.write('+OK\r\n');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    heard: () => Buffer.concat(heard).toString('latin1'),
    [Symbol.asyncDispose]: async () => {
      server.close();
    },
  };
}

async function openGuardedStage(): Promise<Stage> {
  const stage = await openStage({ sourceConfig: { requirepass: PASSWORD } });
  stage.simulator.putParameter('/redis/source', PASSWORD, 'SecureString');
  stage.simulator.putParameter('/billing/api', FOREIGN, 'SecureString');
  await stage.source.client().set('key', 'value');
  return stage;
}

type Attempt = { role: RoleName; phase: string; inputs?: Record<string, string> };

/** Runs a phase with a role of the template and the named password, and says how it ended. */
function attempter(stage: Stage, roles: Roles) {
  return async ({ role, phase, inputs }: Attempt) => {
    const { outputs, annotations, exitCode } = await stage.run(phase, {
      env: roles.env(role),
      inputs: {
        'ssm-document': roles.documentName(role),
        'source-password-from': 'ssm:/redis/source',
        ...inputs,
      },
    });
    const message = annotations.map((annotation) => annotation.message).join('\n');
    return exitCode === 0 ? { code: 'ok', message } : { code: outputs['error-code'], message };
  };
}

it('a role for reading has no password shown to a server of its own, nor one of another application to anybody', {
  timeout: 240_000,
}, async () => {
  await using stage = await openGuardedStage();
  await using trap = await startTrap();
  const attempt = attempter(stage, await makeRoles(stage));
  const toTrap = { 'source-endpoint': `127.0.0.1:${trap.port}` };

  // Before anybody has named a server, not even to the right one: who looks cannot say which that is.
  for (const inputs of [{}, toTrap]) {
    expect(await attempt({ role: 'read', phase: 'preflight', inputs })).toMatchObject({
      code: 'password-server-unknown',
      message: expect.stringContaining('may be shown to no server'),
    });
  }
  expect(await attempt({ role: 'change', phase: 'start-migration' })).toMatchObject({ code: 'ok' });
  expect(await attempt({ role: 'read', phase: 'preflight' })).toMatchObject({ code: 'ok' });
  expect(await attempt({ role: 'read', phase: 'verify' })).toMatchObject({ code: 'ok' });

  for (const attack of [
    { role: 'read', phase: 'preflight', inputs: toTrap },
    { role: 'read', phase: 'verify', inputs: toTrap },
    // A name of the same machine is another server as long as nobody has named it.
    { role: 'read', phase: 'preflight', inputs: { 'source-endpoint': `localhost:${trap.port}` } },
  ] as const) {
    const { code } = await attempt(attack);
    expect({ attack, code }).toEqual({ attack, code: 'password-server-unknown' });
  }
  expect(
    await attempt({
      role: 'read',
      phase: 'verify',
      inputs: { ...toTrap, 'source-password-from': 'ssm:/billing/api' },
    }),
  ).toMatchObject({ code: 'password-server-unknown' });
  // Nor by a file of the host, or a variable of the agent that nobody has sealed.
  expect(
    await attempt({
      role: 'read',
      phase: 'preflight',
      inputs: { ...toTrap, 'source-password-from': 'file:/etc/hostname' },
    }),
  ).toMatchObject({ code: 'password-server-unknown' });
  expect(trap.heard()).toBe('');
});

it('where the documents name the servers, that binds every role, and the first preflight needs nobody before it', {
  timeout: 240_000,
}, async () => {
  await using stage = await openGuardedStage();
  await using trap = await startTrap();
  const listed = `127.0.0.1:${stage.source.port}=ssm:/redis/source`;
  const roles = await makeRoles(stage, { PasswordServers: `10.9.8.7:6380=secretsmanager:redis,${listed}` });
  const attempt = attempter(stage, roles);
  expect(await attempt({ role: 'read', phase: 'preflight' })).toMatchObject({ code: 'ok' });
  for (const role of ['read', 'change'] as const) {
    const phase = role === 'read' ? 'preflight' : 'start-migration';
    expect(
      await attempt({ role, phase, inputs: { 'source-endpoint': `127.0.0.1:${trap.port}` } }),
    ).toMatchObject({
      code: 'password-server-unknown',
      message: expect.stringContaining(`may be shown to 127.0.0.1:${stage.source.port}`),
    });
  }
  expect(trap.heard()).toBe('');
  expect(await attempt({ role: 'change', phase: 'start-migration' })).toMatchObject({ code: 'ok' });
});
