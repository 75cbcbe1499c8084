import type { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { startCluster } from '../../servers/cluster.ts';
import {
  findServer,
  type RunningServer,
  sourceServer,
  startServer,
  targetServer,
} from '../../servers/start.ts';
import { readClusterDump } from '../sync/cluster/cluster-dump.ts';
import { startSync } from '../sync/sync-run.ts';
import { compareDumps, readTypedDump } from '../sync/typed-dump.ts';
import { expectSame } from './expect-same.ts';

const HOUR_MS = 3_600_000;

it('writes to a target in cluster mode, and removes there what the source has no more', async () => {
  await using source = await startSource(await sourceServer());
  await using target = await startCluster({ server: await targetServer() });
  const client = source.client();
  await writeKeys(client, 1_000);
  await client.rpush('large', ...Array.from({ length: 30_000 }, (_, index) => `element ${index}`.repeat(5)));
  await using sync = await startSync({ source, target, route: 'scan' });
  await sync.until(({ stage }) => stage === 'live');
  await client.call('FLUSHDB');
  await writeKeys(client, 500);
  await sync.caughtUp();
  expect(sync.log.join()).toContain('FLUSHDB was run');
  expect(compareDumps(await readTypedDump(client), await readClusterDump(target.primaries))).toEqual([]);
});

it('carries hash fields that expire to a target that has them, also in large hashes', async () => {
  await using source = await startSource(await findServer({ kind: 'redis', version: '8.0' }));
  await using target = await startServer({ server: await findServer({ kind: 'valkey', version: '9' }) });
  const client = await fillFields(source);
  await using sync = await startSync({ source, target, route: 'scan' });
  await sync.until(({ stage }) => stage === 'live');
  await client.call('HPEXPIRE', 'small', String(2 * HOUR_MS), 'FIELDS', '1', 'other');
  await client.call('HPERSIST', 'many', 'FIELDS', '1', 'field 7');
  await sync.caughtUp();
  await expectSame(source, target);
});

it('leaves them out where that is wanted and lists the hashes once each, and else does not begin', async () => {
  await using source = await startSource(await findServer({ kind: 'redis', version: '8.0' }));
  await using target = await startServer({ server: await findServer({ kind: 'valkey', version: '8' }) });
  const client = await fillFields(source);
  await using refused = await startSync({ source, target, route: 'scan' });
  await expect(refused.ended).rejects.toMatchObject({ code: 'source-data-unsupported' });
  expect(await target.client().dbsize()).toBe(0);
  await using sync = await startSync({ source, target, route: 'scan', hashFieldTtl: 'keep-values' });
  await sync.until(({ stage }) => stage === 'live');
  for (let round = 0; round < 3; round++) await client.hset('small', 'round', round);
  await sync.caughtUp();
  expect(await target.client().hgetall('small')).toEqual(await client.hgetall('small'));
  expect((await sync.stop()).skipped).toMatchObject([{ what: 'keys', reason: 'hash-field-ttl', count: 2 }]);
});

async function writeKeys(client: Redis, count: number): Promise<void> {
  const pipeline = client.pipeline();
  for (let index = 0; index < count; index++) {
    pipeline.set(`string:${index}`, index, 'EX', 3600);
    pipeline.hset(`hash:${index}`, 'f', index);
  }
  await pipeline.exec();
}

async function startSource(server: RunningServer['server']): Promise<RunningServer> {
  return startServer({ server, config: { 'notify-keyspace-events': 'EA' } });
}

async function fillFields(source: RunningServer) {
  const client = source.client();
  await client.hset('small', 'field', '1', 'other', '2');
  await client.call('HPEXPIRE', 'small', String(HOUR_MS), 'FIELDS', '1', 'field');
  const pairs = Array.from({ length: 20_000 }, (_, index) => [`field ${index}`, 'x'.repeat(40)]).flat();
  await client.hset('many', ...pairs);
  await client.call('HPEXPIRE', 'many', String(HOUR_MS), 'FIELDS', '2', 'field 7', 'field 8');
  return client;
}
