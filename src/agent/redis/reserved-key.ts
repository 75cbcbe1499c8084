/**
 * The one key of ours in the target's key space, in database 0: it claims the target for a migration and holds the
 * checkpoint of its sync. Verification and preflight leave it out; the end of a migration removes it.
 */
export const RESERVED_KEY = Buffer.from('__valkey-migrate__');
