import type { Command } from '../redis/raw-connection.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { payloadOf } from './aspect.ts';
import { compareKey, LENGTH_COMMANDS } from './compare-key.ts';
import { type Expiry, expiryCommands, isSameExpiry, NO_EXPIRY, readExpiries } from './expiry.ts';
import { isSameBytes, type Pair } from './key-comparison.ts';
import { forEachConcurrently } from './pool.ts';
import type { Session } from './session.ts';
import { skipReason } from './skip-reason.ts';

/** What a batch of keys came to. */
export type BatchResult = {
  /** Keys that were compared, by their type at the source. */
  readonly typeCounts: ReadonlyMap<string, number>;
  /** Keys that are not equal at first sight, as views into their chunk. */
  readonly suspects: readonly Buffer[];
  /** Keys that the target cannot hold, or not in all. */
  readonly skipped: readonly { readonly key: Buffer; readonly reason: string }[];
};

/** Up to here a string is read at once, beyond it in pieces. */
const SMALL_STRING_BYTES = 16 * 1024;
/** Up to here a collection is read at once, beyond it in pages. */
const SMALL_COLLECTION_ELEMENTS = 5000;
const SMALL_COLLECTION_BYTES = 1024 * 1024;
/** What one round of payloads has at most at each side, as far as sizes are known. */
const ROUND_BYTES = 4 * 1024 * 1024;
/** How many keys of a batch are compared by typed reads side by side. */
const TYPED_COMPARISONS_AT_ONCE = 24;

/**
 * Compares keys of one database of the source with the target, the cheap way first: type, expiry and size for all,
 * then strings by their bytes and collections by their DUMP. Equal payloads prove equality; unequal ones prove
 * nothing (order of hash tables, encodings of versions), so those are compared by {@link compareKey}.
 *
 * @throws the codes of {@link Session.ask}
 */
export async function compareBatch(pair: Pair, db: number, keys: readonly Buffer[]): Promise<BatchResult> {
  const suspects: Buffer[] = [];
  const skipped: { key: Buffer; reason: string }[] = [];
  const typeCounts = new Map<string, number>();
  const candidates: Candidate[] = [];
  const [atSource, atTarget] = await Promise.all([
    readProperties(pair.source, db, keys),
    readProperties(pair.target, db, keys),
  ]);
  keys.forEach((key, index) => {
    const [a, b] = [atSource[index], atTarget[index]];
    if (a === undefined || b === undefined) throw new Error('a server answered for fewer keys than asked');
    const reason = skipReason({ source: a.type, target: b.type });
    if (reason !== undefined) {
      skipped.push({ key, reason });
      return;
    }
    const isGone = a.type === 'none' && b.type === 'none';
    if (!isGone) typeCounts.set(a.type, (typeCounts.get(a.type) ?? 0) + 1);
    if (a.type !== b.type || !isSameExpiry(a.expiry, b.expiry, pair.ttlToleranceMs)) suspects.push(key);
    else if (!isGone) candidates.push({ key, type: a.type });
  });
  const unequal = await compareValues(pair, db, candidates);
  await forEachConcurrently(unequal, TYPED_COMPARISONS_AT_ONCE, async (key) => {
    const found = await compareKey(pair, db, key);
    if (found.aspects.length > 0) suspects.push(key);
    else skipped.push(...found.skipped.map((reason) => ({ key, reason })));
  });
  return { typeCounts, suspects, skipped };
}

type Candidate = { readonly key: Buffer; readonly type: string };
type Properties = { readonly type: string; readonly expiry: Expiry };

async function readProperties(
  session: Session,
  db: number,
  keys: readonly Buffer[],
): Promise<readonly Properties[]> {
  const { capabilities } = session;
  const replies = await session.ask(db, [
    ...keys.map((key): Command => ['TYPE', key]),
    ...expiryCommands(keys, capabilities),
  ]);
  const expiries = readExpiries(replies.slice(keys.length), capabilities);
  return keys.map((_, index) => ({ type: String(replies[index]), expiry: expiries[index] ?? NO_EXPIRY }));
}

/** Returns the keys whose bytes are not plainly equal, the big ones unread. */
async function compareValues(
  pair: Pair,
  db: number,
  candidates: readonly Candidate[],
): Promise<readonly Buffer[]> {
  const strings = candidates.filter(({ type }) => type === 'string');
  const collections = candidates.filter(({ type }) => type in LENGTH_COMMANDS);
  const modules = candidates.filter(({ type }) => type !== 'string' && !(type in LENGTH_COMMANDS));
  const [unequalStrings, unequalCollections] = await Promise.all([
    compareStrings(pair, db, strings),
    compareCollections(pair, db, collections),
  ]);
  return [...unequalStrings, ...unequalCollections, ...modules.map(({ key }) => key)];
}

async function compareStrings(
  pair: Pair,
  db: number,
  candidates: readonly Candidate[],
): Promise<readonly Buffer[]> {
  const commands = candidates.map(({ key }): Command => ['GETRANGE', key, 0, SMALL_STRING_BYTES - 1]);
  const [atSource, atTarget] = await askBoth(pair, db, commands);
  const isEqual = (_: Candidate, index: number) => {
    const value = atSource[index];
    // A string that fills the range may go on behind it.
    return Buffer.isBuffer(value) && value.length < SMALL_STRING_BYTES && isSameBytes(value, atTarget[index]);
  };
  return candidates.filter((candidate, index) => !isEqual(candidate, index)).map(({ key }) => key);
}

async function compareCollections(
  pair: Pair,
  db: number,
  candidates: readonly Candidate[],
): Promise<readonly Buffer[]> {
  const sizes = await readSizes(pair.source, db, candidates);
  const unequal: Buffer[] = [];
  let round: Buffer[] = [];
  let roundBytes = 0;
  const compareRound = async () => {
    unequal.push(...(await comparePayloads(pair, db, round)));
    round = [];
    roundBytes = 0;
  };
  for (const [index, { key }] of candidates.entries()) {
    const { length, bytes } = sizes[index] ?? { length: undefined, bytes: 0 };
    if (length === undefined || length > SMALL_COLLECTION_ELEMENTS || bytes > SMALL_COLLECTION_BYTES) {
      unequal.push(key);
      continue;
    }
    if (roundBytes + bytes > ROUND_BYTES) await compareRound();
    round.push(key);
    roundBytes += bytes;
  }
  if (round.length > 0) await compareRound();
  return unequal;
}

/** Elements and, where the source tells, bytes in memory; no length: the key changed its type meanwhile. */
type Size = { readonly length: number | undefined; readonly bytes: number };

async function readSizes(
  source: Session,
  db: number,
  candidates: readonly Candidate[],
): Promise<readonly Size[]> {
  const lengths = candidates.map(({ key, type }): Command => [LENGTH_COMMANDS[type] ?? 'EXISTS', key]);
  const usages = source.capabilities.memoryUsage
    ? candidates.map(({ key }): Command => ['MEMORY', 'USAGE', key])
    : [];
  const replies = await source.ask(db, [...lengths, ...usages]);
  return candidates.map((_, index) => ({
    length: toCount(replies[index]),
    bytes: toCount(replies[lengths.length + index]) ?? 0,
  }));
}

function toCount(reply: Reply | undefined): number | undefined {
  return typeof reply === 'number' ? reply : undefined;
}

async function comparePayloads(pair: Pair, db: number, keys: readonly Buffer[]): Promise<readonly Buffer[]> {
  const [atSource, atTarget] = await askBoth(
    pair,
    db,
    keys.map((key): Command => ['DUMP', key]),
  );
  return keys.filter((_, index) => {
    const [a, b] = [atSource[index], atTarget[index]];
    return !Buffer.isBuffer(a) || !Buffer.isBuffer(b) || !payloadOf(a).equals(payloadOf(b));
  });
}

async function askBoth(
  { source, target }: Pair,
  db: number,
  commands: readonly Command[],
): Promise<readonly [readonly Reply[], readonly Reply[]]> {
  return Promise.all([source.ask(db, commands), target.ask(db, commands)]);
}
