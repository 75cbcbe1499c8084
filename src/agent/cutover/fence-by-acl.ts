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
/** A user of ours that alone may write behind the fence; its password is nowhere but on the host. */
export type FenceWriter = { readonly name: string; readonly passwordSha256: string };
/** The users as they were found, and the one that is made. */
export type AclFence = { readonly users: readonly FencedUser[]; readonly writer?: FenceWriter | undefined };

/** This fence in words, for the report. */
export function describeAclFence({ users, writer }: AclFence): string {
  const fenced = `ACL SETUSER -@write for ${users.length} ${users.length === 1 ? 'user' : 'users'}`;
  return writer === undefined ? fenced : `${fenced}; only ${writer.name} may write`;
}

/** Reads the permissions of all users. @throws what shows that they may not be read or changed */
export async function readAclFence(client: Client, writer?: FenceWriter): Promise<AclFence> {
  const users = await readAclUsers(client);
  if (writer !== undefined && users.some(({ name }) => name === writer.name)) {
    throw new Error(`it has a user ${writer.name} already`);
  }
  // Gives somebody what they have, and shows a refusal before anything is changed.
  for (const user of users.slice(0, 1)) await client.call('ACL', 'SETUSER', user.name, ...rulesOf(user));
  return { users, writer };
}

/**
 * Takes the permission to write from every user, our own among them: from now on the source refuses every write with
 * NOPERM, also those of transactions that are queued, and of scripts; then makes the writer, if there is to be one.
 * Returns what the users have then.
 *
 * @throws what the source refused
 */
export async function setAclFence(client: Client, { users, writer }: AclFence): Promise<AclFence> {
  for (const { name, selectors } of users) {
    // A selector gives permissions of its own beside those of the user.
    const cleared = selectors.length === 0 ? [] : ['clearselectors'];
    await client.call('ACL', 'SETUSER', name, ...cleared, '-@write');
  }
  if (writer !== undefined) {
    const rules = ['reset', 'on', `#${writer.passwordSha256}`, '~*', '+@all'];
    await client.call('ACL', 'SETUSER', writer.name, ...rules);
  }
  return { users: await readAclUsers(client), writer };
}

/** Removes the writer, and with it its connections; the fence stays. @throws what the source refused */
export async function removeWriter(client: Client, { name }: FenceWriter): Promise<void> {
  await client.call('ACL', 'DELUSER', name);
}

/** Gives every user exactly the permissions that were found. @throws what the source refused, or when they differ then */
export async function restoreAclFence(client: Client, { users, writer }: AclFence): Promise<void> {
  if (writer !== undefined) await removeWriter(client, writer);
  for (const user of users) await client.call('ACL', 'SETUSER', user.name, ...rulesOf(user));
  const restored = await readAclUsers(client);
  const wrong = users.filter((user) => !restored.some((now) => isSame(user, now))).map(({ name }) => name);
  if (wrong.length > 0) throw new Error(`the users ${wrong.join(', ')} do not have the permissions as found`);
}

/** Whether all users have what the fence has left them, and no user came up since. */
export async function isAclFenceSet(client: Client, fenced: AclFence): Promise<boolean> {
  const now = await readAclUsers(client);
  return now.every((user) => fenced.users.some((before) => isSame(user, before)));
}

/** The users whose permissions are not empty anyway. @throws what the server refused */
export async function readAclUsers(client: Client): Promise<readonly FencedUser[]> {
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
