import type { Client } from './client.ts';
import { isVersionAtLeast, readServerInfo } from './server-info.ts';

/**
 * Empties a server: the keys of all databases and, where it knows them, the functions, which FLUSHALL leaves.
 *
 * @throws the codes of {@link Client.call}
 */
export async function flushServer(client: Client): Promise<void> {
  await client.call('FLUSHALL');
  const { kind, version } = await readServerInfo(client);
  if (kind === 'valkey' || isVersionAtLeast(version, 7, 0)) await client.call('FUNCTION', 'FLUSH');
}
