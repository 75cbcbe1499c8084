import type { HashFieldTtl } from '../../contract/skipped.ts';
import type { Command } from '../redis/raw-connection.ts';
import type { Reply } from '../redis/reply-parser.ts';
import type { Aspect } from './aspect.ts';
import type { Session } from './session.ts';

/** Two servers whose keys are compared. */
export type Pair = {
  readonly source: Session;
  readonly target: Session;
  /** How far two expiry times may be apart; infinite where they are estimates. */
  readonly ttlToleranceMs: number;
  /** Whether fields that expire at the source only are a difference, on a target that knows no such thing. */
  readonly hashFieldTtl: HashFieldTtl;
};

/** A key while its value is compared: the aspects that differ are collected up to {@link ASPECTS_PER_KEY_MAX}. */
export type KeyComparison = Pair & {
  readonly db: number;
  readonly key: Buffer;
  /** How many elements to read at once, so that a page stays small whatever their size. */
  readonly pageLength: number;
  readonly found: Aspect[];
  /** How many aspects are found before the comparison stops. */
  readonly aspectsMax: number;
  /** Where the comparison begins, and when it has stopped, where it has to go on; undefined when all was seen. */
  place: Place | undefined;
  /** Reasons for which something of the key is not compared. */
  readonly skipped: Set<string>;
};

/** A place in a value up to which it has been compared: of a string, a list, or one without order. */
export type Place =
  | { readonly offset: number }
  /** Of a list always the beginning: its places do not hold still. */
  | { readonly index: 0 }
  | { readonly side: 'source' | 'target'; readonly cursor: string };

/** The most aspects of one key that are followed at a time, at first. */
export const ASPECTS_PER_KEY_MAX = 16;
/**
 * The same when all of those came right: such a key is written to all the time, and what is in flight at its beginning
 * must not hide what differs further on.
 */
export const MOVING_ASPECTS_MAX = 256;

/** Whether no more aspects are taken. */
export function isFull({ found, aspectsMax }: Pick<KeyComparison, 'found' | 'aspectsMax'>): boolean {
  return found.length >= aspectsMax;
}

/** Whether the key is compared again because what was found before came right. */
export function isMoving({ aspectsMax }: Pick<KeyComparison, 'aspectsMax'>): boolean {
  return aspectsMax > ASPECTS_PER_KEY_MAX;
}

/** A value that vanished or changed its type between two questions: what it is has to be asked again. */
export function suspectType({ found }: KeyComparison): void {
  found.push({ of: 'type' });
}

/** Asks both sides the same at the same time. */
export async function askBoth(
  { source, target, db }: KeyComparison,
  commands: readonly Command[],
): Promise<readonly [readonly Reply[], readonly Reply[]]> {
  return Promise.all([source.ask(db, commands), target.ask(db, commands)]);
}

/** Whether two replies are the same bulk string. */
export function isSameBytes(a: Reply | undefined, b: Reply | undefined): boolean {
  return Buffer.isBuffer(a) && Buffer.isBuffer(b) ? a.equals(b) : a === b;
}

/** The offset of the first byte that differs; the shorter length when one begins with the other. */
export function firstDifference(a: Buffer, b: Buffer): number {
  const length = Math.min(a.length, b.length);
  if (a.compare(b, 0, length, 0, length) === 0) return length;
  let offset = 0;
  while (a[offset] === b[offset]) offset++;
  return offset;
}
