import { MigrationError } from '../../../core/errors.ts';
import { malformedRdb } from './malformed.ts';

/** How many bytes an RDB begins with that say what it is: "REDIS" and four digits, or "VALKEY" and three. */
export const MAGIC_BYTES = 9;
/** The greatest versions of which every type is known: Redis up to 8.4, Valkey up to 9.1. */
const VERSION_MAX = { redis: 12, valkey: 80 } as const;

/**
 * Which of the two families wrote the RDB: some bytes mean different things in them.
 *
 * A later version is refused at once: of its types the extent is not known, and better now than at the first of them.
 *
 * @throws source-protocol-error, source-version-unsupported
 */
export function readFamily(magic: string): 'redis' | 'valkey' {
  const [, name, digits] = /^(REDIS(?=\d{4}$)|VALKEY(?=\d{3}$))(\d+)$/.exec(magic) ?? [];
  if (name === undefined) throw malformedRdb('it does not begin as an RDB');
  const family = name === 'VALKEY' ? 'valkey' : 'redis';
  if (Number(digits) <= VERSION_MAX[family]) return family;
  throw new MigrationError(
    'source-version-unsupported',
    `The source sent an RDB that begins with ${magic}; the latest that are known are REDIS00${VERSION_MAX.redis} and VALKEY0${VERSION_MAX.valkey}.`,
  );
}
