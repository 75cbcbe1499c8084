import type { Client } from '../redis/client.ts';
import { readLayout } from '../redis/cluster/layout.ts';
import type { Primaries } from '../redis/cluster/primaries.ts';
import { openRoutedConnection } from '../redis/cluster/routed-connection.ts';
import { slotTag } from '../redis/cluster/slots.ts';
import { type CommonFacts, type DatabaseFacts, readCommonFacts } from './server-facts.ts';

/** A server in cluster mode, as far as it is not told of a standalone one. */
export type ClusterFacts = {
  /** By address, in the order of their slots. */
  readonly primaries: readonly { readonly address: string; readonly latencyMs: number }[];
  /** Whether slots are on their way from one node to another. */
  readonly isChanging: boolean;
};

/** What all primaries have together; `cluster` is undefined for a standalone server. */
export type PrimariesFacts = CommonFacts & { readonly cluster: ClusterFacts | undefined };

/**
 * Reads what is asked of every primary and sums it up: keys and memory are added, the latency is the longest.
 *
 * @throws the codes of {@link Client.call}
 */
export async function readPrimariesFacts(server: Primaries, signal: AbortSignal): Promise<PrimariesFacts> {
  const home = await readCommonFacts(server.home);
  if (server.topology === undefined) return { ...home, cluster: undefined };
  const parts: CommonFacts[] = [];
  for (const primary of server.all) {
    parts.push(primary === server.home ? home : await readCommonFacts(primary));
  }
  const servers = parts.map(({ server }) => server);
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
  const maxima = servers.map(({ maxMemoryBytes }) => maxMemoryBytes);
  const databases = addUp(parts.flatMap((part) => part.databases));
  return {
    info: home.info,
    databases,
    server: {
      ...home.server,
      address: server.access.address,
      databases: databases.map(({ db, keys }) => ({ db, keys })),
      usedMemoryBytes: sum(servers.map(({ usedMemoryBytes }) => usedMemoryBytes)),
      // One without a limit has room for all.
      maxMemoryBytes: maxima.includes(0) ? 0 : sum(maxima),
      latencyMs: Math.max(...servers.map(({ latencyMs }) => latencyMs)),
    },
    cluster: {
      primaries: servers.map(({ address, latencyMs }) => ({ address, latencyMs })),
      isChanging: await areSlotsMoving(server, signal),
    },
  };
}

function addUp(databases: readonly DatabaseFacts[]): DatabaseFacts[] {
  const sums = new Map<number, DatabaseFacts>();
  for (const facts of databases) {
    const { keys = 0, expires = 0, fieldExpiries } = sums.get(facts.db) ?? {};
    sums.set(facts.db, {
      db: facts.db,
      keys: keys + facts.keys,
      expires: expires + facts.expires,
      fieldExpiries:
        facts.fieldExpiries === undefined ? undefined : facts.fieldExpiries + (fieldExpiries ?? 0),
    });
  }
  return [...sums.values()];
}

async function areSlotsMoving({ access }: Primaries, signal: AbortSignal): Promise<boolean> {
  await using connection = await openRoutedConnection(access, { signal });
  return (await readLayout(connection.primaries)).isChanging;
}

/** A primary with what brings a key into one of its slots: a hash tag, or nothing where there are no slots. */
export type TaggedPrimary = { readonly client: Client; readonly tag: string };

/** Every primary, with a tag for a key of ours that it is to hold. */
export function tagPrimaries({ all, topology }: Primaries): readonly TaggedPrimary[] {
  return all.map((client, index) => {
    const slot = topology?.nodes[index]?.ranges[0]?.[0];
    return { client, tag: slot === undefined ? '' : `{${slotTag(slot)}}` };
  });
}
