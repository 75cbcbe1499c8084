import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { openRoutedConnection } from '../../../../src/agent/redis/cluster/routed-connection.ts';
import { keySlot } from '../../../../src/agent/redis/cluster/slots.ts';
import type { Command } from '../../../../src/agent/redis/raw-connection.ts';
import type { Reply } from '../../../../src/agent/redis/reply-parser.ts';
import { systemClock } from '../../../../src/core/clock.ts';
import { startCluster } from '../../../servers/cluster.ts';
import { findServer, startServer, targetServer } from '../../../servers/start.ts';
import { createTlsFiles } from '../../../servers/tls.ts';
import { accessOf } from '../../cutover/job-context.ts';

const signal = AbortSignal.timeout(240_000);

describe('a routed connection', () => {
  it('is a plain one to a standalone server', async () => {
    await using server = await startServer({ server: await targetServer() });
    await using connection = await openRoutedConnection(accessOf('target', server), { signal, db: 2 });
    await server.client(2).set('key', 'value');
    expect(connection).toMatchObject({ layout: '', primaries: [expect.anything()] });
    expect(textsOf(await connection.send([['GET', 'key'], ['DBSIZE']]))).toEqual(['value', '1']);
  });

  it('answers in the order of the batch, whoever owns the keys', async () => {
    await using cluster = await startCluster({ server: await targetServer() });
    await using connection = await openRoutedConnection(accessOf('target', cluster), { signal });
    expect(connection.primaries).toHaveLength(3);
    const keys = Array.from({ length: 200 }, (_, index) => `key:${index}`);
    await connection.send(keys.map((key): Command => ['SET', key, key]));
    const [first, second] = await Promise.all([
      connection.send(keys.map((key): Command => ['GET', key])),
      connection.send([
        ['EXISTS', ...keys, 'none'],
        ['TYPE', 'key:7'],
        ['MEMORY', 'USAGE', 'none'],
        ['PING'],
      ]),
    ]);
    expect(textsOf(first)).toEqual(keys);
    expect(second).toEqual([200, 'string', null, 'PONG']);
  });

  it('scans one primary after the other, every key once on a cluster that stays as it is', async () => {
    await using cluster = await startCluster({ server: await targetServer() });
    await using connection = await openRoutedConnection(accessOf('target', cluster), { signal });
    const keys = Array.from({ length: 500 }, (_, index) => `key:${index}`);
    await connection.send(keys.map((key): Command => ['SET', key, key]));
    const found: string[] = [];
    let cursor = '0';
    do {
      const [reply]: readonly Reply[] = await connection.send([['SCAN', cursor, 'COUNT', 20]]);
      const [next, page] = Array.isArray(reply) ? reply : [];
      found.push(...textsOf(Array.isArray(page) ? page : []));
      cursor = String(next);
    } while (cursor !== '0');
    expect(found.sort()).toEqual(keys.sort());
  });

  it('bounds what is asked of any primary by the clocks before and after it', async () => {
    await using cluster = await startCluster({ server: await targetServer(), primaries: 2 });
    await using connection = await openRoutedConnection(accessOf('target', cluster), { signal });
    const replies = await connection.send([['TIME'], ['GET', 'a'], ['GET', 'b'], ['TIME']]);
    const [before, , , after] = replies.map((reply) =>
      Array.isArray(reply) ? textsOf(reply).join('.') : '',
    );
    expect(Number(before)).toBeLessThanOrEqual(Number(after));
  });

  it('follows a slot to where it went, and asks there for keys that are on their way', async () => {
    await using cluster = await startCluster({ server: await targetServer(), primaries: 2 });
    await using connection = await openRoutedConnection(accessOf('target', cluster), { signal });
    const owner = await cluster.ownerOf('{tag}1');
    const other = cluster.primaries.find((primary) => primary !== owner);
    if (other === undefined) throw new Error('the cluster has one primary');
    const slot = keySlot(Buffer.from('tag'), 0, 3);
    const [ownerId, otherId] = await Promise.all(
      [owner, other].map(async (node) => String(await node.client().call('CLUSTER', 'MYID'))),
    );
    await connection.send([
      ['SET', '{tag}1', 'one'],
      ['SET', '{tag}2', 'two'],
    ]);
    await other.client().call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', String(ownerId));
    await owner.client().call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', String(otherId));
    await owner.client().call('MIGRATE', other.host, other.port, '{tag}1', 0, 5000);
    expect(
      textsOf(
        await connection.send([
          ['GET', '{tag}1'],
          ['GET', '{tag}2'],
        ]),
      ),
    ).toEqual(['one', 'two']);
    await expect(connection.send([['SCAN', '0', 'COUNT', 1000]])).rejects.toMatchObject({
      code: 'target-slots-moved',
    });

    await cluster.moveSlot(slot, other);
    expect(
      textsOf(
        await connection.send([
          ['GET', '{tag}1'],
          ['GET', '{tag}2'],
        ]),
      ),
    ).toEqual(['one', 'two']);
    await expect(connection.send([['SCAN', '0@1', 'COUNT', 1000]])).rejects.toMatchObject({
      code: 'target-slots-moved',
    });
  });

  it('keeps to its database where a cluster has several', async () => {
    const server = await findServer({ kind: 'valkey', version: '9' });
    await using cluster = await startCluster({ server, config: { 'cluster-databases': '4' } });
    await using connection = await openRoutedConnection(accessOf('target', cluster), { signal });
    const keys = Array.from({ length: 20 }, (_, index) => `key:${index}`);
    await connection.send([['SELECT', 3], ...keys.map((key): Command => ['SET', key, 'in 3'])]);
    const slot = keySlot(Buffer.from('key:0'), 0, 5);
    const owner = await cluster.ownerOf('key:0');
    const other = cluster.primaries.find((primary) => primary !== owner);
    if (other === undefined) throw new Error('the cluster has one primary');
    const otherId = String(await other.client().call('CLUSTER', 'MYID'));
    await owner.client().call('CLUSTER', 'MIGRATESLOTS', 'SLOTSRANGE', slot, slot, 'NODE', otherId);
    while ((await cluster.ownerOf('key:0')) !== other) await systemClock.sleep(20, signal);
    const both = await Promise.all([
      connection.send(keys.map((key): Command => ['GET', key])),
      connection.send([['SELECT', 0], ...keys.map((key): Command => ['GET', key])]),
    ]);
    expect(textsOf(both[0])).toEqual(keys.map(() => 'in 3'));
    expect(textsOf(both[1].slice(1))).toEqual(keys.map(() => 'null'));
  });

  it('speaks TLS to every primary, with the password', async () => {
    await using files = await createTlsFiles();
    await using cluster = await startCluster({
      server: await targetServer(),
      primaries: 2,
      tls: files,
      config: { requirepass: 'secret' },
    });
    const access = {
      ...accessOf('target', cluster, { name: 'default', password: 'secret' }),
      port: cluster.tlsPort ?? 0,
      tls: { ca: await readFile(files.ca) },
    };
    await using connection = await openRoutedConnection(access, { signal });
    const ports = connection.primaries.map((primary) => primary.access.port);
    expect(ports).toEqual(cluster.primaries.map(({ tlsPort }) => tlsPort));
    const keys = ['a', 'b', 'c', 'd'];
    await connection.send(keys.map((key): Command => ['SET', key, 'value']));
    expect(await connection.send([['EXISTS', ...keys]])).toEqual([4]);
  });

  it('ends with any of its connections', async () => {
    await using cluster = await startCluster({ server: await targetServer(), primaries: 2 });
    await using connection = await openRoutedConnection(accessOf('target', cluster), { signal });
    await cluster.primaries[1]?.stop('SIGKILL');
    await expect(connection.send([['EXISTS', 'a', 'b', 'c', 'd', 'e', 'f']])).rejects.toMatchObject({
      code: 'target-unreachable',
    });
  });
});

function textsOf(replies: readonly Reply[]): string[] {
  return replies.map(String);
}
