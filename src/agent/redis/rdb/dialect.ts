import { isVersionAtLeast, type ServerInfo } from '../server-info.ts';
import { FOOTER_VERSION } from './footer.ts';
import { TYPE_SET_LISTPACK, TYPE_STREAM_LISTPACKS_3 } from './layouts.ts';

/** Which serialised values a server loads: what is written for one that loads fewer is made of an older form. */
export type Dialect = {
  /** The RDB version that a footer may name; Redis refuses the ones behind its own. */
  readonly footerVersion: number;
  /** Types that all newer servers share and that this one does not load. */
  readonly lacks: ReadonlySet<number>;
  /** In which form hashes are loaded of which fields expire. */
  readonly expiringHashes: 'valkey' | 'redis';
};

/** Every Valkey, with hashes of which fields expire from version 9 on. */
export const VALKEY_DIALECT: Dialect = {
  footerVersion: FOOTER_VERSION,
  lacks: new Set(),
  expiringHashes: 'valkey',
};
const REDIS_DIALECT: Dialect = { ...VALKEY_DIALECT, expiringHashes: 'redis' };
/** Redis 7.0: RDB version 10, before sets as listpacks and the last activity of consumers. */
const REDIS_7_0_DIALECT: Dialect = {
  ...REDIS_DIALECT,
  footerVersion: 10,
  lacks: new Set([TYPE_SET_LISTPACK, TYPE_STREAM_LISTPACKS_3]),
};

/** What a server of this kind and version loads; of Redis from 7.0 on. */
export function dialectOf({ kind, version }: Pick<ServerInfo, 'kind' | 'version'>): Dialect {
  if (kind === 'valkey') return VALKEY_DIALECT;
  return isVersionAtLeast(version, 7, 2) ? REDIS_DIALECT : REDIS_7_0_DIALECT;
}
