import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { loadDataSet } from '../servers/data-set.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { startServer } from '../servers/start.ts';

/** Small enough to be read thousands of times. */
const KEYS = 60;
const LARGE_BYTES = 1_000;

/** What each of the servers saves of a small data set of all types. */
export async function saveRdbs(servers: readonly ServerBinary[]): Promise<readonly Buffer[]> {
  const rdbs: Buffer[] = [];
  for (const server of servers) rdbs.push(await saveRdb(server));
  return rdbs;
}

async function saveRdb(server: ServerBinary): Promise<Buffer> {
  await using running = await startServer({ server });
  const client = running.client();
  const [hasFieldTtls] = (await client.call('COMMAND', 'INFO', 'hpexpire')) as unknown[];
  await loadDataSet(client, { keys: KEYS, seed: 3, hashFieldTtls: Array.isArray(hasFieldTtls) });
  for (const db of [0, 1, 5]) {
    const connection = running.client(db);
    for (const key of await connection.keysBuffer('*')) {
      const payload = await connection.dumpBuffer(key);
      if (payload.length > LARGE_BYTES) await connection.del(key);
    }
  }
  await client.save();
  return await readFile(path.join(running.directory, 'dump.rdb'));
}
