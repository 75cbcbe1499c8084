import type { Client } from '../redis/client.ts';

/*
 * ACL GETUSER = [ "commands" rules | "selectors" *[ "commands" rules "keys" patterns "channels" patterns ] | ... ]
 *
 * `rules` begin with "+@all" or "-@all", and applied in their order give the permissions that they were read from.
 * Redis 6 has no selectors. Sources: acl.c of redis 6.0 to 8.0 and of valkey.
 */

/** A user of the source, with the permissions that the fence takes and gives back; nothing in it is secret. */
export type FencedUser = {
  readonly name: string;
  readonly commands: string;
  readonly selectors: readonly string[];
};
/** The users as they were found. */
export type AclFence = { readonly users: readonly FencedUser[] };

/** This fence in words, for the report. */
export function describeAclFence({ users }: AclFence): string {
  return `ACL SETUSER -@write for ${users.length} ${users.length === 1 ? 'user' : 'users'}`;
}

/** Reads the permissions of all users. @throws what shows that they may not be read or changed */
export async function readAclFence(client: Client): Promise<AclFence> {
  const users = await readUsers(client);
  // Gives somebody what they have, and shows a refusal before anything is changed.
  for (const user of users.slice(0, 1)) await client.call('ACL', 'SETUSER', user.name, ...rulesOf(user));
  return { users };
}

/**
 * Takes the permission to write from every user, our own among them: from now on the source refuses every write with
 * NOPERM, also those of transactions that are queued, and of scripts. Returns what the users have then.
 *
 * @throws what the source refused
 */
export async function setAclFence(client: Client, { users }: AclFence): Promise<AclFence> {
  for (const { name, selectors } of users) {
    // A selector gives permissions of its own beside those of the user.
    const cleared = selectors.length === 0 ? [] : ['clearselectors'];
    await client.call('ACL', 'SETUSER', name, ...cleared, '-@write');
  }
  return { users: await readUsers(client) };
}

/** Gives every user exactly the permissions that were found. @throws what the source refused, or when they differ then */
export async function restoreAclFence(client: Client, { users }: AclFence): Promise<void> {
  for (const user of users) await client.call('ACL', 'SETUSER', user.name, ...rulesOf(user));
  const restored = await readUsers(client);
  const wrong = users.filter((user) => !restored.some((now) => isSame(user, now))).map(({ name }) => name);
  if (wrong.length > 0) throw new Error(`the users ${wrong.join(', ')} do not have the permissions as found`);
}

/** Whether all users have what the fence has left them, and no user came up since. */
export async function isAclFenceSet(client: Client, fenced: AclFence): Promise<boolean> {
  const now = await readUsers(client);
  return now.every((user) => fenced.users.some((before) => isSame(user, before)));
}

/** The users whose permissions are not empty anyway. */
async function readUsers(client: Client): Promise<readonly FencedUser[]> {
  const names = await client.call('ACL', 'USERS');
  if (!Array.isArray(names)) throw new Error('ACL USERS answered no list');
  const users = await Promise.all(names.map((name) => readUser(client, String(name))));
  return users.filter(({ commands, selectors }) => commands !== '-@all' || selectors.length > 0);
}

async function readUser(client: Client, name: string): Promise<FencedUser> {
  const fields = toFields(await client.call('ACL', 'GETUSER', name));
  const selectors = fields.get('selectors');
  return {
    name,
    commands: String(fields.get('commands') ?? ''),
    selectors: Array.isArray(selectors) ? selectors.map(toSelector) : [],
  };
}

function toSelector(reply: unknown): string {
  const fields = toFields(reply);
  const parts = ['keys', 'channels', 'commands'].map((name) => String(fields.get(name) ?? ''));
  return `(${parts.filter((part) => part !== '').join(' ')})`;
}

function toFields(reply: unknown): ReadonlyMap<string, unknown> {
  const flat: unknown[] = Array.isArray(reply) ? reply : [];
  const fields = new Map<string, unknown>();
  for (let at = 0; at + 1 < flat.length; at += 2) fields.set(String(flat[at]), flat[at + 1]);
  return fields;
}

function rulesOf({ commands, selectors }: FencedUser): readonly string[] {
  const cleared = selectors.length === 0 ? [] : ['clearselectors'];
  return [...commands.split(' '), ...cleared, ...selectors];
}

function isSame(a: FencedUser, b: FencedUser): boolean {
  return a.name === b.name && a.commands === b.commands && a.selectors.join('\n') === b.selectors.join('\n');
}
