import { slotTag } from './cluster/slots.ts';

/**
 * The one key of ours in the target's key space, in database 0: it claims the target for a migration and holds the
 * checkpoint of its sync. Verification and preflight leave it out; the end of a migration removes it.
 *
 * A target in cluster mode, and one that follows a cluster, has more keys of ours beside it: {@link isReservedKey} knows them all.
 */
export const RESERVED_KEY = Buffer.from('__valkey-migrate__');

/** What keys of ours begin with that must lie in a certain slot. */
const IN_SLOT = Buffer.from('__valkey-migrate__{');

/** The key in a slot under which the primary of that slot keeps its own checkpoint. */
export function checkpointKey(slot: number): Buffer {
  return Buffer.from(`__valkey-migrate__{${slotTag(slot)}}`);
}

/** The keys of ours by which one stream is followed: the claim on the target, and a checkpoint of each of its primaries. */
export type ClaimKeys = {
  readonly claim: Buffer;
  /** The key in a slot under which the primary of that slot keeps its own checkpoint. */
  checkpoint(slot: number): Buffer;
};

/** Those of a source with one stream. */
export const CLAIM_KEYS: ClaimKeys = { claim: RESERVED_KEY, checkpoint: checkpointKey };

/** Those of one shard of a source in cluster mode, by its number; all claims lie in the slot of {@link RESERVED_KEY}. */
export function shardClaimKeys(shard: number): ClaimKeys {
  return {
    claim: Buffer.from(`__valkey-migrate__{${RESERVED_KEY}}/${shard}`),
    checkpoint: (slot) => Buffer.from(`__valkey-migrate__{${slotTag(slot)}}/${shard}`),
  };
}

/** The key in a slot under which a foreign value lies for as long as one command needs it there. */
export function temporaryKey(slot: number, number: number): Buffer {
  return Buffer.from(`__valkey-migrate__{${slotTag(slot)}}:${number}`);
}

/** A key in a slot that a benchmark writes, and removes again; `name` tells it from those of others. */
export function benchmarkKey(slot: number, name: string): Buffer {
  return Buffer.from(`__valkey-migrate__{${slotTag(slot)}}:benchmark:${name}`);
}

/** Whether a key of database 0 is one of ours, which is not the source's to write. */
export function isReservedKey(bytes: Buffer, start = 0, end = bytes.length): boolean {
  const length = end - start;
  if (length < RESERVED_KEY.length || bytes[start] !== IN_SLOT[0]) return false;
  if (length === RESERVED_KEY.length) return bytes.compare(RESERVED_KEY, 0, length, start, end) === 0;
  return bytes.compare(IN_SLOT, 0, IN_SLOT.length, start, start + IN_SLOT.length) === 0;
}
