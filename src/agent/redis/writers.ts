import { isMigrationError } from '../../core/errors.ts';
import type { Client } from './client.ts';

/** The name under which the sync of a migration, or of one shard of its source, writes, as CLIENT LIST of the target shows it. */
export function writerName(migrationId: string, shard?: number): string {
  return `valkey-migrate:${migrationId}${shard === undefined ? '' : `/${shard}`}`;
}

/**
 * Ends the connections of earlier syncs of a migration to the target, by their name; of one shard of its source, or all.
 *
 * A killed agent may have left a transaction on the way, which the target would apply after the claim has been read
 * back: it would then be applied twice. A connection that is gone applies nothing. Returns undefined when the user may
 * not end connections; what is on the way then has only the time until the first batch to arrive.
 *
 * @throws the codes of {@link Client.call}
 */
export async function endEarlierWriters(
  target: Client,
  migrationId: string,
  shard?: number,
): Promise<number | undefined> {
  const name = writerName(migrationId, shard);
  try {
    const list = (await target.callText('CLIENT', 'LIST', 'TYPE', 'normal')) ?? '';
    let ended = 0;
    for (const line of list.split('\n')) {
      // Without a shard, those of all shards.
      const isOurs =
        line.includes(` name=${name} `) || (shard === undefined && line.includes(` name=${name}/`));
      if (!isOurs) continue;
      const id = /\bid=(\d+)/.exec(line)?.[1];
      if (id !== undefined) ended += Number(await target.call('CLIENT', 'KILL', 'ID', id));
    }
    return ended;
  } catch (error) {
    if (isMigrationError(error) && error.code === 'target-permission-denied') return undefined;
    throw error;
  }
}
