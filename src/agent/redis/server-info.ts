import type { Client } from './client.ts';

/** What INFO says, field by field, as text. */
export type ServerInfo = {
  readonly kind: 'redis' | 'valkey';
  /** `7.4.1`; of a Valkey its own version, not the Redis version that it claims to be. */
  readonly version: string;
  /** Every `field:value` line of every section. */
  readonly fields: ReadonlyMap<string, string>;
};

/**
 * Reads INFO with all its sections.
 *
 * @throws the codes of {@link Client.call}
 */
export async function readServerInfo(client: Client): Promise<ServerInfo> {
  const text = (await client.callText('INFO', 'all')) ?? '';
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  const valkeyVersion = fields.get('valkey_version');
  return valkeyVersion === undefined
    ? { kind: 'redis', version: fields.get('redis_version') ?? '0.0.0', fields }
    : { kind: 'valkey', version: valkeyVersion, fields };
}

/** Whether a version such as `7.4.1` is `major.minor` or later. */
export function isVersionAtLeast(version: string, major: number, minor: number): boolean {
  const [actualMajor = 0, actualMinor = 0] = version.split('.').map(Number);
  return actualMajor > major || (actualMajor === major && actualMinor >= minor);
}

/** Whether the data of such a source can be read: later versions of Redis have types that are not known. */
export function isSourceServed({ kind, version }: Pick<ServerInfo, 'kind' | 'version'>): boolean {
  if (kind === 'valkey') return true;
  return isVersionAtLeast(version, 5, 0) && !isVersionAtLeast(version, 8, 5);
}

/**
 * How many hashes of `keys=3,expires=0,...` have fields that expire: `subexpiry` from Redis 7.4 on,
 * `keys_with_volatile_items` from Valkey 9 on; undefined where the server does not count them.
 */
export function countFieldExpiries(keyspace: string): number | undefined {
  const count = /\b(?:subexpiry|keys_with_volatile_items)=(\d+)/.exec(keyspace)?.[1];
  return count === undefined ? undefined : Number(count);
}

/** All keys that INFO counts, over all databases: `db0:keys=3,expires=0,...`. */
export function countKeys(fields: ReadonlyMap<string, string>): number {
  let keys = 0;
  for (const [name, value] of fields) {
    if (/^db\d+$/.test(name)) keys += Number(/keys=(\d+)/.exec(value)?.[1] ?? 0);
  }
  return keys;
}
