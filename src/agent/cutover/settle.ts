import { isMigrationError } from '../../core/errors.ts';
import { backoffDelaysMs, type RetryPolicy, retry } from '../../core/retry.ts';
import { formatCount } from '../../core/units.ts';
import { type JobContext, NO_PROGRESS } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import { type Claim, encodeClaim } from '../redis/checkpoint.ts';
import type { Primaries } from '../redis/cluster/primaries.ts';
import { openRoutedConnection } from '../redis/cluster/routed-connection.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { endEarlierWriters } from '../redis/writers.ts';
import { findExpiring } from './expiring-databases.ts';
import { rewriteExpiries, takePadOff } from './rewrite-expiries.ts';
import { settleFields } from './settle-fields.ts';
import { type Noted, type Settled, settleNoted } from './settle-noted.ts';

/**
 * Restores the exact expiry time of every key and hash field of a target whose sync has ended for good.
 *
 * First of all the claim says so: from then on keys may expire by themselves, so no sync resumes here any more, and a
 * connection of one that might still have something on its way is closed. Then every padded time loses its pad; one
 * that has passed takes its key along, which the source no longer shows either. Padded times are known by their value,
 * so this may be interrupted anywhere and done again.
 *
 * With `noted` only the keys that can have a padded time are gone over, as long as that is known.
 *
 * @throws target-unreachable, target-not-ready, target-read-only, target-permission-denied, target-slots-moved, or the
 *   signal's reason
 */
export async function settleTarget(
  target: Primaries,
  claim: Claim,
  context: JobContext,
  noted?: Noted,
): Promise<void> {
  const { clock, signal } = context;
  context.report({ ...NO_PROGRESS, stage: 'settling' });
  for (const primary of target.all) await endEarlierWriters(primary, claim.migrationId);
  // Nothing of it is padded.
  if (claim.route === 'scan') return;
  const { migrationId, repository, hostId, sourceShards } = claim;
  const settling = encodeClaim({ migrationId, repository, hostId, state: 'settling', sourceShards });
  await target.home.call('SET', RESERVED_KEY, settling, 'XX');
  const fast = noted === undefined ? undefined : await settleNoted(target.access, noted, context);
  // Another process hashes keys with another seed, so a pass that lost its server, or a slot, begins again.
  const settleAll = () => settleOnce(target.access, signal);
  const settled = fast ?? (await retry(settleAll, { policy: LOST_POLICY, clock, signal }));
  context.log(
    `restored the expiry times of ${formatCount(settled.keys)} keys and ${formatCount(settled.fields)} hash fields`,
  );
}

const LOST_POLICY: RetryPolicy = {
  delaysMs: backoffDelaysMs({ firstMs: 100, maximumMs: 10_000, count: 12 }),
  shouldRetry: (error) =>
    isMigrationError(error) && /^target-(unreachable|not-ready|read-only|slots-moved)$/.test(error.code),
};

async function settleOnce(access: Access, signal: AbortSignal): Promise<Settled> {
  const settled = { keys: 0, fields: 0 };
  for (const { db, hasKeys, hasFields } of await findExpiring(access, signal)) {
    await using connection = await openRoutedConnection(access, { db, signal });
    if (hasKeys) settled.keys += await rewriteExpiries(connection, takePadOff);
    if (hasFields) settled.fields += await settleFields(connection);
  }
  return settled;
}
