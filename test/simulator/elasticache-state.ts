import * as elasticache from '@aws-sdk/client-elasticache';
import { type AwsFault, modelledFault } from './fault.ts';
import type { OnlineMigration } from './online-migration.ts';
import type { SimulatedReplicationGroup } from './replication-group.ts';
import type { Timing } from './timing.ts';

/** What the ElastiCache service knows and shares with the simulator. */
export type ElastiCacheState = {
  readonly timing: Timing;
  readonly signal: AbortSignal;
  readonly groups: Map<string, SimulatedReplicationGroup>;
  readonly migrations: Map<string, OnlineMigration>;
  readonly snapshots: Map<string, elasticache.Snapshot>;
  readonly events: elasticache.Event[];
  announce(group: SimulatedReplicationGroup, message: string): void;
  /** Takes on work that outlives its request; the simulator waits for it when it ends. */
  inBackground(work: Promise<void>): void;
};

/** The group of this id in any case of letters, or ReplicationGroupNotFoundFault. */
export function findGroup(state: ElastiCacheState, id: string): SimulatedReplicationGroup {
  const group = state.groups.get(id.toLowerCase());
  if (group === undefined) {
    throw modelledFault(
      'query',
      elasticache.ReplicationGroupNotFoundFault$,
      `ReplicationGroup ${id} not found.`,
    );
  }
  return group;
}

/** InvalidParameterValue in the words given. */
export function invalidParameter(message: string): AwsFault {
  return modelledFault('query', elasticache.InvalidParameterValueException$, message);
}

/** InvalidReplicationGroupState in the words given. */
export function invalidState(message: string): AwsFault {
  return modelledFault('query', elasticache.InvalidReplicationGroupStateFault$, message);
}

/** One page of a list; the marker is the position of the next item. */
export function pageOf<Item>(
  items: readonly Item[],
  { MaxRecords = 100, Marker }: { MaxRecords?: number | undefined; Marker?: string | undefined },
): { items: Item[]; marker: { Marker?: string } } {
  if (MaxRecords < 20 || MaxRecords > 100) throw invalidParameter('MaxRecords must be between 20 and 100.');
  const start = Number(Marker ?? 0);
  const end = start + MaxRecords;
  return { items: items.slice(start, end), marker: end < items.length ? { Marker: String(end) } : {} };
}
