import { z } from 'zod';

/** The most reasons that are told apart; what comes after them shares one row. */
export const SKIPPED_REASONS_MAX = 20;
/** The same for a progress, which many a poll must carry. */
export const SKIPPED_REASONS_IN_PROGRESS_MAX = 8;
/** The most names of keys that are given for one reason; the host keeps a longer list. */
export const SKIPPED_SAMPLE_MAX = 3;
/** The most characters of such a name. */
export const SKIPPED_NAME_LENGTH_MAX = 80;

/** How much of something was left out. */
export const skippedCountSchema = z.strictObject({
  /** Keys of the data set, commands of the stream, or what a module remembers beside its keys. */
  what: z.enum(['keys', 'commands', 'module-data']),
  /** `module vectorset`, `module command VADD`, {@link HASH_FIELD_TTL}, {@link READ_AGAIN} or {@link DELETED_PENDING}. */
  reason: z.string().max(100),
  count: z.number(),
});
/** See {@link skippedCountSchema}. */
export type SkippedCount = z.infer<typeof skippedCountSchema>;

/** What was left out for one reason, with the names of the first keys as `db0 name`, shown as the request says. */
export const skippedSchema = skippedCountSchema.extend({
  sample: z.array(z.string()).max(SKIPPED_SAMPLE_MAX),
});
/** See {@link skippedSchema}. */
export type Skipped = z.infer<typeof skippedSchema>;

/** What becomes of the expiry times of hash fields on a target that knows none. */
export const hashFieldTtlSchema = z.enum(['refuse', 'keep-values']);
/** See {@link hashFieldTtlSchema}. */
export type HashFieldTtl = z.infer<typeof hashFieldTtlSchema>;

/**
 * The reason of hashes that came without the expiry times of their fields. Whoever gives `hash-field-ttl: keep-values`
 * has agreed to exactly that, so no gate asks again.
 */
export const HASH_FIELD_TTL = 'hash-field-ttl';

/** The reason of streams with entries that were read again, which raises a count at the source and is not replicated. */
export const READ_AGAIN = 'delivery counts of entries read again';
/** The reason of streams with entries pending whose message is gone: Redis up to 6.2 keeps them, newer servers do not. */
export const DELETED_PENDING = 'pending entries of deleted messages';
/**
 * The reason of values that were written to so fast that not every place of them could be compared. They are when they
 * rest: a cutover compares what was written to, behind its fence.
 */
export const MOVING = 'changes too fast to be compared in full';

/** What nobody has to agree to: it was before, or no replica has it either, or it is looked at again. */
const AGREED: ReadonlySet<string> = new Set([HASH_FIELD_TTL, READ_AGAIN, DELETED_PENDING, MOVING]);

/** What of it nobody has agreed to yet. */
export function notAgreedTo<Row extends SkippedCount>(rows: readonly Row[]): Row[] {
  return rows.filter(({ reason, count }) => !AGREED.has(reason) && count > 0);
}
