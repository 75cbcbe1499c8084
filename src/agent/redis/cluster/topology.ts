import { formatAddress } from '../../../contract/endpoint.ts';
import { PRIMARIES_MAX } from '../../../contract/reports.ts';
import { MigrationError } from '../../../core/errors.ts';
import type { Access } from '../access.ts';
import type { Client } from '../client.ts';
import { formatSlots, SLOT_COUNT, type SlotRange } from './slots.ts';

/*
 * reply  = *range
 * range  = [ first, last, primary, *replica ]
 * server = [ host, port, id, ... ]       host null or empty: the one that was asked; "?": not known to the cluster
 *
 * Source: CLUSTER SLOTS of redis 5.0-8.0 and valkey 7.2-9.1.
 */

/** A primary of a cluster and what it owns. */
export type ClusterNode = {
  /** Its place among the nodes of the topology, which are in the order of their first slots. */
  readonly index: number;
  /** The name that the node has in its cluster; a replica that is promoted has another. */
  readonly id: string;
  /** Its address as the cluster announces it, with the user and the trust of who asked. */
  readonly access: Access;
  /** In rising order. */
  readonly ranges: readonly SlotRange[];
  readonly replicas: readonly Access[];
};

/** Who owns which slot of a cluster. */
export type Topology = {
  readonly nodes: readonly ClusterNode[];
  /** The primary that owns a slot. */
  nodeOf(slot: number): ClusterNode;
};

/** More primaries than this are refused: each has connections and buffers of its own. */
export const NODES_MAX = PRIMARIES_MAX;

/**
 * Asks a node of a cluster, primary or replica, who owns the slots.
 *
 * @throws {side}-not-ready when a slot has no owner, or one without an address; replication-group-unsuitable for more
 *   than {@link NODES_MAX} primaries; {side}-protocol-error; the codes of {@link Client.call}
 */
export async function readTopology(client: Client): Promise<Topology> {
  const { access } = client;
  const reply = await client.call('CLUSTER', 'SLOTS');
  const found = new Map<string, FoundNode>();
  for (const range of listOf(reply, access)) {
    const [first, last, primary, ...replicas] = listOf(range, access);
    const server = parseServer(primary, access);
    const node: FoundNode = found.get(server.id) ?? {
      access: server.access,
      ranges: [],
      replicas: new Map(),
    };
    found.set(server.id, node);
    node.ranges.push([slotOf(first, access), slotOf(last, access)]);
    for (const replica of replicas) {
      const { id, access: address } = parseServer(replica, access);
      node.replicas.set(id, address);
    }
  }
  const parts = [...found].map(([id, { ranges, replicas, ...rest }]) => ({
    ...rest,
    id,
    ranges: ranges.sort(([a], [b]) => a - b),
    replicas: [...replicas.values()],
  }));
  parts.sort((a, b) => (a.ranges[0]?.[0] ?? 0) - (b.ranges[0]?.[0] ?? 0));
  return makeTopology(
    parts.map((part, index) => ({ ...part, index })),
    access,
  );
}

/** The topology of a server that is no cluster: it owns every slot. */
export function soleTopology(access: Access): Topology {
  const node: ClusterNode = { index: 0, id: '', access, ranges: [[0, SLOT_COUNT - 1]], replicas: [] };
  return makeTopology([node], access);
}

type FoundNode = {
  readonly access: Access;
  readonly ranges: SlotRange[];
  readonly replicas: Map<string, Access>;
};

function makeTopology(nodes: readonly ClusterNode[], { side, address }: Access): Topology {
  if (nodes.length > NODES_MAX) {
    throw new MigrationError(
      'replication-group-unsuitable',
      `The ${side} ${address} is a cluster of ${nodes.length} primaries; at most ${NODES_MAX} are served.`,
    );
  }
  const owners = new Array<ClusterNode | undefined>(SLOT_COUNT);
  for (const node of nodes) {
    for (const [first, last] of node.ranges) owners.fill(node, first, last + 1);
  }
  const missing = unownedRanges(owners);
  if (missing.length > 0) {
    throw new MigrationError(
      `${side}-not-ready`,
      `The cluster of the ${side} ${address} has no primary for the slots ${formatSlots(missing).slice(0, 200)}.`,
      { remedy: 'Wait until every slot of the cluster is served, then run the phase again.' },
    );
  }
  return {
    nodes,
    nodeOf: (slot) => {
      const node = owners[slot];
      if (node === undefined) throw new Error(`there is no slot ${slot}`);
      return node;
    },
  };
}

function unownedRanges(owners: readonly (ClusterNode | undefined)[]): SlotRange[] {
  const missing: SlotRange[] = [];
  for (let slot = 0; slot < SLOT_COUNT; slot++) {
    if (owners[slot] !== undefined) continue;
    const last = missing.at(-1);
    if (last?.[1] === slot - 1) missing[missing.length - 1] = [last[0], slot];
    else missing.push([slot, slot]);
  }
  return missing;
}

function parseServer(reply: unknown, asked: Access): { id: string; access: Access } {
  const [host, port, id] = listOf(reply, asked);
  const name = host === null || host === undefined ? '' : String(host);
  if (name === '?') {
    throw new MigrationError(
      `${asked.side}-not-ready`,
      `The cluster of the ${asked.side} ${asked.address} does not know the address of its node ${id}.`,
    );
  }
  if (typeof port !== 'number' || id === undefined) throw malformed(asked);
  const place = { host: name === '' ? asked.host : name, port };
  return {
    id: String(id),
    access: { ...asked, ...place, address: formatAddress(place) },
  };
}

function slotOf(reply: unknown, asked: Access): number {
  if (typeof reply === 'number' && reply >= 0 && reply < SLOT_COUNT) return reply;
  throw malformed(asked);
}

function listOf(reply: unknown, asked: Access): readonly unknown[] {
  if (Array.isArray(reply)) return reply;
  throw malformed(asked);
}

function malformed({ side, address }: Access): MigrationError {
  return new MigrationError(
    `${side}-protocol-error`,
    `The ${side} ${address} answered CLUSTER SLOTS with something that names no slots.`,
  );
}
