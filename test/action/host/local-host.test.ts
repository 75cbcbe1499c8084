import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  agentEnvironment,
  type LocalHostOptions,
  openLocalHost,
} from '../../../src/action/host/local-host.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { writeStandInAgent } from './stand-in-agent.ts';

const STATUS = { command: 'status', migrationId: 'sessions', repository: 'octo/shop' } as const;

describe('the agent as a child process', () => {
  it('answers, and knows neither inputs nor tokens of the runner', async () => {
    await using stage = await setStage();
    const environment = {
      PATH: process.env.PATH,
      AWS_REGION: 'eu-central-1',
      SOURCE_PASSWORD: 'named',
      OTHER_PASSWORD: 'not named',
      'INPUT_GITHUB-TOKEN': 'token',
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'token',
    };
    const host = await openLocalHost({ ...stage.options, environment, secretVariables: ['SOURCE_PASSWORD'] });
    expect(host.description).toContain('this runner (stand-in');
    expect(host.privateAddress()).toBeUndefined();
    expect(await host.call(STATUS)).toEqual({ jobs: [] });
    const seen: unknown = JSON.parse(
      await readFile(join(stage.options.stateDirectory, 'environment.json'), 'utf8'),
    );
    expect(seen).toEqual({ PATH: process.env.PATH, AWS_REGION: 'eu-central-1', SOURCE_PASSWORD: 'named' });
  });

  it('works in a state directory of any name', async () => {
    await using stage = await setStage();
    const stateDirectory = join(stage.directory, `it's "a" $(touch pwned) {{x}}`);
    const host = await openLocalHost({ ...stage.options, stateDirectory });
    expect(await host.call(STATUS)).toEqual({ jobs: [] });
  });

  it('refuses a state directory that is no absolute path, and one that cannot be made', async () => {
    await using stage = await setStage();
    await expect(openLocalHost({ ...stage.options, stateDirectory: 'state' })).rejects.toMatchObject({
      code: 'input-malformed',
    });
    const stateDirectory = join(stage.options.agentPath, 'state');
    await expect(openLocalHost({ ...stage.options, stateDirectory })).rejects.toMatchObject({
      code: 'host-state-unwritable',
    });
  });

  it('says where it looked for an agent that is not there, and for a Node.js that is not', async () => {
    await using stage = await setStage();
    const agentPath = join(stage.directory, 'nowhere.mjs');
    await expect(openLocalHost({ ...stage.options, agentPath })).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(agentPath),
    });
    const nodePath = join(stage.directory, 'no-node');
    await expect(openLocalHost({ ...stage.options, nodePath })).rejects.toMatchObject({
      code: 'command-failed',
    });
  });

  it.each([
    { behaviour: 'failing', code: 'command-failed', message: 'disk is full' },
    { behaviour: 'refusing', code: 'migration-conflict', message: 'Held by another.' },
    { behaviour: 'older', code: 'contract-mismatch', message: 'version 0' },
    { behaviour: 'chatty', code: 'host-reply-malformed', message: 'no JSON' },
    { behaviour: 'flooding', code: 'host-reply-malformed', message: 'more than 1048576 bytes' },
  ])('names the error of an agent that is $behaviour', async ({ behaviour, code, message }) => {
    await using stage = await setStage();
    const host = await openLocalHost(stage.options);
    await stage.behave(behaviour);
    await expect(host.call(STATUS)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  it('is killed with a cancelled run, which gets its reason back', async () => {
    const cancel = new AbortController();
    await using stage = await setStage();
    const host = await openLocalHost({ ...stage.options, signal: cancel.signal });
    await stage.behave('hanging');
    const refusal = expect(host.call(STATUS)).rejects.toThrow('the run is cancelled');
    await expect
      .poll(() => existsSync(join(stage.options.stateDirectory, 'hangs')), { timeout: 20_000 })
      .toBe(true);
    cancel.abort(new Error('the run is cancelled'));
    await refusal;
    await stage.behave('');
    await expect(host.call(STATUS)).rejects.toThrow('the run is cancelled');
    expect(await host.call(STATUS, { signal: new AbortController().signal })).toEqual({ jobs: [] });
  });
});

it('lets only named variables and those of AWS through to the agent', () => {
  const environment = {
    PATH: '/bin',
    HOME: '/root',
    AWS_PROFILE: 'a',
    GITHUB_TOKEN: 'b',
    SECRET: 'c',
    EMPTY: undefined,
  };
  expect(agentEnvironment(environment, ['SECRET', 'EMPTY'])).toEqual({
    PATH: '/bin',
    HOME: '/root',
    AWS_PROFILE: 'a',
    SECRET: 'c',
  });
});

async function setStage() {
  const directory = await mkdtemp(join(tmpdir(), 'local-host-'));
  const stateDirectory = join(directory, 'state');
  const options: LocalHostOptions = {
    agentPath: await writeStandInAgent(directory),
    stateDirectory,
    nodePath: process.execPath,
    environment: { PATH: process.env.PATH },
    secretVariables: [],
    clock: systemClock,
    signal: new AbortController().signal,
    log: () => {},
  };
  return {
    directory,
    options,
    behave: (behaviour: string) => writeFile(join(stateDirectory, 'behaviour'), behaviour),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
