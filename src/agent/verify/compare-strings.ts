import { isSameReplyBytes, REPLY_KIND, type ReplyBytes, ReplyCursor } from '../redis/reply-bytes.ts';
import { type Batch, countType, keyAt, STANDING } from './compare-batch.ts';
import { exchangeBoth, exchangeInTurn } from './exchange.ts';
import { commandAround, Request } from './request.ts';

/** What the batches so far were like: it only decides in which portions and in which order the next ones are read. */
export type StringGuess = {
  /** How many batches in a row held nothing but strings. */
  stringBatches: number;
  /** How long strings were of late; 0 as long as none has been read. */
  bytesPerString: number;
  /** For how many portions more strings are asked for one by one. */
  portionsAlone: number;
};

/** Up to here a string is read at once, beyond it in pieces. */
const SMALL_STRING_BYTES = 16 * 1024;
/** What one portion has at each side, as far as that can be foreseen. */
const PORTION_BYTES = 512 * 1024;
const PORTION_KEYS_MIN = 16;
/** For how many portions a long string among short ones keeps them from being asked for together. */
const PORTIONS_ALONE = 64;
/** Up to this size, on average, strings are asked for by one command. */
const TOGETHER_BYTES_MAX = 1024;
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
    const together = areAskedTogether(batch, guess)
      ? await compareTogether(batch, portion, guess)
      : undefined;
    const found = together ?? (await comparePortion(batch, portion, guess));
    noStrings.push(...found.noStrings);
    for (const index of found.long) await compareLongString(batch, index);
    await compareEmptyStrings(batch, found.empty);
    from += portion.length;
  }
  return noStrings;
}

/** Where strings have been short, and none that is long was among those that were asked for together of late. */
function areAskedTogether({ pair: { source, target } }: Batch, guess: StringGuess): boolean {
  // A command of a cluster has keys of one slot only.
  if (source.isCluster || target.isCluster || guess.bytesPerString === 0) return false;
  guess.portionsAlone = Math.max(0, guess.portionsAlone - 1);
  return guess.portionsAlone === 0 && guess.bytesPerString <= TOGETHER_BYTES_MAX;
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

/**
 * Short strings are asked for together, by one MGET at each side, which has less to parse than as many GETRANGE. It
 * could bring strings of any size, so that the target is asked first, and the source only for those that are short
 * there: a source that holds more of one is different anyhow. Undefined when the target held one that is long.
 */
async function compareTogether(
  batch: Batch,
  indexes: readonly number[],
  guess: StringGuess,
): Promise<Undecided | undefined> {
  const { pair, db, standings } = batch;
  const undecided: Undecided = { noStrings: [], long: [], empty: [] };
  const short: number[] = [];
  const others: number[] = [];
  const next = (target: ReplyCursor) => {
    target.next();
    for (const index of indexes) {
      target.next();
      const isShort = target.kind === REPLY_KIND.bulk && target.end > target.start;
      (isShort ? short : others).push(index);
    }
    const request = getTogether(batch, short);
    for (const index of others) request.add(FIRST_PIECE, keyAt(batch, index));
    return request;
  };
  const asked = { db, request: getTogether(batch, indexes), next, bulkBytesMax: SMALL_STRING_BYTES - 1 };
  const areShort = await exchangeInTurn(pair, asked, ({ source, target }) => {
    guess.bytesPerString = source.end / indexes.length;
    if (source.isCut) return markSuspects(standings, indexes);
    if (others.length === 0 && isSameBytes(source, target)) return;
    const [a, b] = [new ReplyCursor(source), new ReplyCursor(target)];
    if (short.length > 0) a.next();
    b.next();
    let at = 0;
    for (const index of indexes) {
      b.next();
      if (index !== short[at]) continue;
      at += 1;
      a.next();
      if (a.isNull) undecided.empty.push(index);
      else if (!isSameReplyBytes(a, b)) standings[index] = STANDING.suspect;
    }
    for (const index of others) {
      a.next();
      if (a.kind !== REPLY_KIND.bulk) undecided.noStrings.push(index);
      else if (a.start === a.end) undecided.empty.push(index);
      else standings[index] = STANDING.suspect;
    }
  });
  if (!areShort) {
    guess.portionsAlone = PORTIONS_ALONE;
    return undefined;
  }
  countType(batch, 'string', indexes.length - undecided.noStrings.length - undecided.empty.length);
  return undecided;
}

function getTogether(batch: Batch, indexes: readonly number[]): Request {
  const request = new Request();
  if (indexes.length > 0) {
    request.addTogether(
      'MGET',
      indexes.map((index) => keyAt(batch, index)),
    );
  }
  return request;
}

function isSameBytes(a: ReplyBytes, b: ReplyBytes): boolean {
  return a.end === b.end && a.bytes.compare(b.bytes, 0, b.end, 0, a.end) === 0;
}

function markSuspects(standings: Uint8Array, indexes: readonly number[]): void {
  for (const index of indexes) standings[index] = STANDING.suspect;
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
