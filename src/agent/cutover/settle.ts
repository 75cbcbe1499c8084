import { isMigrationError } from '../../core/errors.ts';
import { backoffDelaysMs, type RetryPolicy, retry } from '../../core/retry.ts';
import { formatCount } from '../../core/units.ts';
import { type JobContext, NO_PROGRESS } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import { type Claim, encodeClaim } from '../redis/checkpoint.ts';
import type { Client } from '../redis/client.ts';
import { isPadded, unpadExpiry } from '../redis/expiry-pad.ts';
import { openRawConnection } from '../redis/raw-connection.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { endEarlierWriters } from '../redis/writers.ts';
import { rewriteExpiries } from './rewrite-expiries.ts';
import { settleFields } from './settle-fields.ts';

/**
 * Restores the exact expiry time of every key and hash field of a target whose sync has ended for good.
 *
 * First of all the claim says so: from then on keys may expire by themselves, so no sync resumes here any more, and a
 * connection of one that might still have something on its way is closed. Then every padded time loses its pad; one
 * that has passed takes its key along, which the source no longer shows either. Padded times are known by their value,
 * so this may be interrupted anywhere and done again.
 *
 * @throws target-unreachable, target-not-ready, target-read-only, target-permission-denied, or the signal's reason
 */
export async function settleTarget(client: Client, claim: Claim, context: JobContext): Promise<void> {
  const { clock, signal } = context;
  context.report({ ...NO_PROGRESS, stage: 'settling' });
  await endEarlierWriters(client, claim.migrationId);
  const { migrationId, repository, hostId } = claim;
  const settling = encodeClaim({ migrationId, repository, hostId, state: 'settling' });
  await client.call('SET', RESERVED_KEY, settling, 'XX');
  // Another process hashes keys with another seed, so a pass that lost its server begins again.
  const settled = await retry(() => settleOnce(client.access, signal), {
    policy: LOST_POLICY,
    clock,
    signal,
  });
  context.log(
    `restored the expiry times of ${formatCount(settled.keys)} keys and ${formatCount(settled.fields)} hash fields`,
  );
}

const LOST_POLICY: RetryPolicy = {
  delaysMs: backoffDelaysMs({ firstMs: 100, maximumMs: 10_000, count: 12 }),
  shouldRetry: (error) =>
    isMigrationError(error) && /^target-(unreachable|not-ready|read-only)$/.test(error.code),
};

async function settleOnce(access: Access, signal: AbortSignal): Promise<{ keys: number; fields: number }> {
  const settled = { keys: 0, fields: 0 };
  for (const { db, hasKeys, hasFields } of await findExpiring(access, signal)) {
    await using connection = await openRawConnection(access, { db, signal });
    if (hasKeys) {
      settled.keys += await rewriteExpiries(connection, async (keys) =>
        keys.filter(({ atMs }) => isPadded(atMs)).map(({ key, atMs }) => ({ key, atMs: unpadExpiry(atMs) })),
      );
    }
    if (hasFields) settled.fields += await settleFields(connection);
  }
  return settled;
}

/** The databases in which something expires. */
export async function findExpiring(
  access: Access,
  signal: AbortSignal,
): Promise<readonly { db: number; hasKeys: boolean; hasFields: boolean }[]> {
  await using connection = await openRawConnection(access, { signal });
  const [info, fieldTime] = await connection.send([
    ['INFO', 'keyspace'],
    ['HPEXPIRETIME', RESERVED_KEY, 'FIELDS', 1, 'field'],
  ]);
  // An unknown command, or WRONGTYPE: the key is a string.
  const knowsFieldTtls = !/unknown command/i.test(String(fieldTime));
  const lines = String(info).matchAll(/^db(\d+):keys=\d+,expires=(\d+)(.*)$/gm);
  return Array.from(lines, ([, db, expires, rest = '']) => ({
    db: Number(db),
    hasKeys: expires !== '0',
    hasFields: knowsFieldTtls && !/,keys_with_volatile_items=0\b/.test(rest),
  })).filter(({ hasKeys, hasFields }) => hasKeys || hasFields);
}
