import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SSMClient } from '@aws-sdk/client-ssm';
import { describe, expect, it } from 'vitest';
import { openSsmHost, type SsmHostOptions } from '../../../src/action/host/ssm-host.ts';
import { CONTRACT_VERSION } from '../../../src/contract/version.ts';
import type { FaultRule } from '../../simulator/fault-rules.ts';
import { type Simulator, startSimulator } from '../../simulator/start.ts';
import type { Timing } from '../../simulator/timing.ts';
import { createHurriedClock } from './hurried-clock.ts';
import { writeStandInAgent } from './stand-in-agent.ts';
import { createToolbox } from './toolbox.ts';

const STATUS = { command: 'status', migrationId: 'sessions', repository: 'octo/shop' } as const;
/** Three parts of 45,000 gzipped bytes. */
const BALLAST_BYTES = 100_000;

describe('opening the agent on an instance', () => {
  it('ships the agent in parts once, and finds it there the second time', async () => {
    await using stage = await setStage({ ballastBytes: BALLAST_BYTES });
    const host = await openSsmHost(stage.options);
    expect(host.description).toMatch(/^i-[0-9a-f]{17} \(stand-in, Node\.js v\d+/);
    expect(host.privateAddress()).toBe('10.0.0.7');
    expect(await host.call(STATUS)).toEqual({ jobs: [] });
    expect(stage.comments()).toEqual([
      'look at the host',
      ...Array.from({ length: 3 }, () => 'ship the agent'),
      'call hello',
      'call status',
    ]);
    await openSsmHost(stage.options);
    expect(stage.comments().slice(6)).toEqual(['look at the host', 'call hello']);
    const kept = await readdir(join(stage.options.stateDirectory, 'agent'));
    expect(kept.filter((name) => name !== 'node')).toHaveLength(1);
  });

  it('ships anew an agent that was changed on the host', async () => {
    await using stage = await setStage();
    await openSsmHost(stage.options);
    const agents = join(stage.options.stateDirectory, 'agent');
    const [sha256 = ''] = await readdir(agents);
    await writeFile(join(agents, sha256, 'index.mjs'), 'throw new Error("changed")');
    const host = await openSsmHost(stage.options);
    expect(await host.call(STATUS)).toEqual({ jobs: [] });
    expect(stage.comments().filter((comment) => comment === 'ship the agent')).toHaveLength(2);
  });

  it('says so when what arrived is not what was sent, and leaves nothing behind', async () => {
    await using stage = await setStage({ scripts: { gzip: 'echo garbage' } });
    await expect(openSsmHost(stage.options)).rejects.toMatchObject({ code: 'agent-corrupt' });
    expect(await readdir(join(stage.options.stateDirectory, 'agent'))).toEqual(['node']);
  });

  it('tells an unknown, an offline and a Windows instance apart, and sends no command', async () => {
    await using stage = await setStage();
    const unknown = { ...stage.options, instanceId: 'i-0123456789abcdef0' };
    await expect(openSsmHost(unknown)).rejects.toMatchObject({
      code: 'instance-not-managed',
      message: expect.stringContaining('i-0123456789abcdef0'),
    });
    stage.instance.setPingStatus('ConnectionLost');
    await expect(openSsmHost(stage.options)).rejects.toMatchObject({
      code: 'instance-offline',
      message: expect.stringContaining('ConnectionLost'),
    });
    const windows = await stage.simulator.addInstance({ platformType: 'Windows' });
    await expect(openSsmHost({ ...stage.options, instanceId: windows.instanceId })).rejects.toMatchObject({
      code: 'instance-platform-unsupported',
      message: expect.stringContaining('Windows Server'),
    });
    expect(stage.comments()).toEqual([]);
  });

  it('refuses a host without Node.js 20, and names what it found', async () => {
    await using bare = await setStage({ node: false });
    await expect(openSsmHost(bare.options)).rejects.toMatchObject({
      code: 'host-node-missing',
      message: expect.stringContaining('no Node.js'),
    });
    await using old = await setStage({ node: false, scripts: { node: 'echo 18.19.1' } });
    await expect(openSsmHost(old.options)).rejects.toMatchObject({
      code: 'host-node-missing',
      message: expect.stringContaining('only Node.js 18.19.1'),
    });
  });

  it('passes over an old node for a newer one beside it', async () => {
    await using stage = await setStage({
      node: false,
      scripts: { node: 'echo 18.19.1', 'node-22': `exec ${process.execPath} "$@"` },
    });
    expect((await openSsmHost(stage.options)).description).toContain(process.version);
  });

  it('installs Node.js when it may', async () => {
    const apt = `case "$*" in *nodejs) rm -f "$BIN/node"; printf '#!/bin/sh\\nexec ${process.execPath} "$@"\\n' > "$BIN/node"; chmod 755 "$BIN/node" ;; esac`;
    await using stage = await setStage({
      node: false,
      scripts: { id: 'echo 0', chmod: 'exec /bin/chmod "$@"', 'apt-get': apt },
    });
    const host = await openSsmHost({ ...stage.options, installNode: true });
    expect(await host.call(STATUS)).toEqual({ jobs: [] });
    expect(stage.comments()).toContain('install Node.js');
  });

  it('says when the package manager fails, when it only has an old one, and when there is no root', async () => {
    const open = async (scripts: Record<string, string>) => {
      await using stage = await setStage({ node: false, scripts });
      return await openSsmHost({ ...stage.options, installNode: true });
    };
    await expect(open({ id: 'echo 0', 'apt-get': 'exit 100' })).rejects.toMatchObject({
      code: 'host-node-install-failed',
      message: expect.stringContaining('could not install'),
    });
    await expect(open({ id: 'echo 0', 'apt-get': 'exit 0', nodejs: 'echo 12.22.9' })).rejects.toMatchObject({
      code: 'host-node-install-failed',
      message: expect.stringContaining('only 12.22.9'),
    });
    await expect(open({ id: 'echo 1000', 'apt-get': 'exit 0' })).rejects.toMatchObject({
      code: 'host-node-install-failed',
    });
  });

  it('refuses a state directory that cannot be made', async () => {
    await using stage = await setStage();
    const file = join(stage.directory, 'a-file');
    await writeFile(file, '');
    await expect(
      openSsmHost({ ...stage.options, stateDirectory: join(file, 'state') }),
    ).rejects.toMatchObject({
      code: 'host-state-unwritable',
      message: expect.stringContaining('a-file/state'),
    });
  });

  it.each(['relative/path', '/', '/with\nnewline', '/with\u0000nul', '/back\\slash', ''])(
    'refuses %j as a state directory',
    async (path) => {
      await using stage = await setStage();
      await expect(openSsmHost({ ...stage.options, stateDirectory: path })).rejects.toMatchObject({
        code: 'input-malformed',
      });
      expect(stage.comments()).toEqual([]);
    },
  );
});

describe('hostile strings', () => {
  it.each([
    `it's "quoted"`,
    '$(touch pwned)',
    '`touch pwned`',
    "'; touch pwned; '",
    '{{ssm:secret}} {{ x }}',
    '-n',
    '$HOME * ?%20#',
  ])('%s is only a name: in the state directory and in a request', async (text) => {
    await using stage = await setStage();
    const stateDirectory = join(stage.directory, 'state', text);
    const host = await openSsmHost({ ...stage.options, stateDirectory });
    const command = { ...STATUS, repository: `${text}\n$(touch pwned)` };
    await host.call(command);
    const request: unknown = JSON.parse(await readFile(join(stateDirectory, 'last-request.json'), 'utf8'));
    expect(request).toEqual({ contractVersion: CONTRACT_VERSION, command });
    const names = await readdir(stage.directory, { recursive: true });
    expect(names.filter((name) => name.endsWith('pwned') && !name.includes('touch pwned'))).toEqual([]);
    expect(JSON.stringify(stage.simulator.calls)).not.toContain('{{');
  });
});

describe('a call that goes wrong', () => {
  it.each<{ title: string; fault: FaultRule }>([
    {
      title: 'an invocation that is not known for a while',
      fault: { operation: 'GetCommandInvocation', error: 'InvocationDoesNotExist', times: 3 },
    },
    {
      title: 'throttled looks',
      fault: { operation: 'GetCommandInvocation', error: 'ThrottlingException', times: 4 },
    },
    { title: 'a throttled command', fault: { operation: 'SendCommand', error: 'ThrottlingException' } },
    {
      title: 'an instance that is away for a moment',
      fault: { operation: 'SendCommand', error: 'InvalidInstanceId', times: 2 },
    },
    { title: 'a command that gets lost', fault: { delivery: 'lost' } },
    { title: 'an undeliverable command', fault: { delivery: 'undeliverable' } },
    { title: 'a delivery that times out', fault: { delivery: 'timed-out' } },
    { title: 'a delayed command', fault: { delivery: 'delayed', delayMs: 50 } },
    { title: 'an answer that is dropped', fault: { operation: 'SendCommand', drop: 'answer' } },
  ])('outlasts $title', async ({ fault }) => {
    await using stage = await setStage();
    const host = await openSsmHost(stage.options);
    const injected = stage.simulator.faults.inject(fault);
    expect(await host.call(STATUS)).toEqual({ jobs: [] });
    expect(injected.hits).toBeGreaterThan(0);
  });

  it.each<{ title: string; fault: FaultRule; code: string }>([
    {
      title: 'delivery that keeps failing',
      fault: { delivery: 'undeliverable', times: 99 },
      code: 'command-undeliverable',
    },
    {
      title: 'commands that keep getting lost',
      fault: { delivery: 'lost', times: 99 },
      code: 'command-undeliverable',
    },
    {
      title: 'deliveries that keep timing out',
      fault: { delivery: 'timed-out', times: 99 },
      code: 'command-undeliverable',
    },
    {
      title: 'an execution that times out',
      fault: { delivery: 'execution-timed-out' },
      code: 'command-timeout',
    },
    { title: 'a terminated command', fault: { delivery: 'terminated' }, code: 'command-cancelled' },
    {
      title: 'throttling without end',
      fault: { operation: 'SendCommand', error: 'ThrottlingException', times: 99 },
      code: 'aws-throttled',
    },
    {
      title: 'a denied command',
      fault: { operation: 'SendCommand', error: 'AccessDeniedException', times: 99 },
      code: 'aws-access-denied',
    },
    {
      title: 'expired credentials',
      fault: { operation: 'SendCommand', error: 'ExpiredTokenException', times: 99 },
      code: 'aws-credentials-expired',
    },
  ])('names $title', async ({ fault, code }) => {
    await using stage = await setStage();
    const host = await openSsmHost(stage.options);
    stage.simulator.faults.inject(fault);
    await expect(host.call(STATUS)).rejects.toMatchObject({ code, remedy: expect.stringMatching(/\w/) });
  });

  it('does not take cut output for an answer', async () => {
    await using stage = await setStage();
    const host = await openSsmHost(stage.options);
    await stage.behave('chatty');
    await expect(host.call(STATUS)).rejects.toMatchObject({
      code: 'host-reply-malformed',
      message: expect.stringContaining('more than'),
    });
  });

  it('shows the error output of an agent that fails, and does not try it again', async () => {
    await using stage = await setStage();
    const host = await openSsmHost(stage.options);
    await stage.behave('failing');
    const before = stage.comments().length;
    await expect(host.call(STATUS)).rejects.toMatchObject({
      code: 'command-failed',
      message: expect.stringContaining('disk is full'),
    });
    expect(stage.comments()).toHaveLength(before + 1);
  });

  it('passes on what the agent refuses, and notices another version of the contract', async () => {
    await using stage = await setStage();
    const host = await openSsmHost(stage.options);
    await stage.behave('refusing');
    await expect(host.call(STATUS)).rejects.toMatchObject({
      code: 'migration-conflict',
      message: 'Held by another.',
    });
    await stage.behave('older');
    await expect(host.call(STATUS)).rejects.toMatchObject({ code: 'contract-mismatch' });
  });

  it('sends a command again that a reboot of the host killed', async () => {
    await using stage = await setStage();
    const host = await openSsmHost(stage.options);
    await stage.behave('hanging');
    const answer = host.call(STATUS);
    await stage.fileAppears('hangs');
    await stage.behave('');
    await stage.instance.reboot();
    expect(await answer).toEqual({ jobs: [] });
  });

  it('cancels the command of a cancelled run and gives the reason back', async () => {
    const cancel = new AbortController();
    await using stage = await setStage({ signal: cancel.signal });
    const host = await openSsmHost(stage.options);
    await stage.behave('hanging');
    const answer = host.call(STATUS);
    const refusal = expect(answer).rejects.toThrow('the run is cancelled');
    await stage.fileAppears('hangs');
    cancel.abort(new Error('the run is cancelled'));
    await refusal;
    expect(stage.simulator.calls.at(-1)).toMatchObject({ operation: 'CancelCommand', outcome: 'ok' });
    await stage.behave('');
    expect(await host.call(STATUS, { signal: new AbortController().signal })).toEqual({ jobs: [] });
  });
});

type StageOptions = {
  ballastBytes?: number;
  node?: boolean;
  scripts?: Record<string, string>;
  signal?: AbortSignal;
  timing?: Partial<Timing>;
};

/** A simulated account with one instance, and a stand-in for the agent. */
async function setStage({
  ballastBytes = 0,
  node = true,
  scripts = {},
  signal,
  timing = {},
}: StageOptions = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'ssm-host-'));
  const simulator = await startSimulator({ timing: { invocationHiddenMs: 10, deliveryMs: 5, ...timing } });
  const bin = await createToolbox(directory, { scripts, node });
  const instance = await simulator.addInstance({
    ipAddress: '10.0.0.7',
    directory,
    env: { PATH: bin, BIN: bin },
  });
  const ssm = clientOf(simulator);
  const stateDirectory = join(directory, 'state');
  const options: SsmHostOptions = {
    ssm,
    instanceId: instance.instanceId,
    stateDirectory,
    installNode: false,
    agentPath: await writeStandInAgent(directory, { ballastBytes }),
    clock: createHurriedClock(),
    signal: signal ?? new AbortController().signal,
    log: () => {},
  };
  return {
    simulator,
    instance,
    directory,
    options,
    behave: (behaviour: string) => writeFile(join(stateDirectory, 'behaviour'), behaviour),
    fileAppears: (name: string) =>
      expect.poll(() => existsSync(join(stateDirectory, name)), { timeout: 20_000 }).toBe(true),
    comments: () =>
      simulator.calls
        .filter(({ operation }) => operation === 'SendCommand')
        .map(({ input }) => input.Comment),
    [Symbol.asyncDispose]: async () => {
      ssm.destroy();
      await simulator[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function clientOf({ url, region, env }: Simulator): SSMClient {
  const { AWS_ACCESS_KEY_ID: accessKeyId = '', AWS_SECRET_ACCESS_KEY: secretAccessKey = '' } = env;
  return new SSMClient({
    region,
    endpoint: url,
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 2,
  });
}
