import { ErrorReply } from '../redis/reply-parser.ts';
import { type Aspect, payloadOf, STRING_BLOCK_BYTES } from './aspect.ts';
import { compareHash, compareSet, compareSortedSet } from './compare-collection.ts';
import { compareStream } from './compare-stream.ts';
import { type Expiry, expiryCommands, isSameExpiry, NO_EXPIRY, readExpiries } from './expiry.ts';
import {
  askBoth,
  firstDifference,
  isFull,
  isSameBytes,
  type KeyComparison,
  type Pair,
  suspectType,
} from './key-comparison.ts';
import type { Session } from './session.ts';
import { skipReason } from './skip-reason.ts';

/** What a comparison of one key found. */
export type KeyFindings = {
  /** The type at the source, at the target where the source has no such key, `none` when neither has it. */
  readonly type: string;
  readonly aspects: readonly Aspect[];
  /** Whether everything else of the key was seen equal; else it has to be compared again. */
  readonly isComplete: boolean;
  /** Reasons for which it, or something of it, is neither equal nor different. */
  readonly skipped: readonly string[];
};

/**
 * Compares type, expiry and the whole value of one key by typed reads in bounded pages.
 *
 * The reads are not atomic: on a moving source what it finds is a suspicion, not yet a difference.
 *
 * @throws the codes of {@link Session.ask}
 */
export async function compareKey(pair: Pair, db: number, key: Buffer): Promise<KeyFindings> {
  const [atSource, atTarget] = await Promise.all([
    readProperties(pair.source, db, key),
    readProperties(pair.target, db, key),
  ]);
  const type = atSource.type === 'none' ? atTarget.type : atSource.type;
  const reason = skipReason({ source: atSource.type, target: atTarget.type });
  if (reason !== undefined) return { type, aspects: [], isComplete: true, skipped: [reason] };
  if (atSource.type !== atTarget.type) {
    return { type, aspects: [{ of: 'type' }], isComplete: false, skipped: [] };
  }
  if (type === 'none') return { type, aspects: [], isComplete: true, skipped: [] };
  const found: Aspect[] = [];
  if (!isSameExpiry(atSource.expiry, atTarget.expiry, pair.ttlToleranceMs)) found.push({ of: 'ttl' });
  const pageLength = await readPageLength(pair.source, { db, key, type });
  const skipped = new Set<string>();
  await compareValue({ ...pair, db, key, found, skipped, pageLength }, type);
  const isComplete = !isFull(found) && found.every(({ of }) => !SAMPLING_ASPECTS.has(of));
  return { type, aspects: found, isComplete, skipped: [...skipped] };
}

/** Aspects that show one place of a difference and say nothing about the rest of the value. */
const SAMPLING_ASPECTS: ReadonlySet<Aspect['of']> = new Set([
  'type',
  'payload',
  'string-block',
  'list-window',
]);

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

async function readPageLength(
  source: Session,
  { db, key, type }: { db: number; key: Buffer; type: string },
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
  return Math.max(1, Math.min(PAGE_LENGTH_MAX, Math.floor(PAGE_BYTES / (usage / length))));
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

async function compareString(comparison: KeyComparison): Promise<void> {
  const { key, found } = comparison;
  for (let from = 0; ; from += PAGE_BYTES) {
    const [[atSource], [atTarget]] = await askBoth(comparison, [
      ['GETRANGE', key, from, from + PAGE_BYTES - 1],
    ]);
    if (!Buffer.isBuffer(atSource) || !Buffer.isBuffer(atTarget)) return suspectType(comparison);
    if (!atSource.equals(atTarget)) {
      const first = from + firstDifference(atSource, atTarget);
      found.push({ of: 'string-block', offset: first - (first % STRING_BLOCK_BYTES) });
      return;
    }
    if (atSource.length < PAGE_BYTES) return;
  }
}

async function compareList(comparison: KeyComparison): Promise<void> {
  const { key, found, pageLength } = comparison;
  for (let from = 0; ; from += pageLength) {
    const [[atSource], [atTarget]] = await askBoth(comparison, [
      ['LRANGE', key, from, from + pageLength - 1],
    ]);
    if (!Array.isArray(atSource) || !Array.isArray(atTarget)) return suspectType(comparison);
    const length = Math.max(atSource.length, atTarget.length);
    for (let index = 0; index < length; index++) {
      if (isSameBytes(atSource[index], atTarget[index])) continue;
      found.push({ of: 'list-window', index: from + index });
      return;
    }
    if (length < pageLength) return;
  }
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
