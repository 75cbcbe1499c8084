import {
  AddTagsToResourceCommand,
  CreateSnapshotCommand,
  DeleteSnapshotCommand,
  DescribeCacheClustersCommand,
  DescribeCacheParametersCommand,
  DescribeEventsCommand,
  DescribeReplicationGroupsCommand,
  DescribeSnapshotsCommand,
  ListTagsForResourceCommand,
  RemoveTagsFromResourceCommand,
} from '@aws-sdk/client-elasticache';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findServer } from '../servers/start.ts';
import { createTlsFiles } from '../servers/tls.ts';
import type { SimulatedReplicationGroup } from './replication-group.ts';
import { openClients, type SdkClients } from './sdk-clients.ts';
import { type Simulator, startSimulator } from './start.ts';

const WAIT = { timeout: 10_000, interval: 15 };
let simulator: Simulator;
let clients: SdkClients;
let group: SimulatedReplicationGroup;

beforeAll(async () => {
  simulator = await startSimulator();
  clients = openClients(simulator);
  group = await simulator.addReplicationGroup({
    replicationGroupId: 'Sessions',
    server: await findServer({ kind: 'valkey', version: '8' }),
    config: { 'maxmemory-policy': 'volatile-lru', databases: '4' },
  });
});
afterAll(async () => {
  clients[Symbol.dispose]();
  await simulator[Symbol.asyncDispose]();
});

describe('a replication group', () => {
  it('is described with the endpoint of its real node, in any case of letters', async () => {
    const { ReplicationGroups } = await clients.elasticache.send(
      new DescribeReplicationGroupsCommand({ ReplicationGroupId: 'SESSIONS' }),
    );
    expect(ReplicationGroups).toMatchObject([
      {
        ReplicationGroupId: 'sessions',
        Status: 'available',
        MultiAZ: 'enabled',
        TransitEncryptionEnabled: false,
        ClusterEnabled: false,
        MemberClusters: ['sessions-001', 'sessions-002'],
        NodeGroups: [{ PrimaryEndpoint: { Address: group.node.host, Port: group.node.port } }],
      },
    ]);
  });

  it('is refused with 404 when nobody knows it', async () => {
    const ask = new DescribeReplicationGroupsCommand({ ReplicationGroupId: 'none' });
    await expect(clients.elasticache.send(ask)).rejects.toMatchObject({
      name: 'ReplicationGroupNotFoundFault',
      $metadata: { httpStatusCode: 404 },
    });
  });

  it('has cache clusters with the version of the engine, and nodes only when asked for', async () => {
    const ask = (ShowCacheNodeInfo: boolean) =>
      clients.elasticache.send(
        new DescribeCacheClustersCommand({ CacheClusterId: 'sessions-001', ShowCacheNodeInfo }),
      );
    const [bare] = (await ask(false)).CacheClusters ?? [];
    expect(bare).toMatchObject({ Engine: 'valkey', EngineVersion: group.node.server.version });
    expect(bare?.CacheNodes ?? []).toEqual([]);
    const [full] = (await ask(true)).CacheClusters ?? [];
    expect(full?.CacheNodes).toMatchObject([{ Endpoint: { Port: group.node.port } }]);
    await expect(
      clients.elasticache.send(new DescribeCacheClustersCommand({ CacheClusterId: 'none' })),
    ).rejects.toMatchObject({ name: 'CacheClusterNotFoundFault', $metadata: { httpStatusCode: 404 } });
  });

  it('shows the parameters that its node really runs with', async () => {
    const { Parameters } = await clients.elasticache.send(
      new DescribeCacheParametersCommand({ CacheParameterGroupName: 'default.valkey8' }),
    );
    const values = new Map(Parameters?.map((each) => [each.ParameterName, each.ParameterValue]));
    expect(values.get('maxmemory-policy')).toBe('volatile-lru');
    expect(values.get('databases')).toBe('4');
    await expect(
      clients.elasticache.send(new DescribeCacheParametersCommand({ CacheParameterGroupName: 'none' })),
    ).rejects.toMatchObject({ name: 'CacheParameterGroupNotFoundFault' });
  });

  it('has its TLS port as endpoint when it has certificates', async () => {
    await using tls = await createTlsFiles();
    const sealed = await simulator.addReplicationGroup({
      replicationGroupId: 'sealed',
      server: group.node.server,
      tls,
    });
    const { ReplicationGroups } = await clients.elasticache.send(
      new DescribeReplicationGroupsCommand({ ReplicationGroupId: 'sealed' }),
    );
    expect(ReplicationGroups).toMatchObject([
      {
        TransitEncryptionEnabled: true,
        TransitEncryptionMode: 'required',
        NodeGroups: [{ PrimaryEndpoint: { Port: sealed.node.tlsPort } }],
      },
    ]);
  });

  it('describes cluster mode with a configuration endpoint and the slots of each shard', async () => {
    const clustered = await simulator.addReplicationGroup({
      replicationGroupId: 'clustered',
      server: group.node.server,
      clusterEnabled: true,
      numNodeGroups: 2,
    });
    const { ReplicationGroups } = await clients.elasticache.send(
      new DescribeReplicationGroupsCommand({ ReplicationGroupId: 'clustered' }),
    );
    expect(ReplicationGroups).toMatchObject([
      {
        ClusterEnabled: true,
        ConfigurationEndpoint: { Port: clustered.node.port },
        NodeGroups: [{ Slots: '0-8191' }, { Slots: '8192-16383' }],
      },
    ]);
    const { cluster } = clustered;
    expect(cluster?.primaries).toHaveLength(2);
    for (const primary of cluster?.primaries ?? []) {
      await expect(primary.client().call('CLUSTER', 'FAILOVER')).rejects.toThrow(/^NOPERM/);
      await expect(primary.client().call('CONFIG', 'GET', '*')).rejects.toThrow(/^ERR unknown command/);
    }
    for (const key of ['a', 'b', 'c', 'd']) await cluster?.client().set(key, 'value');
    const sizes = await Promise.all((cluster?.primaries ?? []).map((node) => node.client().dbsize()));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(4);
    expect(Math.min(...sizes)).toBeGreaterThan(0);
  });
});

describe('its node', () => {
  it.each([
    'BGREWRITEAOF',
    'BGSAVE',
    'CONFIG',
    'DEBUG',
    'MIGRATE',
    'PSYNC',
    'REPLICAOF',
    'SAVE',
    'SHUTDOWN',
    'SLAVEOF',
    'SYNC',
  ])('does not know %s for ordinary clients', async (command) => {
    await expect(group.node.client().call(command, 'x', 'y')).rejects.toThrow(/^ERR unknown command/);
  });

  it.each([
    ['ACL', 'SETUSER', 'x'],
    ['ACL', 'DELUSER', 'x'],
    ['CLUSTER', 'MEET', '127.0.0.1', '1'],
  ])('does not permit %s %s', async (command, ...args) => {
    await expect(group.node.client().call(command, ...args)).rejects.toThrow(/^NOPERM/);
  });

  it('serves everything else', async () => {
    const client = group.node.client();
    await client.set('k', 'v', 'PX', 100_000);
    const dump = await client.dumpBuffer('k');
    await client.restore('copy', 0, dump);
    expect(await client.get('copy')).toBe('v');
    expect(await client.call('MEMORY', 'USAGE', 'k')).toBeGreaterThan(0);
    expect(await client.call('ACL', 'WHOAMI')).toBe('default');
    expect(await group.admin('CONFIG', 'GET', 'databases')).toEqual(['databases', '4']);
  });

  it('asks for its token when it has one', async () => {
    const closed = await simulator.addReplicationGroup({
      replicationGroupId: 'closed',
      server: group.node.server,
      authToken: 'a-token-of-sixteen',
    });
    expect(await closed.node.client().ping()).toBe('PONG');
    await using stranger = await openWithoutToken(closed);
    await expect(stranger.client.get('k')).rejects.toThrow(/^NOAUTH/);
  });
});

async function openWithoutToken(closed: SimulatedReplicationGroup) {
  const client = new Redis({ port: closed.node.port, enableReadyCheck: false, retryStrategy: () => null });
  // ioredis also tells the refused greeting to this listener; the command that fails says it.
  client.on('error', () => {});
  return { client, [Symbol.asyncDispose]: async () => client.disconnect() };
}

describe('a snapshot', () => {
  it('is really saved while the group is snapshotting, and can be found and deleted', async () => {
    const savedBefore = (await group.info('persistence')).get('rdb_saves');
    const create = new CreateSnapshotCommand({ ReplicationGroupId: 'sessions', SnapshotName: 'before' });
    expect((await clients.elasticache.send(create)).Snapshot?.SnapshotStatus).toBe('creating');
    expect(group.status).toBe('snapshotting');
    await expect(
      clients.elasticache.send(
        new CreateSnapshotCommand({ ReplicationGroupId: 'sessions', SnapshotName: 'two' }),
      ),
    ).rejects.toMatchObject({ name: 'InvalidReplicationGroupStateFault' });

    const find = new DescribeSnapshotsCommand({ SnapshotName: 'before' });
    const status = async () => (await clients.elasticache.send(find)).Snapshots?.[0]?.SnapshotStatus;
    await expect.poll(status, WAIT).toBe('available');
    expect(group.status).toBe('available');
    expect((await group.info('persistence')).get('rdb_saves')).not.toBe(savedBefore);

    await expect(clients.elasticache.send(create)).rejects.toMatchObject({
      name: 'SnapshotAlreadyExistsFault',
    });
    await clients.elasticache.send(new DeleteSnapshotCommand({ SnapshotName: 'before' }));
    await expect(clients.elasticache.send(find)).rejects.toMatchObject({ name: 'SnapshotNotFoundFault' });
  });
});

it('tags can be set, listed and removed while the group is available', async () => {
  const ResourceName = group.arn;
  const Tags = [{ Key: 'migration', Value: 'm-1' }];
  await clients.elasticache.send(new AddTagsToResourceCommand({ ResourceName, Tags }));
  const list = async () =>
    (await clients.elasticache.send(new ListTagsForResourceCommand({ ResourceName }))).TagList;
  expect(await list()).toEqual(Tags);
  group.status = 'modifying';
  await expect(
    clients.elasticache.send(new AddTagsToResourceCommand({ ResourceName, Tags })),
  ).rejects.toMatchObject({ name: 'InvalidReplicationGroupStateFault' });
  group.status = 'available';
  await clients.elasticache.send(new RemoveTagsFromResourceCommand({ ResourceName, TagKeys: ['migration'] }));
  expect(await list()).toEqual([]);
});

it('DescribeEvents refuses a page size out of its range', async () => {
  await expect(clients.elasticache.send(new DescribeEventsCommand({ MaxRecords: 10 }))).rejects.toMatchObject(
    { name: 'InvalidParameterValueException' },
  );
});
