import { HASH_FIELD_TTL } from '../../contract/skipped.ts';
import type { Command } from '../redis/raw-connection.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { type Aspect, scoreIdentity, toBytes } from './aspect.ts';
import { isSameExpiry, readTime } from './expiry.ts';
import { isFull, isMoving, isSameBytes, type KeyComparison, suspectType } from './key-comparison.ts';
import type { Session } from './session.ts';

/** Compares two sets, in any order. */
export async function compareSet(comparison: KeyComparison): Promise<void> {
  await compareUnordered(comparison, {
    count: 'SCARD',
    scan: 'SSCAN',
    width: 1,
    lookup: async (session, { db, key }, names) => {
      const replies = await lookUp(session, { db, key, many: 'SMISMEMBER', one: 'SISMEMBER' }, names);
      return replies.map((reply) => (reply === 1 ? 'member' : undefined));
    },
    read: () => 'member',
    aspect: (name) => ({ of: 'set-member', name }),
  });
}

/** Compares two sorted sets: members and, as doubles, their scores. */
export async function compareSortedSet(comparison: KeyComparison): Promise<void> {
  await compareUnordered(comparison, {
    count: 'ZCARD',
    scan: 'ZSCAN',
    width: 2,
    lookup: async (session, { db, key }, names) => {
      const replies = await lookUp(session, { db, key, many: 'ZMSCORE', one: 'ZSCORE' }, names);
      return replies.map((reply) => (Buffer.isBuffer(reply) ? scoreIdentity(reply) : undefined));
    },
    read: (score) => scoreIdentity(toBytes(score)),
    aspect: (name) => ({ of: 'zset-member', name }),
  });
}

/** Compares two hashes: fields, values and, where a server knows them, the expiry times of the fields. */
export async function compareHash(comparison: KeyComparison): Promise<void> {
  await compareUnordered(comparison, {
    count: 'HLEN',
    scan: 'HSCAN',
    width: 2,
    lookup: async (session, { db, key }, names) => {
      const [values] = await session.ask(db, [['HMGET', key, ...names]]);
      return Array.isArray(values) ? values.map((value) => (Buffer.isBuffer(value) ? value : undefined)) : [];
    },
    read: (value) => toBytes(value),
    aspect: (name) => ({ of: 'hash-field', name }),
    compareRest: compareFieldExpiries,
  });
}

/** How a type without order is scanned at one side and looked up at the other. */
type Unordered = {
  readonly count: string;
  readonly scan: string;
  /** Replies per element in a scan: the name, and the value where there is one. */
  readonly width: 1 | 2;
  /** The value of each name at a side, undefined where it has none. */
  lookup(
    session: Session,
    at: { db: number; key: Buffer },
    names: readonly Buffer[],
  ): Promise<readonly (Buffer | string | undefined)[]>;
  read(value: Reply | undefined): Buffer | string;
  aspect(name: Buffer): Aspect;
  /** What else there is to elements that are equal; returns whether counting can not be trusted. */
  compareRest?(comparison: KeyComparison, names: readonly Buffer[]): Promise<boolean>;
};

/**
 * Every element of the source is looked up at the target. With equal counts that is all; else the other direction is
 * gone too, and also where elements expire by themselves, since HLEN counts those that are expired but still there.
 */
async function compareUnordered(comparison: KeyComparison, type: Unordered): Promise<void> {
  const { source, target, db, key, found, place } = comparison;
  const count = async (session: Session) => (await session.ask(db, [[type.count, key]]))[0];
  const [countAtSource, countAtTarget] = await Promise.all([count(source), count(target)]);
  const begin = place !== undefined && 'cursor' in place ? place : { side: 'source', cursor: '0' };
  let mustGoBack = countAtSource !== countAtTarget || place !== undefined;
  comparison.place = undefined;
  if (begin.side === 'source') {
    const stoppedAt = await scanElements(
      comparison,
      source,
      { type, cursor: begin.cursor },
      async (names, values) => {
        const others = await type.lookup(target, comparison, names);
        const equal: Buffer[] = [];
        names.forEach((name, index) => {
          if (isSameValue(values[index], others[index])) equal.push(name);
          else if (!isFull(comparison)) found.push(type.aspect(Buffer.from(name)));
        });
        if (await type.compareRest?.(comparison, equal)) mustGoBack = true;
      },
    );
    if (stoppedAt !== undefined) comparison.place = { side: 'source', cursor: stoppedAt };
    if (stoppedAt !== undefined || (!mustGoBack && found.length === 0)) return;
  }
  const cursor = begin.side === 'target' ? begin.cursor : '0';
  const stoppedAt = await scanElements(comparison, target, { type, cursor }, async (names) => {
    const others = await type.lookup(source, comparison, names);
    names.forEach((name, index) => {
      if (others[index] === undefined && !isFull(comparison)) found.push(type.aspect(Buffer.from(name)));
    });
  });
  if (stoppedAt !== undefined) comparison.place = { side: 'target', cursor: stoppedAt };
}

/** Small enough that all of a page may differ and still be found at once. */
const MOVING_PAGE_LENGTH = 64;

/** Returns the cursor of the page in which it had found enough; undefined when it came to the end. */
async function scanElements(
  comparison: KeyComparison,
  session: Session,
  { type: { scan, width, read }, cursor: begin }: { type: Unordered; cursor: string },
  onPage: (names: readonly Buffer[], values: readonly (Buffer | string)[]) => Promise<void>,
): Promise<string | undefined> {
  const { db, key, found, aspectsMax } = comparison;
  const pageLength = Math.min(
    comparison.pageLength,
    isMoving(comparison) ? MOVING_PAGE_LENGTH : Number.POSITIVE_INFINITY,
  );
  let cursor = begin;
  do {
    const [page]: readonly (Reply | undefined)[] = await session.ask(db, [
      [scan, key, cursor, 'COUNT', pageLength],
    ]);
    const [next, elements] = Array.isArray(page) ? page : [];
    if (next === undefined || !Array.isArray(elements)) {
      suspectType(comparison);
      return undefined;
    }
    for (let from = 0; from < elements.length; from += pageLength * width) {
      const slice = elements.slice(from, from + pageLength * width);
      const names = slice.filter((_, index) => index % width === 0).map(toBytes);
      const values = names.map((_, index) => read(slice[index * width + 1]));
      await onPage(names, values);
    }
    if (isFull(comparison)) return cursor;
    cursor = toBytes(next).toString('latin1');
    // The next page might not fit, and would then be read for nothing.
    if (isMoving(comparison) && cursor !== '0' && found.length > aspectsMax / 2) return cursor;
  } while (cursor !== '0');
  return undefined;
}

async function lookUp(
  session: Session,
  { db, key, many, one }: { db: number; key: Buffer; many: string; one: string },
  names: readonly Buffer[],
): Promise<readonly Reply[]> {
  if (!session.capabilities.multiLookup) {
    return session.ask(
      db,
      names.map((name): Command => [one, key, name]),
    );
  }
  const [replies] = await session.ask(db, [[many, key, ...names]]);
  return Array.isArray(replies) ? replies : [];
}

function isSameValue(a: Buffer | string | undefined, b: Buffer | string | undefined): boolean {
  return Buffer.isBuffer(a) && Buffer.isBuffer(b) ? isSameBytes(a, b) : a === b;
}

/** Compares the expiry times of fields; returns whether there are any. A server that knows none has none. */
async function compareFieldExpiries(comparison: KeyComparison, names: readonly Buffer[]): Promise<boolean> {
  const { source, target, found, ttlToleranceMs, hashFieldTtl, skipped } = comparison;
  if (names.length === 0 || !(source.capabilities.fieldExpiry || target.capabilities.fieldExpiry))
    return false;
  const [atSource, atTarget] = await Promise.all([
    readFieldExpiries(source, comparison, names),
    readFieldExpiries(target, comparison, names),
  ]);
  const expires = [...atSource, ...atTarget].some((atMs) => atMs !== -1);
  if (hashFieldTtl === 'keep-values' && !target.capabilities.fieldExpiry) {
    if (expires) skipped.add(HASH_FIELD_TTL);
    return expires;
  }
  names.forEach((name, index) => {
    const a = { atMs: atSource[index] ?? -2, slackMs: 0 };
    const b = { atMs: atTarget[index] ?? -2, slackMs: 0 };
    if (!isSameExpiry(a, b, ttlToleranceMs) && !isFull(comparison)) {
      found.push({ of: 'hash-field-ttl', name: Buffer.from(name) });
    }
  });
  return expires;
}

async function readFieldExpiries(
  session: Session,
  { db, key }: { db: number; key: Buffer },
  names: readonly Buffer[],
): Promise<readonly number[]> {
  if (!session.capabilities.fieldExpiry) return names.map(() => -1);
  const [reply] = await session.ask(db, [['HPEXPIRETIME', key, 'FIELDS', names.length, ...names]]);
  return Array.isArray(reply) ? reply.map((item) => readTime(item, session.capabilities)) : [];
}
