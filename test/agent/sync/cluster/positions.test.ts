import { expect, it } from 'vitest';
import type { Access } from '../../../../src/agent/redis/access.ts';
import type { SlotRange } from '../../../../src/agent/redis/cluster/slots.ts';
import type { ClusterNode, Topology } from '../../../../src/agent/redis/cluster/topology.ts';
import {
  checkpointOf,
  firstCheckpoint,
  Positions,
  readPositions,
} from '../../../../src/agent/sync/cluster/positions.ts';

const ACCESS: Access = {
  side: 'target',
  host: 'h',
  port: 1,
  address: 'h:1',
  username: undefined,
  password: undefined,
  tls: undefined,
};

it('reads back what a claim says, with what each primary has committed since', async () => {
  const before = topologyOf([[0, 8191]], [[8192, 16383]]);
  const parts = Positions.same({ offset: 100, db: 0 }).parts(before);
  const checkpoints = new Map([
    [0, '3 150 0'],
    [8192, '3 90 0'],
  ]);
  const positions = await readPositions({ generation: 3, parts }, async (slot) => checkpoints.get(slot));
  expect(positions?.lowest).toEqual({ offset: 100, db: 0 });
  expect(positions?.highest).toEqual({ offset: 150, db: 0 });
  expect([0, 8191, 8192].map((slot) => positions?.offsetOf(slot))).toEqual([150, 150, 100]);
});

it('keeps the place of slots that have moved to another primary', async () => {
  const before = topologyOf([[0, 8191]], [[8192, 16383]]);
  const parts = Positions.same({ offset: 100, db: 0 }).parts(before);
  const positions = await readPositions(
    { generation: 1, parts },
    async (slot) => `1 ${slot === 0 ? 300 : 200} 0`,
  );
  const after = topologyOf(
    [[1, 8191]],
    [
      [0, 0],
      [8192, 16383],
    ],
  );
  const moved = positions?.parts(after);
  expect(moved).toEqual([
    { checkpointSlot: 1, slots: '1-8191', offset: 300, db: 0 },
    { checkpointSlot: 0, slots: '0', offset: 300, db: 0 },
    { checkpointSlot: 0, slots: '8192-16383', offset: 200, db: 0 },
  ]);
  const again = await readPositions({ generation: 2, parts: moved ?? [] }, async (slot) =>
    firstCheckpoint(2, slot === 1 ? undefined : '1 300 0'),
  );
  expect([0, 1, 8192].map((slot) => again?.offsetOf(slot))).toEqual([300, 300, 200]);
});

it('takes the checkpoint of the generation that the claim names, also while the next one begins', () => {
  const begun = firstCheckpoint(4, '3 150 0');
  expect(checkpointOf(begun, 3)).toBe('3 150 0');
  expect(checkpointOf(begun, 4)).toBe('4 0 0');
  expect(checkpointOf(begun, 5)).toBeUndefined();
  expect(checkpointOf('14 150 0', 4)).toBeUndefined();
  expect(checkpointOf('nonsense', 4)).toBeUndefined();
  expect(checkpointOf(undefined, 4)).toBeUndefined();
});

it('knows nothing when a checkpoint is of another generation than the claim, or slots are missing', async () => {
  const parts = Positions.same({ offset: 100, db: 0 }).parts(topologyOf([[0, 16383]]));
  expect(await readPositions({ generation: 3, parts }, async () => '2 100 0')).toBeUndefined();
  expect(await readPositions({ generation: 3, parts }, async () => undefined)).toBeUndefined();
  const [part] = parts;
  if (part === undefined) throw new Error('no part');
  const some = [{ ...part, slots: '0-16382' }];
  expect(await readPositions({ generation: 3, parts: some }, async () => '3 100 0')).toBeUndefined();
});

function topologyOf(...nodes: (readonly SlotRange[])[]): Topology {
  const made: ClusterNode[] = nodes.map((ranges, index) => ({
    index,
    id: String(index),
    access: ACCESS,
    ranges,
    replicas: [],
  }));
  return {
    nodes: made,
    nodeOf: () => {
      throw new Error('not asked');
    },
  };
}
