import { MigrationError } from '../../../core/errors.ts';
import type { Access } from '../access.ts';
import { type Client, openClient } from '../client.ts';
import { readLayout } from './layout.ts';
import { openRoutedConnection } from './routed-connection.ts';
import { formatSlots, type SlotRange } from './slots.ts';
import { type ClusterNode, readTopology, type Topology } from './topology.ts';

/** In the folder of a migration: one for each shard of the source, with what its stream keeps on disk. */
export const SHARDS_FOLDER = 'shards';

/** More primaries of a source than this are refused: each has a journal and connections of its own. */
export const SOURCE_SHARDS_MAX = 32;

/** More pairs of a primary of the source and one of the target are refused: each has buffers of its own. */
export const SHARD_PAIRS_MAX = 32;

/** What one primary of a source in cluster mode owns, whichever node that primary is at the time. */
export type SourceShard = {
  /** Its place among the shards, which are in the order of their first slots. */
  readonly index: number;
  readonly ranges: readonly SlotRange[];
  /** The ranges as text: by them a shard is known again, also after a failover. */
  readonly slots: string;
};

/** The shards of a topology. */
export function shardsOf({ nodes }: Topology): readonly SourceShard[] {
  return nodes.map(({ index, ranges }) => ({ index, ranges, slots: formatSlots(ranges) }));
}

/** Says that the shards of a source are not what they were when they were begun to be followed. */
export function sourceSlotsMoved(what: string): MigrationError {
  return new MigrationError(
    'source-slots-moved',
    `Slots of the source were moved between its primaries: ${what}.`,
  );
}

/**
 * A source in cluster mode: its shards as they were found, and where each of them is now.
 *
 * Who asks for a primary is told by the nodes of the other shards first: one that has just come back from a failover may
 * take itself for what it was.
 */
export class SourceCluster {
  readonly shards: readonly SourceShard[];
  readonly #seed: Access;
  #nodes: readonly ClusterNode[];

  private constructor(seed: Access, topology: Topology) {
    this.#seed = seed;
    this.#nodes = topology.nodes;
    this.shards = shardsOf(topology);
  }

  /**
   * Looks at the cluster that an access leads to.
   *
   * @throws source-slots-moved while slots are being moved, source-not-ready while its nodes do not agree, the codes of
   *   {@link readTopology} and {@link openClient}, or the signal's reason
   */
  static async open(access: Access, signal: AbortSignal): Promise<SourceCluster> {
    await using connection = await openRoutedConnection(access, { signal });
    if ((await readLayout(connection.primaries)).isChanging) throw sourceSlotsMoved('some are on their way');
    await using client = await openClient(access);
    return new SourceCluster(access, await readTopology(client));
  }

  /**
   * The primary of a shard, as the cluster has it now.
   *
   * @throws source-slots-moved when no primary has exactly its slots, else what the last node that was asked failed with
   */
  async locate({ index, slots }: SourceShard): Promise<Access> {
    const topology = await this.#ask(index);
    const node = topology.nodes.find(({ ranges }) => formatSlots(ranges) === slots);
    if (node === undefined) throw sourceSlotsMoved(`no primary has exactly ${slots.slice(0, 100)}`);
    return node.access;
  }

  /** Makes sure that the shards are what they were. @throws as {@link locate} */
  async assertUnmoved(): Promise<void> {
    const now = shardsOf(await this.#ask(0)).map(({ slots }) => slots);
    const before = this.shards.map(({ slots }) => slots);
    if (now.join('\n') !== before.join('\n')) throw sourceSlotsMoved('the shards are others than they were');
  }

  async #ask(index: number): Promise<Topology> {
    const others = this.#nodes.filter((node) => node.index !== index);
    const own = this.#nodes.filter((node) => node.index === index);
    const candidates = [
      ...others.flatMap(({ access, replicas }) => [access, ...replicas]),
      ...own.flatMap(({ replicas }) => replicas),
      this.#seed,
      ...own.map(({ access }) => access),
    ];
    let failure: unknown;
    for (const candidate of candidates) {
      try {
        await using client = await openClient(candidate);
        const topology = await readTopology(client);
        this.#nodes = topology.nodes;
        return topology;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}

/** Whether a server is a node of a cluster. Throws the codes of {@link Client.call}. */
export async function isInClusterMode(client: Client): Promise<boolean> {
  return /^cluster_enabled:1/m.test((await client.callText('INFO', 'cluster')) ?? '');
}
