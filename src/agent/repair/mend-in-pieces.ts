import type { Command } from '../redis/raw-connection.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { toBytes } from '../verify/aspect.ts';
import { LENGTH_COMMANDS } from '../verify/compare-key.ts';
import { expiryCommands, readExpiries, readTime } from '../verify/expiry.ts';
import type { Session } from '../verify/session.ts';
import { writeGuarded } from './guarded-write.ts';
import type { Lane } from './lanes.ts';
import { expiryAt, type KeyMender } from './mend-keys.ts';

type Item = { readonly db: number; readonly key: Buffer; readonly type: string; readonly bytes: number };
/** A large value while it is mended. */
type Mending = KeyMender & { readonly lane: Lane; readonly item: Item; readonly pageLength: number };

/** What a piece has at most, as far as sizes are known. */
const PIECE_BYTES = 1024 * 1024;
const PAGE_LENGTH_MAX = 1000;
/** How often a piece is tried when the key is written to meanwhile. */
const ATTEMPTS_MAX = 3;

const MENDERS: Readonly<Record<string, (mending: Mending) => Promise<string | undefined>>> = {
  string: mendString,
  list: mendList,
  set: (mending) => mendUnordered(mending, SET),
  zset: (mending) => mendUnordered(mending, SORTED_SET),
  hash: (mending) => mendUnordered(mending, HASH),
};

/** Whether values of the type can be written piece by piece. */
export function canMendInPieces(type: string): boolean {
  return Object.hasOwn(MENDERS, type);
}

/**
 * Makes a large value the same as at the source, piece by piece, each as {@link writeGuarded} does it: the value as a
 * whole is never in memory, and what is equal already is written over with itself. Between two pieces the source may go
 * on, so that only the comparison that follows tells whether the whole is right.
 *
 * Returns why it could not be done; undefined when it was.
 */
export async function mendInPieces(mender: KeyMender, lane: Lane, item: Item): Promise<string | undefined> {
  const mend = MENDERS[item.type];
  if (mend === undefined) return `a ${item.type} is not mended in pieces`;
  const { pair } = mender;
  const [type] = await pair.target.ask(item.db, [['TYPE', item.key]]);
  const mending = { ...mender, lane, item, pageLength: await pageLengthOf(pair.source, item) };
  // A list has no places that hold: it is written anew.
  const isInTheWay = String(type) !== item.type || item.type === 'list';
  const cleared = isInTheWay ? await piece(mending, async () => [['DEL', item.key]]) : undefined;
  return cleared ?? (await mend(mending)) ?? (await piece(mending, () => expiryWrites(mending)));
}

/** One piece; returns why it could not be written. */
async function piece(
  { pair, lane, item }: Mending,
  read: () => Promise<readonly Command[]>,
): Promise<string | undefined> {
  const place = { lane, db: item.db, keys: [item.key] };
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const [outcome] = await writeGuarded(pair, place, async () => [await read()]);
    if (outcome instanceof ErrorReply) return `the target refused: ${outcome.message}`;
    if (outcome === 'written') return undefined;
  }
  return 'it was written to meanwhile';
}

async function pageLengthOf(source: Session, { db, key, type, bytes }: Item): Promise<number> {
  const command = LENGTH_COMMANDS[type];
  if (command === undefined || bytes === 0) return PAGE_LENGTH_MAX;
  const [length] = await source.ask(db, [[command, key]]);
  const each = bytes / Math.max(1, Number(length));
  return Math.max(1, Math.min(PAGE_LENGTH_MAX, Math.floor(PIECE_BYTES / each)));
}

async function mendString(mending: Mending): Promise<string | undefined> {
  const { pair, item } = mending;
  const { db, key } = item;
  const [[atSource], [atTarget]] = await Promise.all([
    pair.source.ask(db, [['STRLEN', key]]),
    pair.target.ask(db, [['STRLEN', key]]),
  ]);
  const isLonger = Number(atTarget) > Number(atSource);
  let failure = isLonger ? await piece(mending, async () => [['DEL', key]]) : undefined;
  for (let from = 0; failure === undefined && from < Number(atSource); from += PIECE_BYTES) {
    failure = await piece(mending, async () => {
      const [bytes] = await pair.source.ask(db, [['GETRANGE', key, from, from + PIECE_BYTES - 1]]);
      return Buffer.isBuffer(bytes) && bytes.length > 0 ? [['SETRANGE', key, from, bytes]] : [];
    });
  }
  return failure;
}

async function mendList(mending: Mending): Promise<string | undefined> {
  const { pair, item, pageLength } = mending;
  let isOver = false;
  let failure: string | undefined;
  for (let from = 0; failure === undefined && !isOver; from += pageLength) {
    failure = await piece(mending, async () => {
      const [page] = await pair.source.ask(item.db, [['LRANGE', item.key, from, from + pageLength - 1]]);
      const elements = Array.isArray(page) ? page.map(toBytes) : [];
      isOver = elements.length < pageLength;
      return elements.length === 0 ? [] : [['RPUSH', item.key, ...elements]];
    });
  }
  return failure;
}

/** How a type without order is read and written: a page of SCAN replies makes commands. */
type Unordered = {
  readonly scan: string;
  readonly width: 1 | 2;
  readonly remove: string;
  /** Asks for one element; nil or 0 where there is none. */
  readonly lookup: string;
  write(key: Buffer, elements: readonly Buffer[]): Command;
};

const SET: Unordered = {
  scan: 'SSCAN',
  width: 1,
  remove: 'SREM',
  lookup: 'SISMEMBER',
  write: (key, members) => ['SADD', key, ...members],
};
const SORTED_SET: Unordered = {
  scan: 'ZSCAN',
  width: 2,
  remove: 'ZREM',
  lookup: 'ZSCORE',
  write: (key, elements) => [
    'ZADD',
    key,
    ...elements.flatMap((member, index) => (index % 2 === 0 ? [elements[index + 1] ?? '0', member] : [])),
  ],
};
const HASH: Unordered = {
  scan: 'HSCAN',
  width: 2,
  remove: 'HDEL',
  lookup: 'HEXISTS',
  write: (key, pairs) => ['HSET', key, ...pairs],
};

/** Every element of the source is written; then those that only the target has are removed. */
async function mendUnordered(mending: Mending, type: Unordered): Promise<string | undefined> {
  const { pair, item } = mending;
  const { db, key } = item;
  const written = await eachPage(mending, { session: pair.source, scan: type.scan }, async (elements) => {
    const names = elements.filter((_, index) => index % type.width === 0);
    const expiries = type === HASH ? await fieldExpiryWrites(mending, names) : [];
    return elements.length === 0 ? [] : [type.write(key, elements), ...expiries];
  });
  if (written !== undefined) return written;
  return await eachPage(mending, { session: pair.target, scan: type.scan }, async (elements) => {
    const names = elements.filter((_, index) => index % type.width === 0);
    const lookups = names.map((name): Command => [type.lookup, key, name]);
    const replies = await pair.source.ask(db, lookups);
    const extra = names.filter((_, index) => replies[index] === null || replies[index] === 0);
    return extra.length === 0 ? [] : [[type.remove, key, ...extra]];
  });
}

/** A piece for each step of a scan; the step is made again when the piece is. */
async function eachPage(
  mending: Mending,
  { session, scan }: { session: Session; scan: string },
  toWrites: (elements: readonly Buffer[]) => Promise<readonly Command[]>,
): Promise<string | undefined> {
  const { db, key } = mending.item;
  let cursor = '0';
  do {
    const from = cursor;
    const failure = await piece(mending, async () => {
      const [page]: readonly (Reply | undefined)[] = await session.ask(db, [
        [scan, key, from, 'COUNT', mending.pageLength],
      ]);
      const [next, elements] = Array.isArray(page) ? page : [];
      cursor = toBytes(next ?? '0').toString('latin1');
      return toWrites(Array.isArray(elements) ? elements.map(toBytes) : []);
    });
    if (failure !== undefined) return failure;
  } while (cursor !== '0');
  return undefined;
}

/** HSET takes the expiry time off a field, so it is set again where both sides know such a thing. */
async function fieldExpiryWrites(
  { pair, item, form }: Mending,
  names: readonly Buffer[],
): Promise<readonly Command[]> {
  const { source, target } = pair;
  if (names.length === 0 || !source.capabilities.fieldExpiry || !form.hasHashFieldTtls) return [];
  const [reply] = await source.ask(item.db, [['HPEXPIRETIME', item.key, 'FIELDS', names.length, ...names]]);
  const times = Array.isArray(reply) ? reply.map((time) => readTime(time, source.capabilities)) : [];
  return names.flatMap((name, index): Command[] => {
    const atMs = expiryAt({ atMs: times[index] ?? -1, slackMs: 0 }, target.capabilities.paddedExpiry);
    return atMs === 0 ? [] : [['HPEXPIREAT', item.key, atMs, 'FIELDS', 1, name]];
  });
}

async function expiryWrites({ pair, item }: Mending): Promise<readonly Command[]> {
  const { source, target } = pair;
  const replies = await source.ask(item.db, expiryCommands([item.key], source.capabilities));
  const [expiry] = readExpiries(replies, source.capabilities);
  if (expiry === undefined || expiry.atMs === -2) return [];
  const atMs = expiryAt(expiry, target.capabilities.paddedExpiry);
  return [atMs === 0 ? ['PERSIST', item.key] : ['PEXPIREAT', item.key, atMs]];
}
