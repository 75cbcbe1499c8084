import { expect, it, vi } from 'vitest';
import { encodeClaim } from '../../../src/agent/redis/checkpoint.ts';
import {
  findServer,
  type RunningServer,
  sourceServer,
  startServer,
  targetServer,
} from '../../servers/start.ts';
import { countersOf, expectEqual, kill, killWriter, logged, startChild, startWriters } from './fault-run.ts';
import { startSync } from './sync-run.ts';

const KILLS = 6;
const ROUNDS_BETWEEN = 40;

it('loses and doubles nothing when connections of either side are killed under load', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  const writers = startWriters(source);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  for (let killed = 1; killed <= KILLS; killed++) {
    await writers.rounds(ROUNDS_BETWEEN);
    if (killed % 2 === 0) await source.client().call('CLIENT', 'KILL', 'TYPE', 'replica');
    else await killWriter(target);
    await logged(sync, 'resumed at offset', killed);
  }
  await writers.rounds(ROUNDS_BETWEEN);
  const acknowledged = await writers.stop();
  await sync.caughtUp();
  expect(await countersOf(target)).toEqual(acknowledged);
  await expectEqual(source, target);
  expect((await sync.stop()).reconnects).toBe(KILLS);
});

it('loses and doubles nothing when the agent is killed by -9 under load and started again', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  const writers = startWriters(source);
  for (let life = 1; life <= KILLS; life++) {
    const child = await startChild(source, target);
    await writers.rounds(ROUNDS_BETWEEN);
    await kill(child);
  }
  await using sync = await startSync({ source, target });
  await writers.rounds(ROUNDS_BETWEEN);
  const acknowledged = await writers.stop();
  await logged(sync, 'resumed at offset', 1);
  await sync.caughtUp();
  expect(await countersOf(target)).toEqual(acknowledged);
  await expectEqual(source, target);
});

it('resumes from the checkpoint after it was stopped, and copies nothing again', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await source.client().set('before', '1');
  await using first = await startSync({ source, target });
  await first.until(({ stage }) => stage === 'live');
  await source.client(3).set('while', '1');
  await first.caughtUp();
  const report = await first.stop();
  await source.client(3).incr('after');
  await using second = await startSync({ source, target });
  await second.caughtUp();
  await expectEqual(source, target);
  expect(second.log.join()).toContain(`resumed at offset ${report.checkpoint?.offset}`);
  expect((await second.stop()).copiedKeys).toBe(0);
});

it('reconciles what the source can no longer give from the checkpoint, without leftovers', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await source.client().mset('old', '1', 'kept', '1');
  await using first = await startSync({ source, target });
  await first.until(({ stage }) => stage === 'live');
  await first.stop();
  await source.client().del('old');
  await source.client().debug('CHANGE-REPL-ID');
  await using second = await startSync({ source, target });
  const { notes } = await second.until(({ stage }) => stage === 'live');
  expect(notes.join()).toContain('reconciled: 1 keys rewritten, 1 removed');
  await second.caughtUp();
  await expectEqual(source, target);
});

it('takes up the new id of a replica that is promoted, in the database that its stream stands in', async () => {
  await using source = await startSource();
  await using promoted = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await promoted.client().call('REPLICAOF', '127.0.0.1', String(source.port));
  await source.client(2).set('in-two', '1');
  await vi.waitUntil(async () => (await promoted.client(2).exists('in-two')) === 1, { timeout: 30_000 });
  await using sync = await startSync({ source: promoted, target });
  await sync.until(({ stage }) => stage === 'live');
  await source.client(2).set('without-select', '1');
  await vi.waitUntil(async () => (await target.client(2).exists('without-select')) === 1, {
    timeout: 30_000,
  });
  await promoted.client().call('REPLICAOF', 'NO', 'ONE');
  await logged(sync, 'resumed at offset', 1);
  await promoted.client(2).set('after', '1');
  await sync.caughtUp();
  await expectEqual(promoted, target);
  const { checkpoint } = await sync.stop();
  expect(await promoted.client().info('replication')).toContain(`master_replid:${checkpoint?.replid}`);
});

it('waits for a source that has lost its own master', async () => {
  await using source = await startSource();
  await using master = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await master.stop();
  await source.client().set('key', '1');
  await source.client().call('REPLICAOF', '127.0.0.1', String(master.port));
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'waiting');
  await source.client().call('REPLICAOF', 'NO', 'ONE');
  await sync.until(({ stage }) => stage === 'live');
  await expectEqual(source, target);
});

it('copies anew over what an interrupted copy has left', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await source.client().set('key', '1');
  const claim = encodeClaim({
    migrationId: 'sessions',
    repository: 'acme/shop',
    hostId: 'host-1',
    state: 'copying',
  });
  await target.client().mset('__valkey-migrate__', claim, 'leftover', '1');
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await expectEqual(source, target);
});

it('waits for a target that is read-only for a while, as in a failover', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  await using other = await startServer({ server: await findServer({ kind: 'valkey', version: 'newest' }) });
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await other.stop();
  await target.client().call('REPLICAOF', '127.0.0.1', String(other.port));
  await source.client().set('during', '1');
  await sync.until(({ notes }) => notes.some((note) => note.includes('target-read-only')));
  await target.client().call('REPLICAOF', 'NO', 'ONE');
  await logged(sync, 'resumed at offset', 1);
  await sync.caughtUp();
  await expectEqual(source, target);
});

async function startSource(): Promise<RunningServer> {
  const config = {
    'repl-diskless-sync-delay': '0',
    'repl-backlog-size': '64mb',
    'enable-debug-command': 'yes',
  };
  return startServer({ server: await sourceServer(), config });
}
