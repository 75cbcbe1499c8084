import { DescribeReplicationGroupsCommand, ElastiCacheClient } from '@aws-sdk/client-elasticache';
import { DescribeInstanceInformationCommand, GetInventoryCommand } from '@aws-sdk/client-ssm';
import { AssumeRoleWithWebIdentityCommand } from '@aws-sdk/nested-clients/sts';
import { AwsClient } from 'aws4fetch';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type OidcStub, startOidcStub } from './oidc-stub.ts';
import { openClients, type SdkClients } from './sdk-clients.ts';
import { type Simulator, startSimulator } from './start.ts';

let simulator: Simulator;
let clients: SdkClients;

beforeEach(async () => {
  simulator = await startSimulator();
  clients = openClients(simulator);
});
afterEach(async () => {
  clients[Symbol.dispose]();
  await simulator[Symbol.asyncDispose]();
});

const describeInstances = (using: SdkClients = clients) =>
  using.ssm.send(new DescribeInstanceInformationCommand({}));
const describeGroups = () => clients.elasticache.send(new DescribeReplicationGroupsCommand({}));

function signer(service: string, keys = simulator.env): AwsClient {
  return new AwsClient({
    accessKeyId: keys.AWS_ACCESS_KEY_ID ?? '',
    secretAccessKey: keys.AWS_SECRET_ACCESS_KEY ?? '',
    region: simulator.region,
    service,
    retries: 0,
  });
}

function callQuery(service: string, form: string, keys = simulator.env): Promise<Response> {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return signer(service, keys).fetch(simulator.url, { method: 'POST', headers, body: form });
}

describe('what the simulator does not serve is refused loudly and kept as a complaint', () => {
  it.each([
    ['an unknown parameter', 'elasticache', 'Action=DescribeEvents&Sauce=x', 'no parameter Sauce'],
    ['an operation not served', 'elasticache', 'Action=CreateUser', 'does not serve elasticache CreateUser'],
    ['a service not served', 's3', 'Action=ListBuckets', 'not s3'],
  ])('%s', async (_what, service, form, reason) => {
    const response = await callQuery(service, form);
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('<Code>SimulatorError</Code>');
    expect(simulator.takeComplaints()).toEqual([expect.stringContaining(reason)]);
  });

  it('an SDK command not served', async () => {
    await expect(clients.ssm.send(new GetInventoryCommand({}))).rejects.toMatchObject({
      name: 'SimulatorError',
    });
    expect(simulator.takeComplaints()).toHaveLength(1);
  });

  it('an option not served', async () => {
    const response = await callQuery(
      'elasticache',
      'Action=DescribeCacheParameters&CacheParameterGroupName=n&Source=user',
    );
    expect(await response.text()).toContain('does not serve Source of DescribeCacheParameters');
    expect(simulator.takeComplaints()).toHaveLength(1);
  });

  it('a request for another region', async () => {
    const { accessKeyId = '', secretAccessKey = '' } = await clients.elasticache.config.credentials();
    const elsewhere = new ElastiCacheClient({
      endpoint: simulator.url,
      region: 'eu-west-1',
      credentials: { accessKeyId, secretAccessKey },
    });
    await expect(elsewhere.send(new DescribeReplicationGroupsCommand({}))).rejects.toThrow(/eu-west-1/);
    elsewhere.destroy();
    expect(simulator.takeComplaints()).toHaveLength(1);
  });

  it('and the end of the simulator throws when nobody took the complaint', async () => {
    const other = await startSimulator();
    await fetch(other.url, {
      method: 'POST',
      body: 'x',
      headers: { authorization: 'Credential=AKIASIMULATOREXAMPLE/20260101/ap-northeast-2/s3/aws4_request' },
    });
    await expect(other[Symbol.asyncDispose]()).rejects.toThrow(/not s3/);
  });
});

describe('credentials', () => {
  it('must be there and known', async () => {
    const unsigned = await fetch(simulator.url, { method: 'POST', body: 'Action=GetCallerIdentity' });
    expect(unsigned.status).toBe(403);
    expect(await unsigned.text()).toContain('MissingAuthenticationToken');
    const stranger = { AWS_ACCESS_KEY_ID: 'AKIASTRANGER', AWS_SECRET_ACCESS_KEY: 'x' };
    expect(await (await callQuery('sts', 'Action=GetCallerIdentity', stranger)).text()).toContain(
      'InvalidClientTokenId',
    );
  });

  it('come from a web identity without a signature and then name their role', async () => {
    await using provider = await startOidcStub();
    simulator.addIdentityProvider(provider.issuer, provider.publicKey);
    simulator.addWebIdentityRole('migrate', { trusts: ({ sub }) => sub === SUBJECT });
    const { Credentials, ...answer } = await assume(await tokenOf(provider, SUBJECT));
    expect(answer).toMatchObject({ SubjectFromWebIdentityToken: SUBJECT, Audience: 'sts.amazonaws.com' });
    const identity = await callQuery('sts', 'Action=GetCallerIdentity', {
      AWS_ACCESS_KEY_ID: Credentials?.AccessKeyId ?? '',
      AWS_SECRET_ACCESS_KEY: Credentials?.SecretAccessKey ?? '',
    });
    expect(await identity.text()).toContain(
      '<Arn>arn:aws:sts::111122223333:assumed-role/migrate/run-1</Arn>',
    );
  });

  it('are refused for a token that is none, is forged, is of a stranger, or that the role does not trust', async () => {
    await using provider = await startOidcStub();
    simulator.addWebIdentityRole('migrate', { trusts: ({ sub }) => sub === SUBJECT });
    const token = await tokenOf(provider, SUBJECT);
    await expect(assume('none')).rejects.toMatchObject({ name: 'InvalidIdentityTokenException' });
    await expect(assume(token)).rejects.toThrow('No OpenIDConnect provider found');
    simulator.addIdentityProvider(provider.issuer, provider.publicKey);
    const [head, , signature] = token.split('.');
    const [, otherBody] = (await tokenOf(provider, 'repo:o/r:environment:other')).split('.');
    await expect(assume([head, otherBody, signature].join('.'))).rejects.toThrow('signature');
    await expect(assume(await tokenOf(provider, 'repo:o/r:environment:other'))).rejects.toMatchObject({
      name: 'AccessDenied',
    });
    await expect(assume(token, 'unknown')).rejects.toMatchObject({ name: 'AccessDenied' });
    await assume(token);
  });

  const SUBJECT = 'repo:o/r:environment:e';

  const assume = (token: string, role = 'migrate') =>
    clients.sts.send(
      new AssumeRoleWithWebIdentityCommand({
        RoleArn: `arn:aws:iam::111122223333:role/path/${role}`,
        RoleSessionName: 'run-1',
        WebIdentityToken: token,
      }),
    );

  async function tokenOf(provider: OidcStub, sub: string): Promise<string> {
    const { url, token } = provider.open({ sub });
    const headers = { authorization: `bearer ${token}` };
    const answer = await (await fetch(`${url}&audience=sts.amazonaws.com`, { headers })).json();
    return z.object({ value: z.string() }).parse(answer).value;
  }
});

describe('an injected fault', () => {
  it('throttles the wanted number of calls, after the wanted number of good ones', async () => {
    const fault = simulator.faults.inject({
      operation: 'DescribeInstanceInformation',
      error: 'ThrottlingException',
      after: 1,
      times: 2,
    });
    await describeInstances();
    await expect(describeInstances()).rejects.toMatchObject({
      name: 'ThrottlingException',
      message: 'Rate exceeded',
    });
    await expect(describeInstances()).rejects.toMatchObject({ name: 'ThrottlingException' });
    await describeInstances();
    expect(fault.hits).toBe(2);
    expect(simulator.calls.map(({ outcome }) => outcome)).toEqual([
      'ok',
      'ThrottlingException',
      'ThrottlingException',
      'ok',
    ]);
  });

  it('is overcome by the retries of the SDK', async () => {
    simulator.faults.inject({ operation: 'DescribeInstanceInformation', error: 'InternalServerError' });
    using patient = openClients(simulator, 3);
    const answer = await describeInstances(patient);
    expect(answer.$metadata.attempts).toBe(2);
  });

  it('has code, status and text of its service', async () => {
    simulator.faults.inject({ operation: 'DescribeReplicationGroups', error: 'Throttling' });
    await expect(describeGroups()).rejects.toMatchObject({
      name: 'Throttling',
      $metadata: { httpStatusCode: 400 },
    });
    simulator.faults.inject({ operation: 'DescribeReplicationGroups', error: 'AccessDenied' });
    await expect(describeGroups()).rejects.toMatchObject({
      name: 'AccessDenied',
      $metadata: { httpStatusCode: 403 },
      message: expect.stringMatching(
        /^User: arn:aws:sts::\d+:assumed-role\/\S+ is not authorized to perform: elasticache:DescribeReplicationGroups/,
      ),
    });
    simulator.faults.inject({ operation: 'DescribeInstanceInformation', error: 'AccessDeniedException' });
    await expect(describeInstances()).rejects.toMatchObject({
      name: 'AccessDeniedException',
      $metadata: { httpStatusCode: 400 },
      message: expect.stringContaining('is not authorized to perform: ssm:DescribeInstanceInformation'),
    });
  });

  it('breaks the connection, and can be withdrawn', async () => {
    const fault = simulator.faults.inject({
      operation: 'DescribeInstanceInformation',
      drop: 'answer',
      times: Number.POSITIVE_INFINITY,
    });
    await expect(describeInstances()).rejects.toThrow();
    fault.withdraw();
    await describeInstances();
    expect(simulator.calls.map(({ outcome }) => outcome)).toEqual(['dropped', 'ok']);
  });

  it('with a code or an operation that nobody has is refused at once', () => {
    const { inject } = simulator.faults;
    expect(() => inject({ operation: 'SendCommand', error: 'Nonsense' })).toThrow(
      /ssm has no error Nonsense/,
    );
    expect(() => inject({ operation: 'Nonsense', error: 'Throttling' })).toThrow(/operation Nonsense/);
  });
});

it('records each call with its input in the shape of the SDK', async () => {
  await clients.elasticache
    .send(new DescribeReplicationGroupsCommand({ ReplicationGroupId: 'none' }))
    .catch(() => {});
  expect(simulator.calls).toEqual([
    {
      service: 'elasticache',
      operation: 'DescribeReplicationGroups',
      caller: 'arn:aws:sts::111122223333:assumed-role/valkey-migrate/simulator',
      input: { ReplicationGroupId: 'none' },
      outcome: 'ReplicationGroupNotFoundFault',
    },
  ]);
});
