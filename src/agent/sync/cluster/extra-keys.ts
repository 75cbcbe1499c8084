import { ExtraKeys } from '../extra-keys.ts';
import type { SyncWorld } from '../session.ts';
import type { TargetWriter } from '../target-writer.ts';
import type { ClusterTarget } from './cluster-target.ts';

/** Where keys are removed; `isDue` leaves out slots in which nothing is. */
export type ClusterRemoval = {
  readonly world: Pick<SyncWorld, 'shard'>;
  readonly target: ClusterTarget;
  readonly writers: readonly TargetWriter[];
  readonly isDue?: (slot: number) => boolean;
  readonly signal: AbortSignal;
};

/** What a copy has not brought, for each primary. */
export class ExtraKeysByNode implements Disposable {
  readonly #byNode: readonly ExtraKeys[];

  constructor(directory: string, nodes: number) {
    this.#byNode = Array.from({ length: nodes }, () => new ExtraKeys(directory));
  }

  of(index: number): ExtraKeys {
    const extraKeys = this.#byNode[index];
    if (extraKeys === undefined) throw new Error(`there is no node ${index}`);
    return extraKeys;
  }

  /**
   * Removes it, of a shard of the source as far as it lies in the slots of that one; returns how many keys there were.
   *
   * @throws as {@link ExtraKeys.remove}
   */
  async remove({ world, target, writers, isDue, signal }: ClusterRemoval): Promise<number> {
    const { shard } = world;
    const ofSlot = (slot: number) => (shard === undefined || shard.owns(slot)) && isDue?.(slot) !== false;
    // Where no shard has keys, the first one is asked for.
    const isOurs = (db: number, slot: number) => (db === 0 ? ofSlot(slot) : (shard?.index ?? 0) === 0);
    let removed = 0;
    for (const [index, writer] of writers.entries()) {
      const access = target.topology.nodes[index]?.access;
      if (access === undefined) throw new Error(`there is no node ${index}`);
      removed += await this.of(index).remove({ access, writer, isCluster: true, isOurs, signal });
      writer.write(['SELECT', 0]);
    }
    return removed;
  }

  [Symbol.dispose](): void {
    for (const extraKeys of this.#byNode) extraKeys[Symbol.dispose]();
  }
}
