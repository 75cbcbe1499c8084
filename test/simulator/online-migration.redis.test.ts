import {
  CompleteMigrationCommand,
  DescribeEventsCommand,
  DescribeReplicationGroupsCommand,
  StartMigrationCommand,
  TestMigrationCommand,
} from '@aws-sdk/client-elasticache';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findServer, type RunningServer, startServer } from '../servers/start.ts';
import type { ReplicationGroupOptions, SimulatedReplicationGroup } from './replication-group.ts';
import { openClients, type SdkClients } from './sdk-clients.ts';
import { type Simulator, startSimulator } from './start.ts';

const WAIT = { timeout: 30_000, interval: 20 };
const KEYS = 500;
let simulator: Simulator;
let clients: SdkClients;

beforeEach(async () => {
  simulator = await startSimulator({ timing: { modifyingMs: 400, linkTimeoutMs: 1500, linkAttempts: 2 } });
  clients = openClients(simulator);
});
afterEach(async () => {
  clients[Symbol.dispose]();
  await simulator[Symbol.asyncDispose]();
});

async function addGroup(more: Partial<ReplicationGroupOptions> = {}): Promise<SimulatedReplicationGroup> {
  const server = await findServer({ kind: 'valkey', version: '8' });
  return simulator.addReplicationGroup({ replicationGroupId: 'target', server, ...more });
}

async function startSource(version: string, config: Record<string, string> = {}): Promise<RunningServer> {
  const server = await findServer({ kind: 'redis', version });
  const source = await startServer({
    server,
    config: { 'protected-mode': 'no', 'repl-diskless-sync-delay': '0', ...config },
  });
  const client = source.client();
  const pipeline = client.pipeline();
  for (let index = 0; index < KEYS; index += 1) pipeline.hset(`key:${index}`, { field: index, other: 'x' });
  await pipeline.exec();
  return source;
}

function endpointOf(source: { port: number }) {
  return {
    ReplicationGroupId: 'target',
    CustomerNodeEndpointList: [{ Address: '127.0.0.1', Port: source.port }],
  };
}

const start = (source: { port: number }) =>
  clients.elasticache.send(new StartMigrationCommand(endpointOf(source)));
const test = (source: { port: number }) =>
  clients.elasticache.send(new TestMigrationCommand(endpointOf(source)));
const complete = (Force?: boolean) =>
  clients.elasticache.send(
    new CompleteMigrationCommand({ ReplicationGroupId: 'target', ...(Force === undefined ? {} : { Force }) }),
  );

async function status(): Promise<string | undefined> {
  const ask = new DescribeReplicationGroupsCommand({ ReplicationGroupId: 'target' });
  return (await clients.elasticache.send(ask)).ReplicationGroups?.[0]?.Status;
}

async function events(): Promise<string[]> {
  const ask = new DescribeEventsCommand({ SourceIdentifier: 'target', SourceType: 'replication-group' });
  return (await clients.elasticache.send(ask)).Events?.map(({ Message }) => Message ?? '') ?? [];
}

async function isLinked(group: SimulatedReplicationGroup): Promise<boolean> {
  return (await group.info('replication')).get('master_link_status') === 'up';
}

describe('a migration from Redis 7.0', () => {
  it('goes modifying, migrating, available and ends with all keys, also those written meanwhile', async () => {
    await using source = await startSource('7.0');
    const group = await addGroup();
    expect((await start(source)).ReplicationGroup?.Status).toBe('modifying');
    await expect.poll(status, WAIT).toBe('migrating');
    await expect.poll(() => isLinked(group), WAIT).toBe(true);
    await source.client().set('written', 'meanwhile');
    await expect(group.node.client().set('a', 'b')).rejects.toThrow(/^READONLY/);

    await complete();
    await expect.poll(status, WAIT).toBe('available');
    expect(await events()).toEqual(['Complete Migration successful for target']);
    const target = group.node.client();
    expect(await target.dbsize()).toBe(KEYS + 1);
    expect(await target.get('written')).toBe('meanwhile');
    expect(await target.hgetall('key:42')).toEqual({ field: '42', other: 'x' });
    expect(await target.set('a', 'b')).toBe('OK');
  });

  it('refuses a second start and a test, and knows when there is none to complete', async () => {
    await using source = await startSource('7.0');
    await addGroup();
    await expect(complete()).rejects.toMatchObject({ name: 'ReplicationGroupNotUnderMigrationFault' });
    await start(source);
    await expect(complete()).rejects.toMatchObject({ name: 'InvalidReplicationGroupStateFault' });
    for (const again of [start, test]) {
      await expect(again(source)).rejects.toMatchObject({
        name: 'ReplicationGroupAlreadyUnderMigrationFault',
      });
    }
  });

  it('stops at once by Force and leaves what it has', async () => {
    await using source = await startSource('7.0');
    const group = await addGroup();
    await start(source);
    await expect.poll(() => isLinked(group), WAIT).toBe(true);
    expect((await complete(true)).ReplicationGroup?.Status).toBe('available');
    expect((await group.info('replication')).get('role')).toBe('master');
    expect(await group.node.client().dbsize()).toBe(KEYS);
  });

  it.each([
    ['has ended', (source: RunningServer) => source.stop()],
    ['hangs', async (source: RunningServer) => process.kill(source.pid, 'SIGSTOP')],
  ])('stays migrating with an event when the source %s and cannot be compared with', async (_what, halt) => {
    await using source = await startSource('7.0');
    const group = await addGroup();
    await start(source);
    await expect.poll(() => isLinked(group), WAIT).toBe(true);
    await halt(source);
    await complete();
    await expect.poll(events, WAIT).toEqual([expect.stringMatching(/not in sync/)]);
    expect(await status()).toBe('migrating');
    expect((await group.info('replication')).get('role')).toBe('slave');
  });
});

it('a migration from Redis 8.0 wipes the target, gives up and goes back to available with an event', async () => {
  await using source = await startSource('8.0');
  const group = await addGroup();
  await group.node.client().set('precious', 'data');
  await start(source);
  await expect.poll(status, WAIT).toBe('migrating');
  await expect.poll(status, WAIT).toBe('available');
  expect(await events()).toEqual(['Migration operation failed for replication group target.']);
  expect((await group.info('replication')).get('role')).toBe('master');
  expect(await group.node.client().dbsize()).toBe(0);
});

it('a migration from a source that nobody reaches gives up and keeps the data of the target', async () => {
  const group = await addGroup();
  await group.node.client().set('precious', 'data');
  await start({ port: 1 });
  await expect.poll(status, WAIT).toBe('migrating');
  await expect.poll(status, WAIT).toBe('available');
  expect(await events()).toHaveLength(1);
  expect(await group.node.client().get('precious')).toBe('data');
});

describe('TestMigration', () => {
  it('tells by an event that the source answers', async () => {
    await using source = await startSource('7.0');
    await addGroup();
    expect((await test(source)).ReplicationGroup?.Status).toBe('available');
    await expect.poll(events, WAIT).toEqual(['Test migration succeeded for replication group target.']);
  });

  it('tells by an event what is wrong', async () => {
    await using source = await startSource('7.0');
    await source.client().config('SET', 'requirepass', 'secret');
    await addGroup();
    await test(source);
    await expect.poll(events, WAIT).toEqual([expect.stringMatching(/failed.*NOAUTH/)]);
    await test({ port: 1 });
    await expect
      .poll(events, WAIT)
      .toEqual([expect.anything(), expect.stringMatching(/failed.*ECONNREFUSED/)]);
  });
});

describe('a start is refused', () => {
  it.each([
    ['for a group with encryption in transit', { transitEncryption: true }, /in-transit encryption/],
    ['for a group without Multi-AZ', { multiAz: false }, /Multi-AZ/],
  ])('%s', async (_what, options, message) => {
    await addGroup(options);
    await expect(start({ port: 1 })).rejects.toMatchObject({
      name: 'InvalidParameterValueException',
      message: expect.stringMatching(message),
    });
  });

  it('for a group that is unknown or not available, and for more than one endpoint', async () => {
    await expect(start({ port: 1 })).rejects.toMatchObject({
      name: 'ReplicationGroupNotFoundFault',
      $metadata: { httpStatusCode: 404 },
    });
    const group = await addGroup({ status: 'snapshotting' });
    await expect(start({ port: 1 })).rejects.toMatchObject({
      name: 'InvalidReplicationGroupStateFault',
      message: 'The requested replication group is not in the available state.',
    });
    group.status = 'available';
    const [endpoint = {}] = endpointOf({ port: 1 }).CustomerNodeEndpointList;
    const two = { ReplicationGroupId: 'target', CustomerNodeEndpointList: [endpoint, endpoint] };
    await expect(clients.elasticache.send(new StartMigrationCommand(two))).rejects.toMatchObject({
      name: 'InvalidParameterValueException',
    });
  });
});
