import { z } from 'zod';
import { type Checkpoint, checkpointSchema } from '../../contract/reports.ts';
import { type SkippedCount, skippedCountSchema } from '../../contract/skipped.ts';
import { MigrationError } from '../../core/errors.ts';
import type { Client } from './client.ts';
import { EXPIRY_PAD_MS } from './expiry-pad.ts';
import { RESERVED_KEY } from './reserved-key.ts';

const clusterClaimSchema = z.strictObject({
  generation: z.int(),
  parts: z.array(
    z.strictObject({ checkpointSlot: z.int(), slots: z.string(), offset: z.number(), db: z.int() }),
  ),
});

/**
 * How far the slots of a target in cluster mode were when a session began, which is the generation.
 *
 * Each part is slots of one primary that stood at one offset, in the form of `formatSlots`. The primary keeps its own
 * checkpoint in the `checkpointSlot`, see checkpointKey; one of the same generation that is farther counts instead.
 */
export type ClusterClaim = z.infer<typeof clusterClaimSchema>;

const claimSchema = z.strictObject({
  format: z.literal(2),
  /** What every expiry time on the target is ahead of the source's, until it is settled. */
  expiryPadMs: z.literal(EXPIRY_PAD_MS),
  migrationId: z.string(),
  repository: z.string(),
  hostId: z.string(),
  state: z.enum(['copying', 'reconciling', 'live', 'settling']),
  route: z.literal('scan').optional(),
  checkpoint: checkpointSchema.optional(),
  /** What the data lacks that the source had up to the checkpoint. */
  skipped: z.array(skippedCountSchema).optional(),
  cluster: clusterClaimSchema.optional(),
  sourceShards: z.array(z.string()).optional(),
});

/**
 * What lies under {@link RESERVED_KEY} in the target: which migration holds it, and how far its sync is.
 *
 * `copying`: the data is incomplete and must be copied anew, into an empty target. `reconciling`: the data was that of
 * the source once, and is being made so again, or must be: by a copy over it that also removes what the source has no
 * more. `live`: the data is that of the source at the checkpoint, which is committed in the same transaction as the data
 * it stands for. `settling`: the sync is over and exact expiry times are being restored, so nothing of the stream may
 * be applied any more.
 *
 * As long as there is a claim, the expiry times on the target are padded: see expiry-pad.ts. Those of the route `scan`
 * are not: it writes every key whole, with its time, whenever the source has changed it.
 */
export type Claim = {
  readonly migrationId: string;
  readonly repository: string;
  readonly hostId: string;
  readonly state: 'copying' | 'reconciling' | 'live' | 'settling';
  readonly route?: 'scan' | undefined;
  readonly checkpoint?: Checkpoint | undefined;
  readonly skipped?: readonly SkippedCount[] | undefined;
  /** On a target in cluster mode, where `checkpoint` is what every primary has committed at least. */
  readonly cluster?: ClusterClaim | undefined;
  /**
   * Of a source in cluster mode the slots of each shard, in the form of `formatSlots`: each has a claim of its own, see
   * shardClaimKeys, and this one only says who holds the target.
   */
  readonly sourceShards?: readonly string[] | undefined;
};

/**
 * Reads the claim on a target, or that of one shard of the source; the client is on database 0.
 *
 * @throws migration-conflict when the key holds something else than a claim, and the codes of {@link Client.call}
 */
export async function readClaim(target: Client, key: Buffer = RESERVED_KEY): Promise<Claim | undefined> {
  const type = await target.callText('TYPE', key);
  if (type === 'none') return undefined;
  const value = type === 'string' ? await target.callText('GET', key) : `a ${type}`;
  return value === undefined ? undefined : decodeClaim(value, target.access.address);
}

/** Releases the target: removes the claim whoever holds it, so the caller has read it before. */
export async function removeClaim(target: Client): Promise<void> {
  await target.call('DEL', RESERVED_KEY);
}

/** The claim as it is kept in the target: one line of JSON. */
export function encodeClaim(claim: Claim): Buffer {
  return Buffer.from(JSON.stringify({ format: 2, expiryPadMs: EXPIRY_PAD_MS, ...claim }));
}

/**
 * Stands for a history in the checkpoints of the route `scan`, of which the offsets are times: the target has everything
 * that the source held at that millisecond by the clock of the host.
 */
export const SCAN_HISTORY = 'scan';

/** Whether what lies under {@link RESERVED_KEY} is a claim of this version by which expiry times are padded. */
export function isPaddingClaim(value: Buffer): boolean {
  const claim = parseClaim(value);
  return claim !== undefined && claim.route !== 'scan';
}

/** Whether it is one of the route `scan`. */
export function isScanClaim(value: Buffer): boolean {
  return parseClaim(value)?.route === 'scan';
}

function parseClaim(value: Buffer): Claim | undefined {
  try {
    return claimSchema.safeParse(JSON.parse(value.toString())).data;
  } catch {
    // No JSON at all.
    return undefined;
  }
}

/** The reverse of {@link encodeClaim}. Throws migration-conflict for anything else. */
export function decodeClaim(value: string, address: string): Claim {
  try {
    const { format: _format, expiryPadMs: _padMs, ...claim } = claimSchema.parse(JSON.parse(value));
    return claim;
  } catch (error) {
    throw new MigrationError(
      'migration-conflict',
      `The key ${RESERVED_KEY} in database 0 of the target ${address} holds no claim that this version can read.`,
      {
        remedy: `End the migration that wrote it with the version that started it, or delete the key ${RESERVED_KEY} when there is none.`,
        cause: error,
      },
    );
  }
}
