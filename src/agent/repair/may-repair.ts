import { MigrationError } from '../../core/errors.ts';
import { areFencesRecorded, refuseUnrecordedFences } from '../cutover/fences.ts';
import { isCutoverProved } from '../cutover/state.ts';
import type { JobContext } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import { readClaim } from '../redis/checkpoint.ts';
import type { Client } from '../redis/client.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';
import { shardClaimKeys } from '../redis/reserved-key.ts';
import { readServerInfo } from '../redis/server-info.ts';

/**
 * Refuses a repair where the target may hold what is newer than the source, or is being written by a copy: from the
 * fence of a cutover on, also of one that is over; while a sync copies; when it is a replica; and when it is the source.
 *
 * A cutover cannot begin meanwhile: it wants a report of a verification, which is gone as soon as one is started.
 *
 * @throws repair-refused, and the codes of the connections
 */
export async function assertMayRepair(
  { source, target }: { readonly source: Access; readonly target: Access },
  context: Pick<JobContext, 'siblings' | 'directory'>,
): Promise<void> {
  const refused = (reason: string) => new MigrationError('repair-refused', reason);
  const cutover = await context.siblings.state('cutover');
  if (cutover?.status === 'running') throw refused('A cutover of this migration is running.');
  if (cutover?.status === 'succeeded' || isCutoverProved(context.directory)) {
    throw refused('A cutover of this migration is over: the target has taken over from the source.');
  }
  if (areFencesRecorded(context.directory)) throw refused('The fence of a cutover stands at the source.');
  await using primaries = await openPrimaries(target);
  await using from = await openPrimaries(source);
  await refuseUnrecordedFences(from).catch(() => {
    throw refused(`The fence of a cutover that another host made stands at the source ${source.address}.`);
  });
  const origins = await Promise.all(from.all.map(readServerInfo));
  const runIds = new Set(origins.map(({ fields }) => fields.get('run_id')));
  for (const primary of primaries.all) {
    const info = await readServerInfo(primary);
    const { address } = primary.access;
    if (runIds.has(info.fields.get('run_id'))) {
      throw refused(`The target ${address} is the server of the source, which is never written to.`);
    }
    if (info.fields.get('role') !== 'master') {
      throw refused(`The target ${address} is a replica: what is written to it comes from its own master.`);
    }
  }
  await assertNotCopying(primaries.home);
}

async function assertNotCopying(target: Client): Promise<void> {
  const whole = await readClaim(target);
  const shards = (whole?.sourceShards ?? []).map((_, shard) =>
    readClaim(target, shardClaimKeys(shard).claim),
  );
  // Of a source in cluster mode each shard says for itself whether its data is complete.
  const claims = shards.length === 0 ? [whole] : (await Promise.all(shards)).map((claim) => claim ?? whole);
  const claim = claims.find((one) => one !== undefined && one.state !== 'live');
  if (claim === undefined) return;
  throw new MigrationError(
    'repair-refused',
    `The target ${target.access.address} is ${claim.state} for the migration ${claim.migrationId}.`,
    { retryable: true },
  );
}
