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
  let cursor = '0';
  do {
    const [reply] = await exchange(connection, [['SCAN', cursor, 'COUNT', SCAN_COUNT, 'TYPE', 'hash']]);
    const page = readPage(reply);
    for (let from = 0; from < page.names.length; from += HASHES_AT_ONCE) {
      settled += await settleHashes(connection, page.names.slice(from, from + HASHES_AT_ONCE));
    }
    cursor = page.cursor;
  } while (cursor !== '0');
  return settled;
}

async function settleHashes(connection: RawConnection, keys: readonly Buffer[]): Promise<number> {
  let settled = 0;
  let open = keys.map((key) => ({ key, cursor: '0' }));
  while (open.length > 0) {
    const replies = await exchange(
      connection,
      open.map(({ key, cursor }): Command => ['HSCAN', key, cursor, 'COUNT', FIELD_COUNT, 'NOVALUES']),
    );
    const pages = open.map(({ key }, index) => ({ key, ...readPage(replies[index]) }));
    settled += await settlePages(
      connection,
      pages.filter(({ names }) => names.length > 0),
    );
    open = pages.filter(({ cursor }) => cursor !== '0');
  }
  return settled;
}

type FieldPage = { readonly key: Buffer; readonly names: readonly Buffer[] };

async function settlePages(connection: RawConnection, pages: readonly FieldPage[]): Promise<number> {
  const replies = await exchange(
    connection,
    pages.map(({ key, names }): Command => ['HPEXPIRETIME', key, 'FIELDS', names.length, ...names]),
  );
  const writes: Command[] = [];
  let settled = 0;
  pages.forEach(({ key, names }, index) => {
    const reply = replies[index];
    const times = Array.isArray(reply) ? reply.map(Number) : [];
    for (const [atMs, fields] of groupPadded(names, times)) {
      writes.push(['HPEXPIREAT', key, unpadExpiry(atMs), 'FIELDS', fields.length, ...fields]);
      settled += fields.length;
    }
  });
  await exchange(connection, writes);
  return settled;
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
