import { isPadded, unpadExpiry } from '../redis/expiry-pad.ts';
import type { Command, RawConnection } from '../redis/raw-connection.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { exchange } from './rewrite-expiries.ts';

/** Hashes found by one step of SCAN, whose fields are then looked at side by side. */
const SCAN_COUNT = 100;
/** Fields of one hash that a step of HSCAN looks at; a small hash comes whole. */
const FIELD_COUNT = 500;
/** Hashes that are looked at side by side. */
const HASHES_AT_ONCE = 32;

/**
 * Restores the exact expiry times of the fields of all hashes in the connection's database, on a target that nobody
 * else writes to. Returns how many fields there were.
 *
 * @throws target-unreachable, target-not-ready, target-read-only, target-permission-denied
 */
export async function settleFields(connection: RawConnection): Promise<number> {
  let settled = 0;
  for await (const keys of scanHashes(connection)) settled += await settleHashes(connection, keys);
  return settled;
}

/** The same for these hashes only; none of the keys may be of another type. */
export async function settleHashes(connection: RawConnection, keys: readonly Buffer[]): Promise<number> {
  let settled = 0;
  for await (const found of paddedFields(connection, keys)) {
    await exchange(
      connection,
      found.map(({ key, atMs, fields }): Command => {
        settled += fields.length;
        return ['HPEXPIREAT', key, unpadExpiry(atMs), 'FIELDS', fields.length, ...fields];
      }),
    );
  }
  return settled;
}

/** The hashes of the connection's database that have fields with a padded time. Throws as {@link settleFields}. */
export async function* findHashes(connection: RawConnection): AsyncGenerator<readonly Buffer[]> {
  for await (const keys of scanHashes(connection)) {
    const names = new Map<string, Buffer>();
    for await (const found of paddedFields(connection, keys)) {
      for (const { key } of found) names.set(key.toString('latin1'), key);
    }
    if (names.size > 0) yield [...names.values()];
  }
}

async function* scanHashes(connection: RawConnection): AsyncGenerator<readonly Buffer[]> {
  let cursor = '0';
  do {
    const [reply] = await exchange(connection, [['SCAN', cursor, 'COUNT', SCAN_COUNT, 'TYPE', 'hash']]);
    const page = readPage(reply);
    yield page.names;
    cursor = page.cursor;
  } while (cursor !== '0');
}

/** Fields of one hash with one padded time. */
type PaddedFields = { readonly key: Buffer; readonly atMs: number; readonly fields: readonly Buffer[] };

async function* paddedFields(
  connection: RawConnection,
  keys: readonly Buffer[],
): AsyncGenerator<readonly PaddedFields[]> {
  for (let from = 0; from < keys.length; from += HASHES_AT_ONCE) {
    let open = keys.slice(from, from + HASHES_AT_ONCE).map((key) => ({ key, cursor: '0' }));
    while (open.length > 0) {
      const replies = await exchange(
        connection,
        open.map(({ key, cursor }): Command => ['HSCAN', key, cursor, 'COUNT', FIELD_COUNT, 'NOVALUES']),
      );
      const pages = open.map(({ key }, index) => ({ key, ...readPage(replies[index]) }));
      yield await readPadded(
        connection,
        pages.filter(({ names }) => names.length > 0),
      );
      open = pages.filter(({ cursor }) => cursor !== '0');
    }
  }
}

async function readPadded(
  connection: RawConnection,
  pages: readonly { readonly key: Buffer; readonly names: readonly Buffer[] }[],
): Promise<readonly PaddedFields[]> {
  const replies = await exchange(
    connection,
    pages.map(({ key, names }): Command => ['HPEXPIRETIME', key, 'FIELDS', names.length, ...names]),
  );
  return pages.flatMap(({ key, names }, index) => {
    const reply = replies[index];
    const times = Array.isArray(reply) ? reply.map(Number) : [];
    return Array.from(groupPadded(names, times), ([atMs, fields]) => ({ key, atMs, fields }));
  });
}

/** The fields with a padded time, by that time. */
function groupPadded(names: readonly Buffer[], times: readonly number[]): ReadonlyMap<number, Buffer[]> {
  const groups = new Map<number, Buffer[]>();
  names.forEach((name, index) => {
    const atMs = times[index] ?? -1;
    if (!isPadded(atMs)) return;
    const group = groups.get(atMs);
    if (group === undefined) groups.set(atMs, [name]);
    else group.push(name);
  });
  return groups;
}

/** Reads `[cursor, [name...]]`. */
function readPage(reply: Reply | undefined): { cursor: string; names: readonly Buffer[] } {
  const [cursor, names] = Array.isArray(reply) ? reply : [];
  if (!Buffer.isBuffer(cursor) || !Array.isArray(names))
    throw new Error('a scan answered no cursor with names');
  return { cursor: cursor.toString('latin1'), names: names.filter((name) => Buffer.isBuffer(name)) };
}
