import type { Client } from './client.ts';

/**
 * Reads one setting by CONFIG GET; undefined where the server has none of this name.
 *
 * @throws {side}-permission-denied where CONFIG is denied, renamed away or, as on ElastiCache, not there
 */
export async function readSetting(client: Client, name: string): Promise<string | undefined> {
  const reply = await client.call('CONFIG', 'GET', name);
  return Array.isArray(reply) && reply.length >= 2 ? String(reply[1]) : undefined;
}
