import { expect, it } from 'vitest';
import type { Access } from '../../../../src/agent/redis/access.ts';
import { openClient } from '../../../../src/agent/redis/client.ts';
import { keySlot } from '../../../../src/agent/redis/cluster/slots.ts';
import { readTopology } from '../../../../src/agent/redis/cluster/topology.ts';
import { startCluster } from '../../../servers/cluster.ts';
import { type RunningServer, startServer, targetServer } from '../../../servers/start.ts';

it('reads who owns the slots from any node, also after a slot has moved', async () => {
  await using cluster = await startCluster({ server: await targetServer(), replicas: 1 });
  const [first, second, third] = cluster.primaries;
  const [replica] = cluster.replicas[1] ?? [];
  if (first === undefined || second === undefined || third === undefined || replica === undefined) {
    throw new Error('the cluster is too small');
  }
  await using client = await openClient(accessTo(replica));
  const before = await readTopology(client);
  expect(before.nodes.map(({ access }) => access.port)).toEqual(cluster.primaries.map(({ port }) => port));
  expect(before.nodes[1]?.replicas.map(({ port }) => port)).toEqual([replica.port]);
  for (const key of ['foo', 'bar', '{foo}.x']) {
    const slot = keySlot(Buffer.from(key), 0, key.length);
    expect(before.nodeOf(slot).access.port).toBe((await cluster.ownerOf(key)).port);
  }
  const [[slot] = [0]] = before.nodes[0]?.ranges ?? [];
  await cluster.moveSlot(slot, third);
  const after = await readTopology(client);
  expect(after.nodeOf(slot).access.port).toBe(third.port);
  expect(after.nodeOf(slot).ranges).toContainEqual([slot, slot]);
});

it('refuses a cluster of which slots have no owner', async () => {
  await using cluster = await startCluster({ server: await targetServer(), primaries: 2 });
  const [first] = cluster.primaries;
  if (first === undefined) throw new Error('the cluster is too small');
  await first.client().call('CLUSTER', 'DELSLOTS', 5, 6, 100);
  await using client = await openClient(accessTo(first));
  await expect(readTopology(client)).rejects.toMatchObject({
    code: 'target-not-ready',
    message: expect.stringContaining('5-6,100'),
  });
});

it('refuses a server that is no cluster', async () => {
  await using server = await startServer({ server: await targetServer() });
  await using client = await openClient(accessTo(server));
  await expect(readTopology(client)).rejects.toMatchObject({ code: 'target-protocol-error' });
});

function accessTo({ host, port }: RunningServer): Access {
  const rest = { username: undefined, password: undefined, tls: undefined };
  return { side: 'target', host, port, address: `${host}:${port}`, ...rest };
}
