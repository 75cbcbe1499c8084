import { ElastiCacheClient } from '@aws-sdk/client-elasticache';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { toAwsError } from '../../../src/action/aws/aws-error.ts';
import { openAwsClients } from '../../../src/action/aws/clients.ts';
import {
  awaitCompletion,
  requestCompletion,
  startMigration,
  testMigration,
  watchCompletion,
} from '../../../src/action/aws/online-migration.ts';
import { createSnapshot } from '../../../src/action/aws/snapshot.ts';
import type { ElastiCacheDoor } from '../../../src/action/aws/target.ts';
import { describeTarget, readStatus } from '../../../src/action/aws/target.ts';
import { MigrationError } from '../../../src/core/errors.ts';
import { openSimulatedDoor } from './simulated-door.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('an error of ElastiCache', () => {
  it.each([
    ['AccessDenied', 'aws-access-denied'],
    ['ExpiredToken', 'aws-credentials-expired'],
    ['InvalidClientTokenId', 'aws-credentials-missing'],
    ['Throttling', 'aws-throttled'],
    ['ServiceUnavailable', 'aws-unavailable'],
    ['InternalFailure', 'aws-unavailable'],
  ])('%s becomes %s', async (error, code) => {
    await using stage = await openSimulatedDoor();
    stage.simulator.faults.inject({ operation: 'DescribeReplicationGroups', error, times: 9 });
    await expect(readStatus(stage.door, 'sessions')).rejects.toMatchObject({
      code,
      message: expect.stringContaining(
        'elasticache:DescribeReplicationGroups for replication group sessions',
      ),
    });
  });

  it('says of a denied call which permission is missing', async () => {
    await using stage = await openSimulatedDoor();
    stage.simulator.faults.inject({
      operation: 'DescribeReplicationGroups',
      error: 'AccessDenied',
      times: 9,
    });
    await expect(readStatus(stage.door, 'sessions')).rejects.toMatchObject({
      remedy: expect.stringContaining('Allow elasticache:DescribeReplicationGroups'),
    });
  });

  it('says of a group that does not exist that it does not exist', async () => {
    await using stage = await openSimulatedDoor();
    const { door } = stage;
    const source = { host: '127.0.0.1', port: 1 };
    const absent = { code: 'replication-group-not-found', message: expect.stringContaining('nobody') };
    await expect(describeTarget(door, 'nobody')).rejects.toMatchObject(absent);
    await expect(testMigration(door, { id: 'nobody', source, timeoutMs: 1 })).rejects.toMatchObject(absent);
    await expect(startMigration(door, { id: 'nobody', source, timeoutMs: 1 })).rejects.toMatchObject(absent);
    await expect(completeMigration(door, { id: 'nobody', force: true, timeoutMs: 1 })).rejects.toMatchObject(
      absent,
    );
    await expect(createSnapshot(door, { id: 'nobody', name: 's', timeoutMs: 1 })).rejects.toMatchObject(
      absent,
    );
  });

  it('outlasts a connection that drops once, and names one that keeps dropping', async () => {
    await using stage = await openSimulatedDoor();
    stage.simulator.faults.inject({ operation: 'DescribeReplicationGroups', drop: 'request' });
    await expect(readStatus(stage.door, 'nobody')).rejects.toMatchObject({
      code: 'replication-group-not-found',
    });
    stage.simulator.faults.inject({ operation: 'DescribeReplicationGroups', drop: 'request', times: 9 });
    await expect(readStatus(stage.door, 'nobody')).rejects.toMatchObject({ code: 'aws-unavailable' });
  });

  it('gives the reason of a cancelled run back instead of its own', async () => {
    const cancel = new AbortController();
    await using stage = await openSimulatedDoor({ signal: cancel.signal });
    cancel.abort(new Error('the run is cancelled'));
    await expect(readStatus(stage.door, 'sessions')).rejects.toThrow('the run is cancelled');
  });
});

describe('an error that no service answered', () => {
  const call = { action: 'ssm:SendCommand', about: 'instance i-1' };

  it.each([
    ['ECONNREFUSED', 'aws-unavailable'],
    ['ENOTFOUND', 'aws-unavailable'],
    ['ETIMEDOUT', 'aws-unavailable'],
    ['EACCES', 'internal'],
  ])('%s becomes %s', (code, expected) => {
    expect(toAwsError(Object.assign(new Error('failed'), { code }), call).code).toBe(expected);
  });

  it('is found in the errors of all the addresses of a host', () => {
    const one = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
    expect(toAwsError(new AggregateError([one]), call).code).toBe('aws-unavailable');
  });

  it('is left as it is when it is one of ours', () => {
    const ours = new MigrationError('instance-offline', 'Offline.');
    expect(toAwsError(ours, call)).toBe(ours);
  });

  it('is told from a thrown string', () => {
    expect(toAwsError('surprise', call)).toMatchObject({
      code: 'internal',
      message: expect.stringContaining('ssm:SendCommand'),
    });
  });

  it('of credentials that were not found names what sets them', async () => {
    const missing = async () => {
      throw Object.assign(new Error('Could not load credentials from any providers'), {
        name: 'CredentialsProviderError',
      });
    };
    await using stage = await openSimulatedDoor();
    const elasticache = new ElastiCacheClient({
      region: stage.simulator.region,
      endpoint: stage.simulator.url,
      credentials: missing,
    });
    await expect(readStatus({ ...stage.door, elasticache }, 'sessions')).rejects.toMatchObject({
      code: 'aws-credentials-missing',
      remedy: expect.stringContaining('configure-aws-credentials'),
    });
  });
});

it('the clients find endpoint and credentials in the environment, and name themselves', async () => {
  await using stage = await openSimulatedDoor();
  for (const [name, value] of Object.entries(stage.simulator.env)) vi.stubEnv(name, value);
  using clients = openAwsClients({ region: stage.simulator.region, version: '1.2.3' });
  const door = { ...stage.door, elasticache: clients.elasticache };
  await expect(readStatus(door, 'nobody')).rejects.toMatchObject({ code: 'replication-group-not-found' });
  expect(clients.elasticache.config.customUserAgent).toEqual([['valkey-migrate', '1.2.3']]);
});

async function completeMigration(
  door: ElastiCacheDoor,
  { timeoutMs, ...request }: { id: string; force: boolean; timeoutMs: number },
) {
  const watch = await watchCompletion(door, request.id);
  await requestCompletion(door, request);
  return await awaitCompletion(door, { id: request.id, watch, timeoutMs });
}
