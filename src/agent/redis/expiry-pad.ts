/**
 * What is added to every expiry time on the target while a sync runs, in milliseconds: some 71,000 years.
 *
 * A native replica never expires a key by itself: it waits for the DEL of its master. A target that is written with
 * plain commands does, so while it lags it would drop a key that the source has since renewed, persisted or read into
 * another one. Padded, a key lives until the DEL of the source arrives, which always comes, or until it is settled:
 *
 *   expiry at the source             on the target
 *   below the pad                    expiry + pad
 *   from the pad to below twice it   twice the pad        year 73,000 to 144,000: later than asked, never earlier
 *   from twice the pad on            as it is
 *
 * The order of two times stays, so GT and LT decide as at the source. No exact time falls between the pad and twice
 * the pad, so a padded one is known by its value alone, and taking the pad off twice does no harm. All sums are below
 * 2^53, and far below what servers accept.
 */
export const EXPIRY_PAD_MS = 2 ** 51;

/** The expiry time for the target; times before 1970, which servers take for none or refuse, are a past like any other. */
export function padExpiry(atMs: number): number {
  if (atMs >= 2 * EXPIRY_PAD_MS) return atMs;
  return atMs >= EXPIRY_PAD_MS ? 2 * EXPIRY_PAD_MS : EXPIRY_PAD_MS + Math.max(1, atMs);
}

/** The same for a time of 64 bits. */
export function padBigExpiry(atMs: bigint): bigint {
  return atMs >= BigInt(2 * EXPIRY_PAD_MS) ? atMs : BigInt(padExpiry(Number(atMs)));
}

/** Whether an expiry time read from the target still has its pad. */
export function isPadded(atMs: number): boolean {
  return atMs > EXPIRY_PAD_MS && atMs < 2 * EXPIRY_PAD_MS;
}

/** The expiry time at the source; what has no pad, also `-1` and `-2` of servers, stays as it is. */
export function unpadExpiry(atMs: number): number {
  return isPadded(atMs) ? atMs - EXPIRY_PAD_MS : atMs;
}
