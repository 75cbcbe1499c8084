import type { HashFieldTtl } from '../../contract/skipped.ts';
import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { openRoutedConnection, type RoutedConnection } from '../redis/cluster/routed-connection.ts';
import { SLOT_COUNT } from '../redis/cluster/slots.ts';
import { SOURCE_SHARDS_MAX } from '../redis/cluster/source-cluster.ts';
import type { RawConnection } from '../redis/raw-connection.ts';
import { checkpointKey, RESERVED_KEY } from '../redis/reserved-key.ts';
import type { ServerInfo } from '../redis/server-info.ts';
import { inspectSource, type TargetFacts } from '../sync/servers.ts';
import { chooseForm } from './choose-form.ts';
import type { EventForm } from './event-stream.ts';
import type { ScanMeter } from './scan-meter.ts';

/** A server that tells of its changes: the source, or each primary of one in cluster mode, which tells of its own only. */
export type SourceNode = {
  readonly access: Access;
  /** Undefined where INFO is refused. */
  readonly info: ServerInfo | undefined;
  /** In which form its events come. */
  readonly form: EventForm;
};

/** The source as a session finds it. */
export type SourceNodes = {
  /** In the order of their slots. */
  readonly nodes: readonly SourceNode[];
  /** Which primary owns which slots, as text to compare; empty for a standalone source. */
  readonly layout: string;
};

/** What the source is judged by. */
export type NodesOptions = {
  readonly source: Access;
  readonly sourceClient: Client;
  readonly facts: TargetFacts;
  readonly hashFieldTtl: HashFieldTtl;
  readonly targetAddress: string;
  readonly meter: Pick<ScanMeter, 'note'>;
  readonly signal: AbortSignal;
};

/**
 * Connects to the source or, where it is silent, to another node of the cluster that it was.
 *
 * @throws the codes of {@link openClient} for the source itself
 */
export async function openSourceClient({
  source,
  sourceNodes,
}: {
  readonly source: Access;
  readonly sourceNodes: readonly Access[];
}): Promise<Client> {
  try {
    return await openClient(source);
  } catch (error) {
    for (const node of sourceNodes) {
      const client = await openClient(node).catch(() => undefined);
      if (client !== undefined) return client;
    }
    throw error;
  }
}

/**
 * Looks at every primary of the source, and makes sure that each tells of its changes.
 *
 * @throws source-cluster-unsupported, source-version-unsupported, input-contradictory, notifications-missing,
 *   source-data-unsupported, and the codes of connections to the source
 */
export async function inspectNodes(options: NodesOptions): Promise<SourceNodes> {
  const { source, sourceClient, facts, hashFieldTtl, targetAddress, meter, signal } = options;
  await using route = await openRoutedConnection(source, { signal });
  const { layout } = route;
  const isShard = layout !== '';
  if (route.primaries.length > SOURCE_SHARDS_MAX) throw tooMany(source, route.primaries.length);
  const nodes: SourceNode[] = [];
  for (const [primary, key] of canaryKeys(route)) {
    const access = isShard ? primary.access : source;
    const judged = { ...facts, hashFieldTtl, address: targetAddress, isShard };
    const { info } = await inspectSource(access, judged);
    await using own = isShard ? await openClient(access) : undefined;
    const form = await chooseForm({ source: access, sourceClient: own ?? sourceClient, key, signal, meter });
    nodes.push({ access, info, form });
  }
  return { nodes, layout };
}

/** A key of ours for each primary of a server or cluster, in the order of their slots. */
export function canaryKeys(route: RoutedConnection): ReadonlyMap<RawConnection, Buffer> {
  const [first] = route.primaries;
  if (route.layout === '' && first !== undefined) return new Map([[first, RESERVED_KEY]]);
  const slots = Array.from({ length: SLOT_COUNT }, (_, slot) => checkpointKey(slot));
  const owned = route.byOwner(slots, (key) => key);
  return new Map(route.primaries.map((primary) => [primary, owned.get(primary)?.[0] ?? RESERVED_KEY]));
}

function tooMany({ address }: Access, count: number): MigrationError {
  return new MigrationError(
    'source-cluster-unsupported',
    `The source ${address} is a cluster of ${count} primaries; at most ${SOURCE_SHARDS_MAX} are served.`,
  );
}
