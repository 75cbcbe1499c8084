import { isVersionAtLeast } from '../redis/server-info.ts';

/** A server, as far as its RDB format goes. */
export type RdbServer = { readonly kind: 'redis' | 'valkey'; readonly version: string };

/**
 * The RDB version that a server writes, into files and into the full sync of a replica.
 *
 * Source: `RDB_VERSION` in rdb.h of redis 5.0-8.0 and valkey 7.2-9.1; later Redis is counted as the last one known.
 */
export function rdbVersionOf({ kind, version }: RdbServer): number {
  if (kind === 'valkey') return isVersionAtLeast(version, 9, 0) ? 80 : 11;
  if (isVersionAtLeast(version, 7, 4)) return 12;
  if (isVersionAtLeast(version, 7, 2)) return 11;
  if (isVersionAtLeast(version, 7, 0)) return 10;
  return 9;
}

/**
 * Whether a target loads the RDB of a source in a full sync.
 *
 * Valkey refuses 12 to 79, the numbers that Redis went on with after the fork, whatever its own version is
 * (rdb.c of valkey 8.0-9.1, with the default `rdb-version-check strict`).
 */
export function loadsRdbOf(source: RdbServer, target: RdbServer): boolean {
  const version = rdbVersionOf(source);
  if (target.kind === 'valkey' && version >= 12 && version < 80) return false;
  return version <= rdbVersionOf(target);
}
