import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ActionResult } from '../runner/run-action.ts';
import { createTlsFiles } from '../servers/tls.ts';
import { openStage, type Stage } from './stage.ts';

/** Passwords that break whatever pastes them into a shell line, a URL, JSON or a workflow command. */
const SOURCE_PASSWORD = `pl4nted$(id) "it's" \\ %41 ::x & #1 ключ`;
/** ElastiCache takes few special characters in an AUTH token. */
const TARGET_PASSWORD = 'pl4nted-T4rget!&^+/=';
const WRONG_PASSWORD = 'pl4nted-wr0ng<>&$';
const PLANTED = [SOURCE_PASSWORD, TARGET_PASSWORD, WRONG_PASSWORD];

describe('passwords with special characters, over TLS with an authority of its own and a client certificate', () => {
  it('open both servers, and nobody finds them anywhere afterwards', { timeout: 300_000 }, async () => {
    await using tls = await createTlsFiles();
    await using stage = await openStage({
      sourceTls: tls,
      sourceConfig: { 'tls-auth-clients': 'yes' },
      group: { tls, authToken: TARGET_PASSWORD },
    });
    await guardSource(stage);
    const { simulator } = stage;
    simulator.putSecret('redis', JSON.stringify({ password: SOURCE_PASSWORD }));
    simulator.putParameter('/redis/target', TARGET_PASSWORD, 'SecureString');
    const env = { TARGET_PASSWORD, UNNAMED: WRONG_PASSWORD };
    const inputs = {
      'source-tls': 'true',
      'source-ca-file': tls.ca,
      'source-client-cert-file': tls.certificate,
      'source-client-key-file': tls.key,
      'source-username': 'migrator',
      'source-password-from': 'secretsmanager:redis#password',
      'target-password-from': 'env:TARGET_PASSWORD',
      'target-ca-file': tls.ca,
    };
    const found: string[] = [];
    for (const phase of [
      'preflight',
      'backup',
      'start-migration',
      'status',
      'verify',
      'complete-migration',
    ]) {
      const result = await stage.run(phase, { inputs, env });
      expect({ phase, exitCode: result.exitCode, log: result.log }).toMatchObject({ exitCode: 0 });
      if (phase !== 'status') expect(result.masks).toEqual([TARGET_PASSWORD]);
      found.push(...traces(phase, shown(result)));
      found.push(...traces('processes', await processTexts(await stage.instance.pids())));
    }
    expect(sentRequests(stage)).toContain('"from":"sealed","name":"TARGET_PASSWORD"');
    found.push(...traces('requests to the host', sentRequests(stage)));
    // What fails tells why, and must not tell with what.
    inputs['target-password-from'] = 'ssm:/redis/target';
    simulator.putSecret('redis', JSON.stringify({ password: WRONG_PASSWORD }));
    const wrong = await stage.run('preflight', { inputs });
    expect(wrong.outputs['error-code']).toBe('source-auth-failed');
    simulator.putSecret('redis', `{"password": "${WRONG_PASSWORD}`);
    const broken = await stage.run('preflight', { inputs });
    expect(broken.outputs['error-code']).toBe('secret-unreadable');
    const unset = await stage.run('preflight', {
      inputs: { ...inputs, 'target-password-from': 'env:NOWHERE' },
      env,
    });
    expect(unset.outputs['error-code']).toBe('secret-unreadable');
    const pasted = await stage.run('preflight', {
      inputs: { ...inputs, 'source-password-from': SOURCE_PASSWORD },
    });
    expect(pasted.outputs['error-code']).toBe('input-malformed');
    for (const result of [wrong, broken, unset, pasted])
      found.push(...traces('a failed preflight', shown(result)));
    found.push(...traces('calls of AWS', JSON.stringify(simulator.calls)));
    found.push(...(await tracesInFiles(stage.instance.directory)));
    found.push(...traces('the checkpoint', await checkpointText(stage)));
    expect(found).toEqual([]);
  });

  it('are needed: without the client certificate, or with another authority, nothing is reached', async () => {
    await using tls = await createTlsFiles();
    await using other = await createTlsFiles();
    await using stage = await openStage({ sourceTls: tls, sourceConfig: { 'tls-auth-clients': 'yes' } });
    const certificate = { 'source-client-cert-file': tls.certificate, 'source-client-key-file': tls.key };
    const refused = async (inputs: Record<string, string>) =>
      (await stage.run('preflight', { inputs: { 'source-tls': 'true', ...inputs } })).outputs['error-code'];
    expect(await refused({ 'source-ca-file': tls.ca })).toBe('source-tls-failed');
    expect(await refused({ 'source-ca-file': other.ca, ...certificate })).toBe('source-tls-failed');
    expect(await refused({ ...certificate })).toBe('source-tls-failed');
    expect(
      await refused({ 'source-ca-file': tls.ca, ...certificate, 'source-client-key-file': '/no/key' }),
    ).toBe('source-tls-failed');
  });
});

describe('a password in a variable of the runner', () => {
  it('reaches the agent on this runner in its environment, and nothing else', async () => {
    await using stage = await openStage();
    await guardSource(stage);
    const stateDirectory = join(stage.instance.directory, 'local');
    const inputs = {
      host: 'local',
      'instance-id': undefined,
      'state-directory': stateDirectory,
      'source-username': 'migrator',
      'source-password-from': 'env:REDIS_PASSWORD',
    };
    const env = { REDIS_PASSWORD: SOURCE_PASSWORD, UNNAMED: WRONG_PASSWORD };
    const found: string[] = [];
    for (const phase of ['start-migration', 'verify', 'complete-migration']) {
      const result = await stage.run(phase, { inputs, env });
      expect({ phase, exitCode: result.exitCode, log: result.log }).toMatchObject({ exitCode: 0 });
      expect(result.masks).toEqual([SOURCE_PASSWORD]);
      found.push(...traces(phase, shown(result)));
    }
    found.push(...traces('calls of AWS', JSON.stringify(stage.simulator.calls)));
    found.push(...(await tracesInFiles(stateDirectory)));
    expect(found).toEqual([]);
  });
});

it('what is planted is found where it is, in every spelling that is looked for', () => {
  const spelt = [
    SOURCE_PASSWORD,
    JSON.stringify(SOURCE_PASSWORD),
    Buffer.from(SOURCE_PASSWORD).toString('base64'),
  ];
  for (const text of [...spelt, encodeURIComponent(SOURCE_PASSWORD)])
    expect(traces('here', `before ${text} after`)).not.toEqual([]);
  expect(traces('here', 'nothing')).toEqual([]);
});

/** A user of its own with the planted password; the default user stays for the test. */
async function guardSource(stage: Stage): Promise<void> {
  const client = stage.source.client();
  await client.call('ACL', 'SETUSER', 'migrator', 'on', `>${SOURCE_PASSWORD}`, '~*', '&*', '+@all');
  for (let key = 0; key < 50; key += 1) await client.set(`key:${key}`, 'value');
}

/** Everything that a run of a phase leaves on the runner, which shows no command that masks a value. */
function shown(result: ActionResult & { report: unknown }): string {
  const log = result.log.replaceAll(/^::add-mask::.*$/gm, '');
  const { stderr, summary, outputs, annotations, report } = result;
  return [log, stderr, summary, JSON.stringify({ outputs, annotations, report })].join('\n');
}

/** Where any planted password stands in a text, in its own spelling or in one that tools give it. */
function traces(place: string, text: string): string[] {
  return PLANTED.flatMap((secret, index) =>
    [
      secret,
      JSON.stringify(secret).slice(1, -1),
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64').slice(0, -4),
      Buffer.from(secret).toString('hex'),
    ]
      .filter((spelling) => text.includes(spelling))
      .map((spelling) => `password ${index} in ${place}: ${spelling}`),
  );
}

/** What was sent to the instance, out of its base64. */
function sentRequests({ simulator }: Stage): string {
  const sent = JSON.stringify(simulator.calls.filter(({ operation }) => operation === 'SendCommand'));
  return [...sent.matchAll(/request_base64='([^']*)'/g)]
    .map(([, request = '']) => Buffer.from(request, 'base64').toString())
    .join('\n');
}

async function tracesInFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
  expect(files.length).toBeGreaterThan(3);
  const found = await Promise.all(files.map(async (file) => traces(file, await readFile(file, 'utf8'))));
  return found.flat();
}

/** What `ps` and `/proc` show of processes: arguments and environments. */
async function processTexts(pids: readonly number[]): Promise<string> {
  const texts = await Promise.all(
    pids.flatMap((pid) =>
      // A process may have ended since it was listed.
      ['cmdline', 'environ'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')),
    ),
  );
  return texts.join('\n');
}

async function checkpointText(stage: Stage): Promise<string> {
  const keys = await stage.group.node.client().keys('*valkey-migrate*');
  return JSON.stringify([keys, await Promise.all(keys.map((key) => stage.group.node.client().dump(key)))]);
}
