import { ErrorReply } from '../redis/reply-parser.ts';
import { type Aspect, payloadOf, STRING_BLOCK_BYTES } from './aspect.ts';
import { compareHash, compareSet, compareSortedSet } from './compare-collection.ts';
import { compareList } from './compare-list.ts';
import { compareStream } from './compare-stream.ts';
import { type Expiry, expiryCommands, isSameExpiry, NO_EXPIRY, readExpiries } from './expiry.ts';
import {
  ASPECTS_PER_KEY_MAX,
  askBoth,
  isFull,
  isMoving,
  type KeyComparison,
  MOVING_ASPECTS_MAX,
  type Pair,
  type Place,
  suspectType,
} from './key-comparison.ts';
import type { Session } from './session.ts';
import { skipReason } from './skip-reason.ts';

/** What a comparison of one key found. */
export type KeyFindings = {
  /** The type at the source, at the target where the source has no such key, `none` when neither has it. */
  readonly type: string;
  readonly aspects: readonly Aspect[];
  /** Where it has to be compared further; undefined when everything else of the key was seen equal. */
  readonly rest: Rest | undefined;
  /** Reasons for which it, or something of it, is neither equal nor different. */
  readonly skipped: readonly string[];
};

/** What of a key is yet to be compared: from a place on, or all of it since it changed under our hands. */
export type Rest = { readonly place: Place | undefined };

/**
 * Compares type, expiry and the whole value of one key by typed reads in bounded pages.
 *
 * The reads are not atomic: on a moving source what it finds is a suspicion, not yet a difference. `rest` is what a
 * comparison before has left, all of whose suspicions have come right.
 *
 * @throws the codes of {@link Session.ask}
 */
export async function compareKey(
  pair: Pair,
  { db, key }: { readonly db: number; readonly key: Buffer },
  rest?: Rest,
): Promise<KeyFindings> {
  const [atSource, atTarget] = await Promise.all([
    readProperties(pair.source, db, key),
    readProperties(pair.target, db, key),
  ]);
  const type = atSource.type === 'none' ? atTarget.type : atSource.type;
  const reason = skipReason({ source: atSource.type, target: atTarget.type });
  if (reason !== undefined) return { type, aspects: [], rest: undefined, skipped: [reason] };
  if (atSource.type !== atTarget.type) {
    return { type, aspects: [{ of: 'type' }], rest: { place: undefined }, skipped: [] };
  }
  if (type === 'none') return { type, aspects: [], rest: undefined, skipped: [] };
  const found: Aspect[] = [];
  if (!isSameExpiry(atSource.expiry, atTarget.expiry, pair.ttlToleranceMs)) found.push({ of: 'ttl' });
  const pageLength = await readPageLength(pair.source, { db, key, type, lengthMax: PAGE_LENGTH_MAX });
  const skipped = new Set<string>();
  const aspectsMax = rest === undefined ? ASPECTS_PER_KEY_MAX : MOVING_ASPECTS_MAX;
  const comparison = { ...pair, db, key, found, skipped, pageLength, aspectsMax, place: rest?.place };
  await compareValue(comparison, type);
  const isAnew = isFull(comparison) || found.some(({ of }) => of === 'type');
  const { place } = comparison;
  return {
    type,
    aspects: found,
    rest: place !== undefined || isAnew ? { place } : undefined,
    skipped: [...skipped],
  };
}

async function readProperties(
  session: Session,
  db: number,
  key: Buffer,
): Promise<{ type: string; expiry: Expiry }> {
  const { capabilities } = session;
  const [type, ...expiries] = await session.ask(db, [['TYPE', key], ...expiryCommands([key], capabilities)]);
  return { type: String(type), expiry: readExpiries(expiries, capabilities)[0] ?? NO_EXPIRY };
}

/** What a page of elements has at most, as far as their size is known. */
const PAGE_BYTES = 1024 * 1024;
const PAGE_LENGTH_MAX = 1000;

/** The command that counts the elements, by type. */
export const LENGTH_COMMANDS: Readonly<Record<string, string>> = {
  list: 'LLEN',
  set: 'SCARD',
  hash: 'HLEN',
  zset: 'ZCARD',
  stream: 'XLEN',
};

/** How many elements make a page: `lengthMax`, or fewer when they are large, as far as the source tells. */
export async function readPageLength(
  source: Session,
  { db, key, type, lengthMax }: { db: number; key: Buffer; type: string; lengthMax: number },
): Promise<number> {
  const lengthCommand = LENGTH_COMMANDS[type];
  if (lengthCommand === undefined) return 1;
  // Only a hint: without it elements are taken for small.
  if (!source.capabilities.memoryUsage) return PAGE_LENGTH_MAX;
  const [usage, length] = await source.ask(db, [
    ['MEMORY', 'USAGE', key],
    [lengthCommand, key],
  ]);
  if (typeof usage !== 'number' || typeof length !== 'number' || length === 0) return PAGE_LENGTH_MAX;
  return Math.max(1, Math.min(lengthMax, Math.floor(PAGE_BYTES / (usage / length))));
}

async function compareValue(comparison: KeyComparison, type: string): Promise<void> {
  switch (type) {
    case 'string':
      return compareString(comparison);
    case 'list':
      return compareList(comparison);
    case 'set':
      return compareSet(comparison);
    case 'zset':
      return compareSortedSet(comparison);
    case 'hash':
      return compareHash(comparison);
    case 'stream':
      return compareStream(comparison);
    default:
      return comparePayload(comparison);
  }
}

/** At first the first difference is all that is looked for: most often it goes on to the end. */
async function compareString(comparison: KeyComparison): Promise<void> {
  const { key, place } = comparison;
  const begin = place !== undefined && 'offset' in place ? place.offset : 0;
  comparison.place = undefined;
  for (let from = begin; ; from += PAGE_BYTES) {
    const [[atSource], [atTarget]] = await askBoth(comparison, [
      ['GETRANGE', key, from, from + PAGE_BYTES - 1],
    ]);
    if (!Buffer.isBuffer(atSource) || !Buffer.isBuffer(atTarget)) return suspectType(comparison);
    const next = findBlocks(comparison, [atSource, atTarget], from);
    if (next !== undefined) {
      comparison.place = { offset: next };
      return;
    }
    if (Math.max(atSource.length, atTarget.length) < PAGE_BYTES) return;
  }
}

/** Finds the blocks of a page that differ; returns the offset behind the last one when they are enough. */
function findBlocks(
  comparison: KeyComparison,
  [a, b]: readonly [Buffer, Buffer],
  pageOffset: number,
): number | undefined {
  if (a.equals(b)) return undefined;
  const length = Math.max(a.length, b.length);
  for (let at = 0; at < length; at += STRING_BLOCK_BYTES) {
    const end = at + STRING_BLOCK_BYTES;
    if (a.subarray(at, end).equals(b.subarray(at, end))) continue;
    comparison.found.push({ of: 'string-block', offset: pageOffset + at });
    if (!isMoving(comparison) || isFull(comparison)) return pageOffset + end;
  }
  return undefined;
}

/** Values of modules: DUMP is all that can be read of them without knowing the module. */
async function comparePayload(comparison: KeyComparison): Promise<void> {
  const [[atSource], [atTarget]] = await askBoth(comparison, [['DUMP', comparison.key]]);
  if (atSource instanceof ErrorReply || atTarget instanceof ErrorReply) return suspectType(comparison);
  const isSame =
    Buffer.isBuffer(atSource) && Buffer.isBuffer(atTarget)
      ? payloadOf(atSource).equals(payloadOf(atTarget))
      : atSource === atTarget;
  if (!isSame) comparison.found.push({ of: 'payload' });
}
