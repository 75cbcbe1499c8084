import { REPLY_KIND, type ReplyCursor } from '../redis/reply-bytes.ts';
import { compareCollections } from './compare-collections.ts';
import { compareKey, LENGTH_COMMANDS } from './compare-key.ts';
import { compareStrings, type StringGuess } from './compare-strings.ts';
import { exchangeAtTarget, exchangeBoth } from './exchange.ts';
import { expiryRequest, isSameExpiry, readExpiryTimes } from './expiry.ts';
import type { Pair } from './key-comparison.ts';
import { forEachConcurrently } from './pool.ts';
import { commandAround, Request } from './request.ts';

/** What a batch of keys came to. */
export type BatchResult = {
  /** Keys that were compared, by their type at the source. */
  readonly typeCounts: ReadonlyMap<string, number>;
  /** Keys that are not equal at first sight, as views into their chunk. */
  readonly suspects: readonly Buffer[];
  /** Keys that the target cannot hold, or not in all. */
  readonly skipped: readonly { readonly key: Buffer; readonly reason: string }[];
};

/** A batch while it is compared. Keys are named by their place among `keys`. */
export type Batch = {
  readonly pair: Pair;
  readonly db: number;
  readonly keys: readonly Buffer[];
  /** What is known of each key so far; see {@link STANDING}. */
  readonly standings: Uint8Array;
  readonly typeCounts: Map<string, number>;
};

/** What is known of a key. */
export const STANDING = {
  /** Nothing was found that differs. */
  equal: 0,
  /** Something differs, at least at first sight. */
  suspect: 1,
  /** It has to be read in full, and is small as far as that is known. */
  unclear: 2,
  /** The same of a large one, of which few are read at a time. */
  large: 3,
} as const;

/** How many keys of a batch are compared by typed reads side by side; each may have a page of each side in memory. */
const TYPED_COMPARISONS_AT_ONCE = 24;
const LARGE_COMPARISONS_AT_ONCE = 2;

/** How the keys of a batch are compared. */
export type BatchOptions = {
  /** `none`: both databases hold no key that expires, so that nothing has to be asked of any. */
  readonly expiry: 'each' | 'none';
  /** What the batches before it were like. */
  readonly guess: StringGuess;
};

/**
 * Compares keys of one database of the source with the target, the cheap way first: strings by their bytes and
 * collections by their DUMP, both as they arrive, without making anything of replies that are the same. Where bytes
 * prove nothing (order of hash tables, encodings of versions) the payloads in hand are decoded, and only what is then
 * undecided is read by {@link compareKey}.
 *
 * @throws the codes of {@link Session.exchange}
 */
export async function compareBatch(
  pair: Pair,
  db: number,
  keys: readonly Buffer[],
  options: BatchOptions = {
    expiry: 'each',
    guess: { stringBatches: 0, bytesPerString: 0, portionsAlone: 0 },
  },
): Promise<BatchResult> {
  const batch: Batch = { pair, db, keys, standings: new Uint8Array(keys.length), typeCounts: new Map() };
  const differing = options.expiry === 'each' ? findDifferingExpiries(pair, db, keys) : [];
  const [expiries] = await Promise.all([differing, compareValues(batch, options.guess)]);
  for (const index of expiries) {
    if (batch.standings[index] === STANDING.equal) batch.standings[index] = STANDING.suspect;
  }
  const skipped: { key: Buffer; reason: string }[] = [];
  const compareTyped = async (index: number) => {
    const key = keyAt(batch, index);
    const found = await compareKey(pair, { db, key });
    if (found.type !== 'none') countType(batch, found.type);
    if (found.aspects.length > 0) batch.standings[index] = STANDING.suspect;
    else skipped.push(...found.skipped.map((reason) => ({ key, reason })));
  };
  await forEachConcurrently(standing(batch, STANDING.unclear), TYPED_COMPARISONS_AT_ONCE, compareTyped);
  await forEachConcurrently(standing(batch, STANDING.large), LARGE_COMPARISONS_AT_ONCE, compareTyped);
  const suspects = standing(batch, STANDING.suspect).map((index) => keyAt(batch, index));
  return { typeCounts: batch.typeCounts, suspects, skipped };
}

/** The key at a place of the batch. */
export function keyAt({ keys }: Pick<Batch, 'keys'>, index: number): Buffer {
  const key = keys[index];
  if (key === undefined) throw new Error(`the batch has no key ${index}`);
  return key;
}

/** Counts keys as compared. */
export function countType({ typeCounts }: Batch, type: string, keys = 1): void {
  if (keys > 0) typeCounts.set(type, (typeCounts.get(type) ?? 0) + keys);
}

function standing({ standings }: Batch, wanted: number): readonly number[] {
  const found: number[] = [];
  for (let index = 0; index < standings.length; index++) if (standings[index] === wanted) found.push(index);
  return found;
}

/** So many batches in a row that were nothing but strings, and the next is taken for one before its types are known. */
const STRING_BATCHES_TRUSTED = 8;

async function compareValues(batch: Batch, guess: StringGuess): Promise<void> {
  let rest: readonly number[] = batch.keys.map((_, index) => index);
  if (guess.stringBatches >= STRING_BATCHES_TRUSTED) {
    rest = await compareStrings(batch, rest, guess);
    if (rest.length === 0) return;
  }
  const { strings, collections } = await sortByType(batch, rest);
  guess.stringBatches = strings.length === batch.keys.length ? guess.stringBatches + 1 : 0;
  const [noStrings] = await Promise.all([
    compareStrings(batch, strings, guess),
    compareCollections(batch, collections),
  ]);
  // They changed their type since we asked for it.
  for (const index of noStrings) batch.standings[index] = STANDING.suspect;
}

/** A key of a type that has elements. */
export type Collection = { readonly index: number; readonly type: string };

const TYPE = commandAround(['TYPE']);

async function sortByType(
  batch: Batch,
  indexes: readonly number[],
): Promise<{ strings: readonly number[]; collections: readonly Collection[] }> {
  const strings: number[] = [];
  const collections: Collection[] = [];
  const request = new Request();
  for (const index of indexes) request.add(TYPE, keyAt(batch, index));
  const sort = (replies: ReplyCursor) => {
    for (const index of indexes) {
      replies.next();
      if (replies.kind !== REPLY_KIND.text) throw new Error(`TYPE answered ${replies.text()}`);
      const type = replies.text();
      if (type === 'string') strings.push(index);
      else if (type in LENGTH_COMMANDS) collections.push({ index, type });
      // Gone meanwhile, or of a module: a matter of both sides.
      else batch.standings[index] = STANDING.unclear;
    }
  };
  await exchangeAtTarget(batch.pair, { db: batch.db, request }, sort);
  return { strings, collections };
}

/** The keys whose expiry times are not the same. */
async function findDifferingExpiries(pair: Pair, db: number, keys: readonly Buffer[]): Promise<number[]> {
  const { source, target, ttlToleranceMs } = pair;
  const request = expiryRequest(keys, source.capabilities);
  const isAlike = source.capabilities.absoluteExpiry && target.capabilities.absoluteExpiry;
  const requestAtTarget = isAlike ? request : expiryRequest(keys, target.capabilities);
  return exchangeBoth(pair, { db, request, requestAtTarget }, ({ source: a, target: b, isSame }) => {
    if (isSame && isAlike) return [];
    const atSource = readExpiryTimes(a, keys.length, source.capabilities);
    const atTarget = readExpiryTimes(b, keys.length, target.capabilities);
    const differing: number[] = [];
    for (let index = 0; index < keys.length; index++) {
      const left = { atMs: atSource.atMs[index] ?? 0, slackMs: atSource.slackMs };
      const right = { atMs: atTarget.atMs[index] ?? 0, slackMs: atTarget.slackMs };
      if (left.atMs !== right.atMs && !isSameExpiry(left, right, ttlToleranceMs)) differing.push(index);
    }
    return differing;
  });
}

/** Compares nothing but when keys expire; returns those that do so at different times, or are gone at one side. */
export async function compareExpiries(
  pair: Pair,
  db: number,
  keys: readonly Buffer[],
): Promise<readonly Buffer[]> {
  const differing = await findDifferingExpiries(pair, db, keys);
  return differing.map((index) => keyAt({ keys }, index));
}
