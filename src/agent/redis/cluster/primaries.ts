import type { Access } from '../access.ts';
import { type Client, openClient } from '../client.ts';
import { RESERVED_KEY } from '../reserved-key.ts';
import { closeEvery, openEvery } from './open-every.ts';
import { keySlot } from './slots.ts';
import { isInClusterMode } from './source-cluster.ts';
import { readTopology, type Topology } from './topology.ts';

/** Control-plane connections to everything that takes writes behind an access. */
export type Primaries = AsyncDisposable & {
  readonly access: Access;
  /** Where the claim lies: the owner of the slot of {@link RESERVED_KEY}, or the standalone server. */
  readonly home: Client;
  /** All of them, in the order of their slots; of a standalone server the one. */
  readonly all: readonly Client[];
  /** Undefined for a standalone server. */
  readonly topology: Topology | undefined;
};

/**
 * Connects to a server or, where it is a node of a cluster, to every primary of the cluster.
 *
 * @throws the codes of {@link openClient} and {@link readTopology}
 */
export async function openPrimaries(access: Access): Promise<Primaries> {
  const asked = await openClient(access);
  try {
    if (!(await isInClusterMode(asked))) return gather(access, { home: asked, all: [asked] });
    const topology = await readTopology(asked);
    const all = await openEvery(topology, openClient);
    await asked[Symbol.asyncDispose]();
    const home = all[topology.nodeOf(keySlot(RESERVED_KEY, 0, RESERVED_KEY.length)).index];
    if (home === undefined) throw new Error('the claim has no primary');
    return gather(access, { home, all, topology });
  } catch (error) {
    await asked[Symbol.asyncDispose]();
    throw error;
  }
}

function gather(
  access: Access,
  { home, all, topology }: { home: Client; all: readonly Client[]; topology?: Topology },
): Primaries {
  return { access, home, all, topology, [Symbol.asyncDispose]: () => closeEvery(all) };
}
