import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  CancelCommandCommand,
  DescribeInstanceInformationCommand,
  GetCommandInvocationCommand,
  type GetCommandInvocationResult,
  GetParameterCommand,
  ListCommandInvocationsCommand,
  SendCommandCommand,
  type SendCommandRequest,
} from '@aws-sdk/client-ssm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SimulatedInstance } from './instance.ts';
import { openClients, type SdkClients } from './sdk-clients.ts';
import { type Simulator, startSimulator } from './start.ts';

const WAIT = { timeout: 10_000, interval: 15 };
let simulator: Simulator;
let clients: SdkClients;
let instance: SimulatedInstance;

beforeEach(async () => {
  simulator = await startSimulator({ timing: { timeoutSecondMs: 20 } });
  clients = openClients(simulator);
  instance = await simulator.addInstance({ env: { FLAVOUR: 'mint' } });
});
afterEach(async () => {
  clients[Symbol.dispose]();
  await simulator[Symbol.asyncDispose]();
});

async function send(commands: string[], more: Partial<SendCommandRequest> = {}): Promise<string> {
  const { Parameters, ...rest } = more;
  const { Command } = await clients.ssm.send(
    new SendCommandCommand({
      DocumentName: 'AWS-RunShellScript',
      InstanceIds: [instance.instanceId],
      Parameters: { commands, ...Parameters },
      ...rest,
    }),
  );
  return Command?.CommandId ?? '';
}

function invocation(commandId: string): Promise<GetCommandInvocationResult> {
  return clients.ssm.send(
    new GetCommandInvocationCommand({ CommandId: commandId, InstanceId: instance.instanceId }),
  );
}

async function statusOf(commandId: string): Promise<string> {
  const { Status } = await invocation(commandId).catch((error: Error) => ({ Status: error.name }));
  return Status ?? '';
}

async function ended(commandId: string): Promise<GetCommandInvocationResult> {
  const isOver = ['Success', 'Failed', 'TimedOut', 'Cancelled'];
  await expect.poll(async () => isOver.includes(await statusOf(commandId)), WAIT).toBe(true);
  return invocation(commandId);
}

async function pidIn(file: string): Promise<number> {
  const path = join(instance.directory, file);
  await expect
    .poll(async () => existsSync(path) && (await readFile(path, 'utf8')).endsWith('\n'), WAIT)
    .toBe(true);
  return Number(await readFile(path, 'utf8'));
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}/exe`);
}

describe('a command', () => {
  it('runs as a shell script in the directory of the instance with its environment and nothing else', async () => {
    process.env.OF_THE_TEST = 'not for scripts';
    const commandId = await send([
      'pwd',
      'echo "$FLAVOUR|$OF_THE_TEST|$SSM_COMMAND_ID|$AWS_SSM_INSTANCE_ID"',
    ]);
    const result = await ended(commandId);
    expect(result).toMatchObject({ Status: 'Success', StatusDetails: 'Success', ResponseCode: 0 });
    expect(result.StandardOutputContent).toBe(
      `${instance.directory}\nmint||${commandId}|${instance.instanceId}\n`,
    );
  });

  it('does not exist for a while after it was sent', async () => {
    await using slow = await startSimulator({ timing: { invocationHiddenMs: 1500 } });
    using slowClients = openClients(slow);
    const { instanceId } = await slow.addInstance();
    const { Command } = await slowClients.ssm.send(
      new SendCommandCommand({
        DocumentName: 'AWS-RunShellScript',
        InstanceIds: [instanceId],
        Parameters: { commands: ['true'] },
      }),
    );
    const ask = new GetCommandInvocationCommand({ CommandId: Command?.CommandId, InstanceId: instanceId });
    await expect(slowClients.ssm.send(ask)).rejects.toMatchObject({ name: 'InvocationDoesNotExist' });
    const status = () =>
      slowClients.ssm.send(ask).then(
        ({ Status }) => Status,
        () => undefined,
      );
    await expect.poll(status, WAIT).toBe('Success');
  });

  it('honours the interpreter line and the working directory', async () => {
    const commandId = await send(['#!/bin/cat', 'shown as it is'], {
      Parameters: { workingDirectory: ['/'] },
    });
    expect((await ended(commandId)).StandardOutputContent).toBe('#!/bin/cat\nshown as it is\n');
    const inRoot = await send(['pwd'], { Parameters: { workingDirectory: ['/'] } });
    expect((await ended(inRoot)).StandardOutputContent).toBe('/\n');
  });

  it('fails with the exit code of the script', async () => {
    const result = await ended(await send(['echo oops >&2', 'exit 7']));
    expect(result).toMatchObject({
      Status: 'Failed',
      ResponseCode: 7,
      StandardErrorContent: 'oops\nfailed to run commands: exit status 7',
    });
  });

  it('shows the first 24,000 and 8,000 characters of its output, cut with the words of the agent', async () => {
    const result = await ended(
      await send(['head -c 30000 /dev/zero | tr "\\0" x; head -c 9000 /dev/zero | tr "\\0" y >&2']),
    );
    expect(result.StandardOutputContent).toHaveLength(24_000);
    expect(result.StandardOutputContent).toMatch(/^x+---Output truncated---$/);
    expect(result.StandardErrorContent).toHaveLength(8_000);
    expect(result.StandardErrorContent).toMatch(/^y+---Error truncated----$/);
  });

  it('stays in progress without output while a child in the background holds its output', async () => {
    const commandId = await send([
      'echo early',
      '(while [ ! -e go ]; do sleep 0.02; done; echo late) &',
      'touch left',
    ]);
    await expect.poll(() => existsSync(join(instance.directory, 'left')), WAIT).toBe(true);
    await expect.poll(() => statusOf(commandId), WAIT).toBe('InProgress');
    expect(await invocation(commandId)).toMatchObject({ StandardOutputContent: '', ResponseCode: -1 });
    await send(['touch go']);
    expect(await ended(commandId)).toMatchObject({
      Status: 'Success',
      StandardOutputContent: 'early\nlate\n',
    });
  });

  it('is killed with its group when cancelled, without a trap, while a child in another session lives on', async () => {
    const commandId = await send([
      'trap "touch trapped" TERM INT EXIT',
      'sleep 60 & echo $! > inside',
      'setsid sh -c "echo \\$\\$ > outside; exec sleep 60" &',
      'wait',
    ]);
    const [inside, outside] = [await pidIn('inside'), await pidIn('outside')];
    await clients.ssm.send(new CancelCommandCommand({ CommandId: commandId }));
    expect(await ended(commandId)).toMatchObject({ Status: 'Cancelled', ResponseCode: 137 });
    await expect.poll(() => isAlive(inside), WAIT).toBe(false);
    expect(isAlive(outside)).toBe(true);
    expect(existsSync(join(instance.directory, 'trapped'))).toBe(false);

    await instance.reboot();
    await expect.poll(() => isAlive(outside), WAIT).toBe(false);
  });

  it('times out by its own executionTimeout and is killed', async () => {
    const commandId = await send(['echo $$ > self', 'sleep 60'], {
      Parameters: { executionTimeout: ['10'] },
    });
    const pid = await pidIn('self');
    expect(await ended(commandId)).toMatchObject({ Status: 'TimedOut', StatusDetails: 'ExecutionTimedOut' });
    await expect.poll(() => isAlive(pid), WAIT).toBe(false);
  });

  it('times out on its way to an instance that went offline', async () => {
    simulator.faults.inject({ delivery: 'delayed', delayMs: 500 });
    const commandId = await send(['touch ran'], { TimeoutSeconds: 30 });
    instance.setPingStatus('ConnectionLost');
    expect(await ended(commandId)).toMatchObject({
      Status: 'TimedOut',
      StatusDetails: 'DeliveryTimedOut',
      ResponseCode: -1,
    });
    expect(existsSync(join(instance.directory, 'ran'))).toBe(false);
  });

  it('is listed with its plugin', async () => {
    const commandId = await send(['echo shown'], { Comment: 'a word' });
    await ended(commandId);
    const answer = await clients.ssm.send(
      new ListCommandInvocationsCommand({ CommandId: commandId, Details: true }),
    );
    expect(answer.CommandInvocations).toHaveLength(1);
    expect(answer.CommandInvocations?.[0]).toMatchObject({
      Comment: 'a word',
      Status: 'Success',
      CommandPlugins: [{ Name: 'aws:runShellScript', ResponseCode: 0, Output: 'shown\n' }],
    });
  });

  it('cannot reach systemd on the machine that runs the tests', async () => {
    expect(await ended(await send(['systemd-run --unit=x true']))).toMatchObject({
      Status: 'Failed',
      ResponseCode: 1,
    });
  });
});

it('an instance leaves nothing behind: neither processes nor files', async () => {
  const other = await startSimulator();
  const short = await other.addInstance();
  const script = await short.run({ commandId: 'c', text: 'setsid sleep 60 >/dev/null 2>&1 & sleep 60\n' });
  await expect.poll(async () => (await short.pids()).length, WAIT).toBeGreaterThanOrEqual(3);
  await other[Symbol.asyncDispose]();
  expect((await script.ended).exitCode).toBe(137);
  await expect.poll(() => short.pids(), WAIT).toEqual([]);
  expect(existsSync(short.directory)).toBe(false);
});

describe('a fault of delivery', () => {
  it.each([
    ['undeliverable', 'Failed', 'Undeliverable'],
    ['timed-out', 'TimedOut', 'DeliveryTimedOut'],
    ['terminated', 'Failed', 'Terminated'],
  ] as const)('%s ends the command before it ran', async (delivery, status, details) => {
    simulator.faults.inject({ delivery });
    const result = await ended(await send(['touch ran']));
    expect(result).toMatchObject({ Status: status, StatusDetails: details, ResponseCode: -1 });
    expect(existsSync(join(instance.directory, 'ran'))).toBe(false);
    expect(await ended(await send(['true']))).toMatchObject({ Status: 'Success' });
  });

  it('lost never shows an invocation and never runs', async () => {
    simulator.faults.inject({ delivery: 'lost' });
    const commandId = await send(['touch ran']);
    await ended(await send(['true']));
    expect(await statusOf(commandId)).toBe('InvocationDoesNotExist');
    expect(existsSync(join(instance.directory, 'ran'))).toBe(false);
  });

  it('delayed shows Delayed and runs later', async () => {
    simulator.faults.inject({ delivery: 'delayed', delayMs: 600 });
    const commandId = await send(['true']);
    await expect.poll(() => statusOf(commandId), WAIT).toBe('Delayed');
    expect(await ended(commandId)).toMatchObject({ Status: 'Success' });
  });

  it('execution-timed-out kills the script while it runs', async () => {
    simulator.faults.inject({
      delivery: 'execution-timed-out',
      delayMs: 100,
      instanceId: instance.instanceId,
    });
    expect(await ended(await send(['sleep 60']))).toMatchObject({ StatusDetails: 'ExecutionTimedOut' });
  });
});

describe('SendCommand refuses', () => {
  it.each([
    ['an instance id of the wrong form', { InstanceIds: ['i-1'] }, 'ValidationException'],
    ['an instance that is not managed', { InstanceIds: ['i-00000000'] }, 'InvalidInstanceId'],
    ['an unknown document', { DocumentName: 'AWS-RunPowerShellScript' }, 'InvalidDocument'],
    ['an unknown parameter', { Parameters: { sauce: ['x'] } }, 'InvalidParameters'],
    ['a comment of 101 characters', { Comment: 'c'.repeat(101) }, 'ValidationException'],
    ['a delivery timeout of 29 seconds', { TimeoutSeconds: 29 }, 'ValidationException'],
  ])('%s', async (_what, more, code) => {
    await expect(send(['true'], more)).rejects.toMatchObject({ name: code });
  });

  it('parameters of more than 97 KB and takes those below', async () => {
    await expect(send(['#'.repeat(99_000)])).rejects.toMatchObject({
      name: 'MaxDocumentSizeExceeded',
      message: 'The total size of your parameter(s) and document exceeds the 97KB limit.',
    });
    expect(await ended(await send(['#'.repeat(90_000)]))).toMatchObject({ Status: 'Success' });
  });

  it('an instance that is offline, named twice or runs Windows', async () => {
    const windows = await simulator.addInstance({ platformType: 'Windows' });
    await expect(send(['dir'], { InstanceIds: [windows.instanceId] })).rejects.toMatchObject({
      name: 'UnsupportedPlatformType',
    });
    const twice = [instance.instanceId, instance.instanceId];
    await expect(send(['true'], { InstanceIds: twice })).rejects.toMatchObject({
      name: 'DuplicateInstanceId',
    });
    instance.setPingStatus('ConnectionLost');
    await expect(send(['true'])).rejects.toMatchObject({
      name: 'InvalidInstanceId',
      message: expect.stringContaining(instance.instanceId),
    });
  });
});

it('DescribeInstanceInformation tells managed instances and their state', async () => {
  const lost = await simulator.addInstance({
    instanceId: 'i-0123456789abcdef0',
    pingStatus: 'ConnectionLost',
  });
  const answer = await clients.ssm.send(
    new DescribeInstanceInformationCommand({ Filters: [{ Key: 'InstanceIds', Values: [lost.instanceId] }] }),
  );
  expect(answer.InstanceInformationList).toMatchObject([
    { InstanceId: 'i-0123456789abcdef0', PingStatus: 'ConnectionLost', PlatformType: 'Linux' },
  ]);
  const none = new DescribeInstanceInformationCommand({
    Filters: [{ Key: 'InstanceIds', Values: ['i-00000000'] }],
  });
  expect((await clients.ssm.send(none)).InstanceInformationList).toEqual([]);
});

it('lists come in pages', async () => {
  for (let index = 0; index < 5; index += 1) await simulator.addInstance();
  const list = (NextToken?: string) =>
    clients.ssm.send(
      new DescribeInstanceInformationCommand({ MaxResults: 5, ...(NextToken ? { NextToken } : {}) }),
    );
  const first = await list();
  expect(first.InstanceInformationList).toHaveLength(5);
  const second = await list(first.NextToken);
  expect(second.InstanceInformationList).toHaveLength(1);
  expect(second.NextToken).toBeUndefined();
});

it('GetParameter opens a SecureString only with decryption', async () => {
  simulator.putParameter('/app/password', 'open sesame', 'SecureString');
  const get = (WithDecryption: boolean) =>
    clients.ssm.send(new GetParameterCommand({ Name: '/app/password', WithDecryption }));
  expect((await get(true)).Parameter).toMatchObject({ Type: 'SecureString', Value: 'open sesame' });
  expect((await get(false)).Parameter?.Value).not.toContain('sesame');
  await expect(clients.ssm.send(new GetParameterCommand({ Name: '/none' }))).rejects.toMatchObject({
    name: 'ParameterNotFound',
  });
});
