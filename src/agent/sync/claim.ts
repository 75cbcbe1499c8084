import type { Checkpoint } from '../../contract/reports.ts';
import type { SkippedCount } from '../../contract/skipped.ts';
import { MigrationError } from '../../core/errors.ts';
import { type Claim, encodeClaim, readClaim } from '../redis/checkpoint.ts';
import type { Client } from '../redis/client.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { countKeys, readServerInfo } from '../redis/server-info.ts';

/** Who wants to hold the target. */
export type Holder = Pick<Claim, 'migrationId' | 'repository' | 'hostId' | 'route'>;

/**
 * How a sync begins: where an earlier one stopped, with a copy over what is there, or with a copy on a target that must
 * be emptied or not.
 */
export type StartPlan =
  | {
      readonly kind: 'resume';
      readonly checkpoint: Checkpoint;
      /** What was left out up to there. */
      readonly skipped: readonly SkippedCount[];
    }
  | { readonly kind: 'reconcile' }
  | { readonly kind: 'copy'; readonly mustFlush: boolean };

/** What a target holds, as far as the beginning of a sync goes. */
export type TargetContent = {
  readonly claim: Claim | undefined;
  readonly keys: number;
  readonly functionLibraries: number;
};

/**
 * Reads what the target holds.
 *
 * @throws migration-conflict for a claim that cannot be read, and the codes of {@link Client.call}
 */
export async function readTargetContent(target: Client): Promise<TargetContent> {
  const claim = await readClaim(target);
  const { fields } = await readServerInfo(target);
  return {
    claim,
    keys: countKeys(fields),
    functionLibraries: Number(fields.get('number_of_libraries') ?? 0),
  };
}

/**
 * Decides how to begin on a target.
 *
 * @throws migration-conflict when another migration holds it; target-not-empty when it holds what nobody claims and
 *   may not be flushed
 */
export function planStart(
  content: TargetContent,
  { holder, flushTarget, address }: { holder: Holder; flushTarget: boolean; address: string },
): StartPlan {
  const { claim, keys, functionLibraries } = content;
  if (claim !== undefined) {
    if (!isHeldBy(claim, holder)) throw conflict(claim, address);
    const { state, checkpoint, skipped = [] } = claim;
    // What the one route has left is written over by the other, and by itself: there is no place to go on from.
    if (claim.route === 'scan' || holder.route === 'scan') return { kind: 'reconcile' };
    if (state === 'live' && checkpoint !== undefined) return { kind: 'resume', checkpoint, skipped };
    return state === 'reconciling' ? { kind: 'reconcile' } : { kind: 'copy', mustFlush: true };
  }
  const isEmpty = keys === 0 && functionLibraries === 0;
  if (!isEmpty && !flushTarget) {
    throw new MigrationError(
      'target-not-empty',
      `The target ${address} holds ${keys} keys and ${functionLibraries} function libraries that no migration claims.`,
    );
  }
  return { kind: 'copy', mustFlush: !isEmpty };
}

/**
 * Takes the target for a copy: empties it where the plan says so, and leaves the claim, in one step.
 *
 * @throws migration-conflict when another migration was faster, and the codes of {@link Client.call}
 */
export async function claimForCopy(
  target: Client,
  { holder, mustFlush, hasFunctions }: { holder: Holder; mustFlush: boolean; hasFunctions: boolean },
): Promise<void> {
  const claim = encodeClaim({ ...holder, state: 'copying' });
  if (mustFlush) {
    const flush = [['FLUSHALL'], ...(hasFunctions ? [['FUNCTION', 'FLUSH']] : [])];
    return changeUnlessTaken(target, holder, [...flush, ['SET', RESERVED_KEY, claim]]);
  }
  if ((await target.call('SET', RESERVED_KEY, claim, 'NX')) !== null) return;
  const winner = await readClaim(target);
  if (winner !== undefined && !isHeldBy(winner, holder)) throw conflict(winner, target.access.address);
}

/**
 * Takes the target for a copy over what it holds. Its functions are those of the source or nobody's, so they go.
 *
 * `key`: under which the claim is left, for one shard of the source; `sourceShards`: that there is one for each of them.
 *
 * @throws migration-conflict when another migration was faster, and the codes of {@link Client.call}
 */
export async function claimForReconcile(
  target: Client,
  {
    holder,
    hasFunctions,
    key = RESERVED_KEY,
    sourceShards,
  }: { holder: Holder; hasFunctions: boolean; key?: Buffer; sourceShards?: readonly string[] },
): Promise<void> {
  const claim = encodeClaim({ ...holder, state: 'reconciling', ...(sourceShards && { sourceShards }) });
  const flush = hasFunctions ? [['FUNCTION', 'FLUSH']] : [];
  await changeUnlessTaken(target, holder, [...flush, ['SET', key, claim]]);
}

/**
 * Takes back that the target's data is that of its checkpoint: the next sync reconciles it.
 *
 * @throws the codes of {@link Client.call}
 */
export async function markForReconcile(target: Client, holder: Holder): Promise<void> {
  await target.call('SET', RESERVED_KEY, encodeClaim({ ...holder, state: 'reconciling' }), 'XX');
}

/** Another host may have claimed the target since the plan was made: then nothing of its copy may be touched. */
async function changeUnlessTaken(
  target: Client,
  holder: Holder,
  commands: readonly (readonly (string | Buffer)[])[],
): Promise<void> {
  await target.call('WATCH', RESERVED_KEY);
  const found = await readClaim(target);
  if (found !== undefined && !isHeldBy(found, holder)) throw conflict(found, target.access.address);
  await target.call('MULTI');
  for (const [name, ...args] of commands) await target.call(String(name), ...args);
  if ((await target.call('EXEC')) !== null) return;
  const faster = await readClaim(target);
  if (faster !== undefined) throw conflict(faster, target.access.address);
  throw new MigrationError(
    'migration-conflict',
    `Another migration was about to take the target ${target.access.address}.`,
  );
}

/** Whether the claim is of this migration, from this host. */
export function isHeldBy(claim: Claim, holder: Holder): boolean {
  return (
    claim.migrationId === holder.migrationId &&
    claim.repository === holder.repository &&
    claim.hostId === holder.hostId
  );
}

function conflict(claim: Claim, address: string): MigrationError {
  return new MigrationError(
    'migration-conflict',
    `The target ${address} is held by the migration ${claim.migrationId} of ${claim.repository}, run from the host ${claim.hostId}.`,
  );
}

/** A source below this share of the target's keys is not copied over it. */
const SHRUNK_SHARE = 0.5;
/** So few keys come and go by themselves. */
const SHRUNK_KEYS_MIN = 100;

/**
 * Refuses to copy a source over the target that has lost most of what the target already has: one that came back empty from a
 * restart would otherwise take the last copy with it.
 *
 * @throws source-shrunk
 */
export function refuseShrunkSource({
  sourceKeys,
  targetKeys,
}: {
  sourceKeys: number;
  targetKeys: number;
}): void {
  if (targetKeys < SHRUNK_KEYS_MIN || sourceKeys >= targetKeys * SHRUNK_SHARE) return;
  throw new MigrationError(
    'source-shrunk',
    `The target can only be reconciled with a full copy, but the source holds ${sourceKeys} keys and the target ${targetKeys}.`,
  );
}
