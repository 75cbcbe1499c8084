import { padExpiry } from '../redis/expiry-pad.ts';

/** How a command may say when a key expires. */
export const EXPIRY_UNITS = ['EX', 'PX', 'EXAT', 'PXAT'] as const;
/** See {@link EXPIRY_UNITS}. */
export type ExpiryUnit = (typeof EXPIRY_UNITS)[number];

/**
 * The padded time of an expiry; undefined for one of more than 2^53 ms, which is too far away to need a pad, and for
 * what is no number. `nowMs`: when a relative one begins to count.
 */
export function readExpiry(
  argument: Buffer | undefined,
  unit: ExpiryUnit,
  { nowMs }: { nowMs(): number },
): number | undefined {
  const digits = argument?.toString('latin1') ?? '';
  if (!/^-?\d{1,19}$/.test(digits)) return undefined;
  const sinceMs = unit === 'EX' || unit === 'PX' ? nowMs() : 0;
  const atMs = sinceMs + Number(digits) * (unit === 'EX' || unit === 'EXAT' ? 1000 : 1);
  return Number.isSafeInteger(atMs) ? padExpiry(atMs) : undefined;
}
