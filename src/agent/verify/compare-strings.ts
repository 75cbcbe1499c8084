import { isSameReplyBytes, REPLY_KIND, type ReplyCursor } from '../redis/reply-bytes.ts';
import { type Batch, countType, keyAt, STANDING } from './compare-batch.ts';
import { exchangeBoth } from './exchange.ts';
import { commandAround, Request } from './request.ts';

/** What the batches so far were like: it only decides in which portions and in which order the next ones are read. */
export type StringGuess = {
  /** How many batches in a row held nothing but strings. */
  stringBatches: number;
  /** How long strings were of late. */
  bytesPerString: number;
};

/** Up to here a string is read at once, beyond it in pieces. */
const SMALL_STRING_BYTES = 16 * 1024;
/** What one portion has at each side, as far as that can be foreseen. */
const PORTION_BYTES = 512 * 1024;
const PORTION_KEYS_MIN = 16;
/** The pieces in which a long string is read. */
const PIECE_BYTES = 512 * 1024;

const FIRST_PIECE = commandAround(['GETRANGE'], [0, SMALL_STRING_BYTES - 1]);

/** Compares strings; returns the keys that hold something else at the source. */
export async function compareStrings(
  batch: Batch,
  indexes: readonly number[],
  guess: StringGuess,
): Promise<readonly number[]> {
  const noStrings: number[] = [];
  for (let from = 0; from < indexes.length; ) {
    const fitting = Math.floor(PORTION_BYTES / Math.max(1, guess.bytesPerString));
    const portion = indexes.slice(from, from + Math.max(PORTION_KEYS_MIN, fitting));
    const found = await comparePortion(batch, portion, guess);
    noStrings.push(...found.noStrings);
    for (const index of found.long) await compareLongString(batch, index);
    await compareEmptyStrings(batch, found.empty);
    from += portion.length;
  }
  return noStrings;
}

/** What the first piece of a string does not tell. */
type Undecided = { noStrings: number[]; long: number[]; empty: number[] };

async function comparePortion(
  batch: Batch,
  indexes: readonly number[],
  guess: StringGuess,
): Promise<Undecided> {
  const undecided: Undecided = { noStrings: [], long: [], empty: [] };
  const { pair, db, standings } = batch;
  const request = new Request();
  for (const index of indexes) request.add(FIRST_PIECE, keyAt(batch, index));
  await exchangeBoth(pair, { db, request }, ({ source, target, isSame }) => {
    for (const index of indexes) {
      source.next();
      if (!isSame) target.next();
      const length = source.end - source.start;
      const isEqual = isSame || isSameReplyBytes(source, target);
      if (source.kind !== REPLY_KIND.bulk) undecided.noStrings.push(index);
      else if (!isEqual) standings[index] = STANDING.suspect;
      else if (length === 0) undecided.empty.push(index);
      else if (length === SMALL_STRING_BYTES) undecided.long.push(index);
    }
    guess.bytesPerString = source.at / indexes.length;
  });
  const { noStrings, empty } = undecided;
  countType(batch, 'string', indexes.length - noStrings.length - empty.length);
  return undecided;
}

/** A range of nothing is an empty string or no key at all: only TYPE tells them apart. */
async function compareEmptyStrings(batch: Batch, indexes: readonly number[]): Promise<void> {
  if (indexes.length === 0) return;
  const { pair, db, standings } = batch;
  const request = new Request();
  for (const index of indexes) request.add(TYPE, keyAt(batch, index));
  await exchangeBoth(pair, { db, request }, ({ source, target }) => {
    for (const index of indexes) {
      source.next();
      target.next();
      if (!isSameReplyBytes(source, target)) standings[index] = STANDING.suspect;
      else if (source.text() === 'string') countType(batch, 'string');
      // Something else has taken its place at both sides meanwhile.
      else if (source.text() !== 'none') standings[index] = STANDING.unclear;
    }
  });
}

const TYPE = commandAround(['TYPE']);

async function compareLongString(batch: Batch, index: number): Promise<void> {
  const { pair, db, standings } = batch;
  const key = keyAt(batch, index);
  for (let from = SMALL_STRING_BYTES, length = PIECE_BYTES; length === PIECE_BYTES; from += PIECE_BYTES) {
    const request = new Request();
    request.add(commandAround(['GETRANGE'], [from, from + PIECE_BYTES - 1]), key);
    const isEqual = await exchangeBoth(pair, { db, request }, ({ source, isSame }) => {
      length = lengthOf(source);
      return isSame && length >= 0;
    });
    if (isEqual) continue;
    standings[index] = STANDING.suspect;
    return;
  }
}

/** The length of the bulk string that comes next, -1 for anything else. */
function lengthOf(replies: ReplyCursor): number {
  replies.next();
  return replies.kind === REPLY_KIND.bulk ? replies.end - replies.start : -1;
}
