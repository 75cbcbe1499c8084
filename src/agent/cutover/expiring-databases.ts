import type { Access } from '../redis/access.ts';
import { openRoutedConnection } from '../redis/cluster/routed-connection.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';

/** A database, and what of it expires. */
export type ExpiringDatabase = {
  readonly db: number;
  readonly hasKeys: boolean;
  readonly hasFields: boolean;
};

/** The databases in which something expires, on any primary. */
export async function findExpiring(
  access: Access,
  signal: AbortSignal,
): Promise<readonly ExpiringDatabase[]> {
  await using connection = await openRoutedConnection(access, { signal });
  const [fieldTime] = await connection.send([['HPEXPIRETIME', RESERVED_KEY, 'FIELDS', 1, 'field']]);
  // An unknown command, or WRONGTYPE: the key is a string.
  const knowsFieldTtls = !/unknown command/i.test(String(fieldTime));
  const infos = await Promise.all(
    connection.primaries.map(async (primary) => (await primary.send([['INFO', 'keyspace']]))[0]),
  );
  const found = new Map<number, ExpiringDatabase>();
  for (const [, name, expires, rest = ''] of infos.join('\n').matchAll(KEYSPACE_LINE)) {
    const db = Number(name);
    found.set(db, {
      db,
      hasKeys: expires !== '0' || found.get(db)?.hasKeys === true,
      hasFields:
        (knowsFieldTtls && !/,keys_with_volatile_items=0\b/.test(rest)) || found.get(db)?.hasFields === true,
    });
  }
  return [...found.values()].filter(({ hasKeys, hasFields }) => hasKeys || hasFields);
}

const KEYSPACE_LINE = /^db(\d+):keys=\d+,expires=(\d+)(.*)$/gm;
