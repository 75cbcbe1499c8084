import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { resolveSecret } from '../../../src/agent/secret/resolve.ts';
import type { SecretReference } from '../../../src/contract/endpoint.ts';

const never = new AbortController().signal;
const KEYS = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'example' };
const parameter: SecretReference = { from: 'ssm', name: '/redis/password', region: 'eu-west-1' };
const secret: SecretReference = { from: 'secretsmanager', name: 'redis', region: 'eu-west-1' };

type Answer = { status?: number; body: unknown };
type Seen = { line: string; headers: IncomingMessage['headers']; body: string };

/** A server that gives its answers by `METHOD /path`, one after the other; the last one stays. */
async function startStub(answers: Record<string, Answer[]>) {
  const seen: Seen[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const line = `${request.method} ${request.url}`;
    seen.push({ line, headers: request.headers, body });
    const queue = answers[line] ?? [];
    const answer = (queue.length > 1 ? queue.shift() : queue[0]) ?? { status: 404, body: 'no such page' };
    response.statusCode = answer.status ?? 200;
    response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The stub has no port.');
  return {
    url: `http://127.0.0.1:${address.port}`,
    seen,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const POST = 'POST /';
const immediately = { nowMs: () => 0, sleep: async () => {} };

describe('a secret in a file', () => {
  it('loses one newline at its end, and no more', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'secret-'));
    const file = path.join(directory, 'password');
    await writeFile(file, 'pass word\n\n');
    const found = await resolveSecret({ from: 'file', path: file }, { env: {}, signal: never });
    await rm(directory, { recursive: true });
    expect(found.reveal()).toBe('pass word\n');
  });

  it('is unreadable where there is no such file, which the error names', async () => {
    const reading = resolveSecret({ from: 'file', path: '/no/such/file' }, { env: {}, signal: never });
    await expect(reading).rejects.toMatchObject({
      code: 'secret-unreadable',
      message: expect.stringContaining('file:/no/such/file'),
    });
  });
});

describe('a secret in the environment', () => {
  it('is the value of the variable', async () => {
    const found = await resolveSecret({ from: 'env', name: 'P' }, { env: { P: 'x' }, signal: never });
    expect(found.reveal()).toBe('x');
  });

  it.each([{}, { P: '' }])('is unreadable where the variable is missing or empty: %j', async (env) => {
    const reading = resolveSecret({ from: 'env', name: 'P' }, { env, signal: never });
    await expect(reading).rejects.toMatchObject({ code: 'secret-unreadable' });
  });
});

describe('a secret in the Parameter Store', () => {
  it('is asked for decrypted, in a signed call to the endpoint of the environment', async () => {
    await using stub = await startStub({ [POST]: [{ body: { Parameter: { Value: 'pw' } } }] });
    const env = { ...KEYS, AWS_ENDPOINT_URL: 'http://127.0.0.1:1', AWS_ENDPOINT_URL_SSM: stub.url };
    const found = await resolveSecret(parameter, { env, signal: never });
    expect(found.reveal()).toBe('pw');
    expect(stub.seen[0]?.headers['x-amz-target']).toBe('AmazonSSM.GetParameter');
    expect(stub.seen[0]?.headers.authorization).toMatch(
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/ssm\/aws4_request/,
    );
    expect(JSON.parse(stub.seen[0]?.body ?? '')).toEqual({ Name: '/redis/password', WithDecryption: true });
  });

  it('passes on what AWS says when access is denied', async () => {
    const body = {
      __type: 'AccessDeniedException',
      Message: 'User x is not authorized to perform ssm:GetParameter',
    };
    await using stub = await startStub({ [POST]: [{ status: 400, body }] });
    const reading = resolveSecret(parameter, { env: { ...KEYS, AWS_ENDPOINT_URL: stub.url }, signal: never });
    await expect(reading).rejects.toMatchObject({
      code: 'secret-unreadable',
      message: expect.stringMatching(
        /ssm:\/redis\/password .*AccessDeniedException: User x is not authorized/,
      ),
    });
    expect(stub.seen).toHaveLength(1);
  });

  it('is asked for again after throttling and server errors', async () => {
    await using stub = await startStub({
      [POST]: [
        { status: 400, body: { __type: 'ThrottlingException', message: 'Rate exceeded' } },
        { status: 503, body: 'unavailable' },
        { body: { Parameter: { Value: 'pw' } } },
      ],
    });
    const env = { ...KEYS, AWS_ENDPOINT_URL: stub.url };
    const found = await resolveSecret(parameter, { env, signal: never, clock: immediately });
    expect(found.reveal()).toBe('pw');
  });

  it('is unreadable when AWS does not answer', async () => {
    const env = { ...KEYS, AWS_ENDPOINT_URL: 'http://127.0.0.1:1' };
    const reading = resolveSecret(parameter, { env, signal: never, clock: immediately });
    await expect(reading).rejects.toMatchObject({
      code: 'secret-unreadable',
      message: expect.stringContaining('no answer from 127.0.0.1:1'),
    });
  });

  it('is read with the credentials of the instance role where the environment has none', async () => {
    const folder = '/latest/meta-data/iam/security-credentials/';
    const role = { Code: 'Success', AccessKeyId: 'ASIAROLE', SecretAccessKey: 's', Token: 'session' };
    await using metadata = await startStub({
      'PUT /latest/api/token': [{ body: 'metadata-token' }],
      [`GET ${folder}`]: [{ body: 'migration-role' }],
      [`GET ${folder}migration-role`]: [{ body: role }],
    });
    await using stub = await startStub({ [POST]: [{ body: { Parameter: { Value: 'pw' } } }] });
    const env = { AWS_ENDPOINT_URL: stub.url, AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.url };
    await resolveSecret(parameter, { env, signal: never });
    expect(stub.seen[0]?.headers['x-amz-security-token']).toBe('session');
    expect(stub.seen[0]?.headers.authorization).toContain('Credential=ASIAROLE/');
    expect(metadata.seen.slice(1).map(({ headers }) => headers['x-aws-ec2-metadata-token'])).toEqual([
      'metadata-token',
      'metadata-token',
    ]);
  });

  it('is unreadable when there are no credentials at all', async () => {
    await using metadata = await startStub({});
    const env = { AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.url };
    await expect(resolveSecret(parameter, { env, signal: never })).rejects.toMatchObject({
      code: 'secret-unreadable',
      message: expect.stringContaining('there are no AWS credentials'),
    });
  });
});

describe('a secret in Secrets Manager', () => {
  const reply = (text: string) => ({ [POST]: [{ body: { SecretString: text } }] });

  it('is the whole text, or the named field of a JSON object', async () => {
    await using stub = await startStub(reply('{"password":"pw"}'));
    const context = { env: { ...KEYS, AWS_ENDPOINT_URL: stub.url }, signal: never };
    expect((await resolveSecret(secret, context)).reveal()).toBe('{"password":"pw"}');
    expect((await resolveSecret({ ...secret, field: 'password' }, context)).reveal()).toBe('pw');
    expect(stub.seen[0]?.headers['x-amz-target']).toBe('secretsmanager.GetSecretValue');
  });

  it.each(['hunter2', '{"user":"hunter2"}'])('never shows its value in an error: %s', async (text) => {
    await using stub = await startStub(reply(text));
    const context = { env: { ...KEYS, AWS_ENDPOINT_URL: stub.url }, signal: never };
    const error: unknown = await resolveSecret({ ...secret, field: 'password' }, context).catch((e) => e);
    expect(error).toMatchObject({
      code: 'secret-unreadable',
      message: expect.stringContaining('redis#password'),
    });
    expect(error instanceof Error ? `${error.stack} ${String(error.cause)}` : '').not.toContain('hunter2');
  });
});
