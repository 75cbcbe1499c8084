import type { Access } from '../access.ts';
import { type Client, openClient } from '../client.ts';
import { RESERVED_KEY } from '../reserved-key.ts';
import { keySlot } from './slots.ts';
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
  await using opening = new AsyncDisposableStack();
  const asked = opening.use(await openClient(access));
  const info = (await asked.callText('INFO', 'cluster')) ?? '';
  if (!/^cluster_enabled:1/m.test(info)) {
    return own(opening, { access, home: asked, all: [asked], topology: undefined });
  }
  const topology = await readTopology(asked);
  const all: Client[] = [];
  for (const node of topology.nodes) all.push(opening.use(await openClient(node.access)));
  const home = all[topology.nodeOf(keySlot(RESERVED_KEY, 0, RESERVED_KEY.length)).index] ?? asked;
  return own(opening, { access, home, all, topology });
}

function own(opening: AsyncDisposableStack, opened: Omit<Primaries, keyof AsyncDisposable>): Primaries {
  const owned = opening.move();
  return { ...opened, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
