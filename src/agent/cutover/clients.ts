import { CLIENTS_LISTED_MAX, type ClientGroup, type ClientList } from '../../contract/reports.ts';
import { isMigrationError } from '../../core/errors.ts';
import type { Client } from '../redis/client.ts';
import type { Primaries } from '../redis/cluster/primaries.ts';

/** More groups than anybody reads; what comes beyond is counted by its connections only. */
const GROUPS_MAX = 5_000;

/** Who is connected to a server, over several looks. */
export type ClientWatch = {
  /** Looks once. Throws the codes of {@link Client.call}. */
  look(): Promise<void>;
  /** Those who write first, then by their number of connections. */
  list(): ClientList;
};

/**
 * Looks who is connected to a server, by address, user and name; replicas, and connections like our own, are left out.
 *
 *   CLIENT LIST = *( "id=" id " addr=" address " name=" name " idle=" seconds " cmd=" command " user=" user ... LF )
 *
 * `cmd` is what came last, also when it was refused. `user` is there from Redis 6.0 on.
 *
 * @param idleMaxS Only who has sent something within this time writes; without it, who has ever sent a write last.
 */
export async function watchClients(
  client: Client,
  idleMaxS = Number.POSITIVE_INFINITY,
): Promise<ClientWatch> {
  const ownId = String(await client.call('CLIENT', 'ID'));
  const groups = new Map<string, ClientGroup>();
  const kinds = new Map<string, boolean>();
  let more = 0;
  return {
    look: async () => {
      const lines = ((await client.callText('CLIENT', 'LIST', 'TYPE', 'normal')) ?? '').trim().split('\n');
      const connections = lines.map(parseConnection);
      const own = connections.find(({ id }) => id === ownId);
      await learnKinds(client, connections, kinds);
      const seen = new Map<string, ClientGroup>();
      for (const connection of connections) {
        const { address, user, name, command } = connection;
        const writes = kinds.get(command) === true && connection.idleS <= idleMaxS;
        if (own !== undefined && !writes && isLike(own, connection)) continue;
        const key = [address, user, name].join(' ');
        const before = seen.get(key);
        const isTold = before === undefined || (writes && !before.writes);
        seen.set(key, {
          address,
          user,
          name,
          connections: (before?.connections ?? 0) + 1,
          lastCommand: isTold ? command : before.lastCommand,
          writes: writes || before?.writes === true,
        });
      }
      for (const [key, now] of seen) {
        const before = groups.get(key);
        if (before === undefined && groups.size >= GROUPS_MAX) more += 1;
        else groups.set(key, before === undefined ? now : merge(before, now));
      }
    },
    list: () => listOf([...groups.values()], more),
  };
}

/** The same over every primary of a server: a client that is connected to several of them is one. */
export async function watchAllClients({ all }: Primaries, idleMaxS?: number): Promise<ClientWatch> {
  const watches = await Promise.all(all.map((client) => watchClients(client, idleMaxS)));
  return {
    look: async () => {
      await Promise.all(watches.map((watch) => watch.look()));
    },
    list: () => mergeLists(watches.map((watch) => watch.list())),
  };
}

function mergeLists(lists: readonly ClientList[]): ClientList {
  const groups = new Map<string, ClientGroup>();
  for (const group of lists.flatMap((list) => list.groups)) {
    const key = [group.address, group.user, group.name].join(' ');
    const before = groups.get(key);
    const connections = group.connections + (before?.connections ?? 0);
    groups.set(key, { ...(before === undefined ? group : merge(before, group)), connections });
  }
  const more = lists.reduce((sum, list) => sum + list.more, 0);
  return listOf([...groups.values()], more);
}

/** Those who write first, then by their number of connections; `more` groups are not among them. */
function listOf(groups: readonly ClientGroup[], more: number): ClientList {
  const sorted = groups.toSorted(
    (a, b) => Number(b.writes) - Number(a.writes) || b.connections - a.connections,
  );
  const listed = sorted.slice(0, CLIENTS_LISTED_MAX);
  return { groups: listed, more: sorted.length - listed.length + more };
}

type Connection = {
  readonly id: string;
  readonly address: string;
  readonly user: string;
  readonly name: string;
  readonly command: string;
  readonly idleS: number;
};

function parseConnection(line: string): Connection {
  const field = (name: string) => new RegExp(`(?:^| )${name}=(\\S*)`).exec(line)?.[1] ?? '';
  return {
    id: field('id'),
    address: field('addr').replace(/:\d+$/, ''),
    user: field('user').slice(0, TEXT_MAX),
    name: field('name').slice(0, TEXT_MAX),
    command: field('cmd').slice(0, TEXT_MAX),
    idleS: Number(field('idle')),
  };
}

const TEXT_MAX = 100;

/** The agent has more connections than this one, from the same place and as the same user. */
function isLike(own: Connection, { address, user, name }: Connection): boolean {
  return address === own.address && user === own.user && name === own.name;
}

function merge(before: ClientGroup, now: ClientGroup): ClientGroup {
  const isNewer = now.writes || !before.writes;
  return {
    ...before,
    connections: Math.max(before.connections, now.connections),
    lastCommand: isNewer ? now.lastCommand : before.lastCommand,
    writes: before.writes || now.writes,
  };
}

/** Asks of each command that has not been seen yet whether it writes; unknown where that may not be asked. */
async function learnKinds(
  client: Client,
  connections: readonly Connection[],
  kinds: Map<string, boolean>,
): Promise<void> {
  const unknown = [...new Set(connections.map(({ command }) => command))].filter((name) => !kinds.has(name));
  if (unknown.length === 0) return;
  try {
    // Of a subcommand, as `client|list`, its command tells.
    const reply = await client.call('COMMAND', 'INFO', ...unknown.map((name) => name.split('|')[0] ?? name));
    unknown.forEach((name, index) => {
      const info: unknown = Array.isArray(reply) ? reply[index] : undefined;
      const flags: unknown = Array.isArray(info) ? info[2] : undefined;
      kinds.set(name, SCRIPTED.has(name) || (Array.isArray(flags) && flags.map(String).includes('write')));
    });
  } catch (error) {
    if (!isMigrationError(error) || error.code !== 'source-permission-denied') throw error;
    for (const name of unknown) kinds.set(name, SCRIPTED.has(name));
  }
}

/** Taken for writes: what was done by them is not known. */
const SCRIPTED: ReadonlySet<string> = new Set(['eval', 'evalsha', 'fcall', 'exec']);
