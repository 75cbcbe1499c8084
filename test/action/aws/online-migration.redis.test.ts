import { describe, expect, it } from 'vitest';
import { listEvents } from '../../../src/action/aws/events.ts';
import {
  awaitCompletion,
  requestCompletion,
  startMigration,
  testMigration,
  waitForAvailable,
  watchCompletion,
  watchMigrationHold,
  watchMigrationStart,
} from '../../../src/action/aws/online-migration.ts';
import { createSnapshot } from '../../../src/action/aws/snapshot.ts';
import type { ElastiCacheDoor } from '../../../src/action/aws/target.ts';
import { describeTarget, readStatus } from '../../../src/action/aws/target.ts';
import { findServer, startServer, targetServer } from '../../servers/start.ts';
import type { ReplicationGroupOptions } from '../../simulator/replication-group.ts';
import type { Timing } from '../../simulator/timing.ts';
import { openSimulatedDoor, type SimulatedDoor } from './simulated-door.ts';

const ID = 'sessions';
const TIMEOUT_MS = 30_000;
/** A port on which nothing listens. */
const CLOSED = { host: '127.0.0.1', port: 1 };

describe('describing the target', () => {
  it('shows what phases need, with version and databases from its members', async () => {
    await using stage = await setStage();
    const target = await describeTarget(stage.door, ID.toUpperCase());
    expect(target).toMatchObject({
      id: ID,
      status: 'available',
      engine: 'valkey',
      engineVersion: stage.group.node.server.version,
      primary: { host: '127.0.0.1', port: stage.group.node.port },
      transitEncryption: false,
      authTokenEnabled: false,
      multiAz: true,
      clusterMode: false,
      numNodeGroups: 1,
      memberClusters: ['sessions-001', 'sessions-002'],
      databases: 16,
    });
  });

  it('goes without version and databases where these may not be read, and says so', async () => {
    await using stage = await setStage();
    stage.simulator.faults.inject({ operation: 'DescribeCacheClusters', error: 'AccessDenied' });
    expect(await describeTarget(stage.door, ID)).toMatchObject({
      engine: 'valkey',
      engineVersion: '',
      databases: undefined,
    });
    expect(stage.lines.join()).toContain('elasticache:DescribeCacheClusters');
  });
});

describe('testing a migration', () => {
  it('passes for a source within reach', async () => {
    await using stage = await setStage();
    await using source = await startSource();
    const test = await testMigration(stage.door, { id: ID, source, timeoutMs: TIMEOUT_MS });
    expect(test.outcome).toBe('passed');
    expect(test.events).toHaveLength(1);
  });

  it('fails for one out of reach, whatever an earlier test said', async () => {
    await using stage = await setStage();
    await using source = await startSource();
    await testMigration(stage.door, { id: ID, source, timeoutMs: TIMEOUT_MS });
    const test = await testMigration(stage.door, { id: ID, source: CLOSED, timeoutMs: TIMEOUT_MS });
    expect(test.outcome).toBe('failed');
    expect(test.events.map(({ message }) => message).join()).toContain('ECONNREFUSED');
  });

  it('is undecided when no event tells in time', async () => {
    await using stage = await setStage({ timing: { testMigrationMs: 60_000 } });
    const test = await testMigration(stage.door, { id: ID, source: CLOSED, timeoutMs: 50 });
    expect(test).toEqual({ outcome: 'unknown', events: [] });
  });
});

describe('an online migration', () => {
  it('starts, follows, is promoted, and its events tell so', async () => {
    await using stage = await setStage();
    await using source = await startSource();
    await source.server.client().set('key', 'value');
    const started = await startMigration(stage.door, { id: ID, source, timeoutMs: TIMEOUT_MS });
    expect(started.status).toBe('migrating');
    await watchMigrationHold(stage.door, { id: ID, holdMs: 200 });
    await expect
      .poll(async () => (await stage.group.info('replication')).get('master_link_status'), {
        timeout: TIMEOUT_MS,
      })
      .toBe('up');
    const done = await completeMigration(stage.door, { id: ID, force: false, timeoutMs: TIMEOUT_MS });
    expect(done.status).toBe('available');
    expect(await stage.group.node.client().get('key')).toBe('value');
    const target = await describeTarget(stage.door, ID);
    const events = await listEvents(stage.door, { target, sinceMs: Date.now() - 60_000 });
    expect(events.map(({ message }) => message)).toEqual(['Complete Migration successful for sessions']);
  });

  it('that falls back to available has failed, and the error quotes the event', async () => {
    await using stage = await setStage({ timing: { linkAttempts: 1, linkTimeoutMs: 100 } });
    const options = { id: ID, source: CLOSED, timeoutMs: TIMEOUT_MS };
    await startMigration(stage.door, options);
    await expect(watchMigrationHold(stage.door, { id: ID, holdMs: TIMEOUT_MS })).rejects.toMatchObject({
      code: 'migration-start-failed',
      message: expect.stringContaining('Migration operation failed for replication group sessions.'),
    });
  });

  it('that falls back before it was seen migrating has failed too', async () => {
    await using stage = await setStage();
    stage.group.status = 'modifying';
    const watched = watchMigrationStart(stage.door, { id: ID, timeoutMs: TIMEOUT_MS });
    const refusal = expect(watched).rejects.toMatchObject({ code: 'migration-start-failed' });
    await expect.poll(() => stage.looks(), { timeout: TIMEOUT_MS }).toBeGreaterThan(2);
    stage.group.status = 'available';
    await refusal;
  });

  it('waits through statuses that nobody documents, and ends with its time', async () => {
    await using stage = await setStage();
    stage.group.status = 'pondering';
    await expect(watchMigrationStart(stage.door, { id: ID, timeoutMs: 100 })).rejects.toMatchObject({
      code: 'wait-timeout',
      message: expect.stringContaining('pondering'),
    });
    const waited = waitForAvailable(stage.door, { id: ID, timeoutMs: TIMEOUT_MS });
    const looks = stage.looks();
    await expect.poll(() => stage.looks(), { timeout: TIMEOUT_MS }).toBeGreaterThan(looks + 2);
    stage.group.status = 'available';
    expect(await waited).toMatchObject({ status: 'available' });
  });

  it('of a group that is being deleted does not go on waiting', async () => {
    await using stage = await setStage();
    stage.group.status = 'deleting';
    await expect(waitForAvailable(stage.door, { id: ID, timeoutMs: TIMEOUT_MS })).rejects.toMatchObject({
      code: 'replication-group-not-available',
    });
  });

  it('whose target is not in sync is not promoted, and can be given up by force', async () => {
    await using stage = await setStage({ timing: { syncCheckMs: 200 } });
    await using source = await startSource();
    await startMigration(stage.door, { id: ID, source, timeoutMs: TIMEOUT_MS });
    await source.server.stop();
    const completed = completeMigration(stage.door, { id: ID, force: false, timeoutMs: TIMEOUT_MS });
    await expect(completed).rejects.toMatchObject({
      code: 'migration-promotion-failed',
      message: expect.stringContaining('not in sync'),
    });
    expect(await readStatus(stage.door, ID)).toBe('migrating');
    await completeMigration(stage.door, { id: ID, force: true, timeoutMs: TIMEOUT_MS });
    expect(await readStatus(stage.door, ID)).toBe('available');
  });

  it('does not start on a group that is busy, migrating or unsuitable', async () => {
    await using stage = await setStage();
    await using source = await startSource();
    const options = { id: ID, source, timeoutMs: TIMEOUT_MS };
    await expect(completeMigration(stage.door, { id: ID, force: false, timeoutMs: 1 })).rejects.toMatchObject(
      {
        code: 'replication-group-not-migrating',
      },
    );
    stage.group.status = 'modifying';
    await expect(startMigration(stage.door, options)).rejects.toMatchObject({
      code: 'replication-group-not-available',
    });
    stage.group.status = 'available';
    await startMigration(stage.door, options);
    await expect(startMigration(stage.door, options)).rejects.toMatchObject({
      code: 'replication-group-migrating',
    });
    await using single = await setStage({ group: { multiAz: false } });
    await expect(startMigration(single.door, options)).rejects.toMatchObject({
      code: 'replication-group-unsuitable',
      message: expect.stringContaining('Multi-AZ'),
    });
  });
});

describe('a snapshot of the target', () => {
  it('is complete when ElastiCache shows it as available, and a second attempt adopts it', async () => {
    await using stage = await setStage();
    const options = { id: ID, name: 'before', timeoutMs: TIMEOUT_MS };
    const first = await createSnapshot(stage.door, options);
    expect(first).toMatchObject({ name: 'before', status: 'available', adopted: false });
    expect(first.nodes).toHaveLength(1);
    expect(await readStatus(stage.door, ID)).toBe('available');
    expect(await createSnapshot(stage.door, options)).toMatchObject({ adopted: true, status: 'available' });
  });

  it('is the one that was asked for when the answer got lost', async () => {
    await using stage = await setStage();
    stage.simulator.faults.inject({ operation: 'CreateSnapshot', drop: 'answer' });
    expect(await createSnapshot(stage.door, { id: ID, name: 'before', timeoutMs: TIMEOUT_MS })).toMatchObject(
      {
        status: 'available',
      },
    );
  });

  it.each([
    ['SnapshotQuotaExceededFault', 'snapshot-failed'],
    ['SnapshotFeatureNotSupportedFault', 'snapshot-failed'],
    ['InvalidParameterValue', 'snapshot-failed'],
    ['InvalidReplicationGroupState', 'replication-group-not-available'],
  ])('that is refused with %s fails with %s', async (error, code) => {
    await using stage = await setStage();
    stage.simulator.faults.inject({ operation: 'CreateSnapshot', error });
    await expect(
      createSnapshot(stage.door, { id: ID, name: 'before', timeoutMs: TIMEOUT_MS }),
    ).rejects.toMatchObject({ code });
  });

  it('of another group with the same name is not taken for its own', async () => {
    await using stage = await setStage();
    await stage.simulator.addReplicationGroup({ replicationGroupId: 'other', server: await targetServer() });
    await createSnapshot(stage.door, { id: 'other', name: 'before', timeoutMs: TIMEOUT_MS });
    await expect(
      createSnapshot(stage.door, { id: ID, name: 'before', timeoutMs: TIMEOUT_MS }),
    ).rejects.toMatchObject({
      code: 'snapshot-failed',
      message: expect.stringContaining('other'),
    });
  });
});

type StageOptions = { timing?: Partial<Timing>; group?: Partial<ReplicationGroupOptions> };

async function setStage({ timing = {}, group = {} }: StageOptions = {}) {
  const opened: SimulatedDoor = await openSimulatedDoor({
    timing: { modifyingMs: 60, testMigrationMs: 30, ...timing },
  });
  const replicationGroup = await opened.simulator.addReplicationGroup({
    replicationGroupId: ID,
    server: await targetServer(),
    ...group,
  });
  return {
    ...opened,
    group: replicationGroup,
    looks: () =>
      opened.simulator.calls.filter(({ operation }) => operation === 'DescribeReplicationGroups').length,
  };
}

/** A source whose RDB version every Valkey loads. */
async function startSource() {
  const server = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
  return {
    server,
    host: server.host,
    port: server.port,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function completeMigration(
  door: ElastiCacheDoor,
  { timeoutMs, ...request }: { id: string; force: boolean; timeoutMs: number },
) {
  const watch = await watchCompletion(door, request.id);
  await requestCompletion(door, request);
  return await awaitCompletion(door, { id: request.id, watch, timeoutMs });
}
