import type { Clock } from '../../core/clock.ts';
import type { Access } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { closeEvery, openEvery } from '../redis/cluster/open-every.ts';
import { readTopology } from '../redis/cluster/topology.ts';
import { openRawConnection, type RawConnection } from '../redis/raw-connection.ts';

/** Connections of its own to all primaries of the target: a WATCH belongs to a connection. */
export type Lane = AsyncDisposable & {
  readonly isCluster: boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  connectionOf(slot: number): RawConnection;
};

/**
 * Opens a lane to a server or, where it is a node of a cluster, to all of its primaries.
 *
 * @throws the codes of {@link openRawConnection} and {@link readTopology}
 */
export async function openLane(
  target: Access,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<Lane> {
  await using client = await openClient(target);
  const info = (await client.callText('INFO', 'cluster')) ?? '';
  if (!/^cluster_enabled:1/m.test(info)) {
    const connection = await openRawConnection(target, { signal });
    const dispose = () => connection[Symbol.asyncDispose]();
    return {
      isCluster: false,
      clock,
      signal,
      connectionOf: () => connection,
      [Symbol.asyncDispose]: dispose,
    };
  }
  const topology = await readTopology(client);
  const connections = await openEvery(topology, (node) => openRawConnection(node, { signal }));
  const connectionOf = (slot: number) => {
    const connection = connections[topology.nodeOf(slot).index];
    if (connection === undefined) throw new Error(`slot ${slot} has no connection`);
    return connection;
  };
  return {
    isCluster: true,
    clock,
    signal,
    connectionOf,
    [Symbol.asyncDispose]: () => closeEvery(connections),
  };
}
