import { unpadExpiry } from '../redis/expiry-pad.ts';
import { type Command, encodeCommands } from '../redis/raw-connection.ts';
import { REPLY_KIND, type ReplyCursor } from '../redis/reply-bytes.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { commandAround, Request } from './request.ts';
import type { Capabilities } from './session.ts';

/** When something expires by the clock of its server. */
export type Expiry = {
  /** Milliseconds since the epoch; -1: never; -2: it does not exist. */
  readonly atMs: number;
  /** How far `atMs` may be off, because the server knows only the time that is left. */
  readonly slackMs: number;
};

/** A reply of the wrong shape: the key changed its type between two questions. */
export const NO_EXPIRY: Expiry = { atMs: -2, slackMs: 0 };

/**
 * Asks for the expiry times of many keys at once; `readExpiries` understands the answer.
 *
 * Before Redis 7.0 there is only PTTL, so the time of the server is read before and after.
 */
export function expiryCommands(
  keys: readonly Buffer[],
  { absoluteExpiry }: Pick<Capabilities, 'absoluteExpiry'>,
): Command[] {
  return absoluteExpiry
    ? keys.map((key) => ['PEXPIRETIME', key])
    : [['TIME'], ...keys.map((key) => ['PTTL', key]), ['TIME']];
}

/** Returns one expiry for each key of {@link expiryCommands}, without the pad of a sync. */
export function readExpiries(
  replies: readonly Reply[],
  capabilities: Pick<Capabilities, 'absoluteExpiry' | 'paddedExpiry'>,
): readonly Expiry[] {
  if (capabilities.absoluteExpiry) {
    return replies.map((reply) => ({ atMs: readTime(reply, capabilities), slackMs: 0 }));
  }
  const beforeMs = readTimeMs(replies[0]);
  const slackMs = readTimeMs(replies.at(-1)) - beforeMs + 1;
  return replies.slice(1, -1).map((reply) => {
    const leftMs = toNumber(reply);
    return leftMs < 0 ? { atMs: leftMs, slackMs: 0 } : { atMs: beforeMs + leftMs, slackMs };
  });
}

const ABSOLUTE = commandAround(['PEXPIRETIME']);
const RELATIVE = commandAround(['PTTL']);
const TIME = encodeCommands([['TIME']]);

/** The same commands as one request. */
export function expiryRequest(
  keys: readonly Buffer[],
  { absoluteExpiry }: Pick<Capabilities, 'absoluteExpiry'>,
): Request {
  const request = new Request();
  if (!absoluteExpiry) request.addWhole(TIME);
  for (const key of keys) request.add(absoluteExpiry ? ABSOLUTE : RELATIVE, key);
  if (!absoluteExpiry) request.addWhole(TIME);
  return request;
}

/** What {@link expiryRequest} was answered for so many keys: times as in {@link Expiry}, with one slack for all. */
export type ExpiryTimes = { readonly atMs: Float64Array; readonly slackMs: number };

/** Reads the replies to {@link expiryRequest}. */
export function readExpiryTimes(
  replies: ReplyCursor,
  count: number,
  capabilities: Pick<Capabilities, 'absoluteExpiry' | 'paddedExpiry'>,
): ExpiryTimes {
  const atMs = new Float64Array(count);
  const beforeMs = capabilities.absoluteExpiry ? 0 : nextTimeMs(replies);
  for (let index = 0; index < count; index++) {
    replies.next();
    const time = replies.kind === REPLY_KIND.integer ? replies.integer() : NO_EXPIRY.atMs;
    const given = time < 0 ? time : beforeMs + time;
    atMs[index] = capabilities.paddedExpiry ? unpadExpiry(given) : given;
  }
  return { atMs, slackMs: capabilities.absoluteExpiry ? 0 : nextTimeMs(replies) - beforeMs + 1 };
}

/** The reply of TIME: an array of two bulk strings. */
function nextTimeMs(replies: ReplyCursor): number {
  replies.next();
  if (replies.kind !== REPLY_KIND.array) throw new Error(`TIME answered ${replies.text()}`);
  replies.next();
  const seconds = replies.text();
  replies.next();
  return readTimeMs([seconds, replies.text()]);
}

/** An expiry time as PEXPIRETIME and HPEXPIRETIME answer it, without the pad of a sync. */
export function readTime(
  reply: Reply | undefined,
  { paddedExpiry }: Pick<Capabilities, 'paddedExpiry'>,
): number {
  const atMs = toNumber(reply);
  return paddedExpiry ? unpadExpiry(atMs) : atMs;
}

/** Whether two expiry times are the same within the tolerance; never and gone are equal only to themselves. */
export function isSameExpiry(a: Expiry, b: Expiry, toleranceMs: number): boolean {
  if (a.atMs < 0 || b.atMs < 0) return a.atMs === b.atMs;
  return Math.abs(a.atMs - b.atMs) <= toleranceMs + a.slackMs + b.slackMs;
}

/** The reply of TIME, `[seconds, microseconds]`, in milliseconds since the epoch. */
export function readTimeMs(reply: Reply | undefined): number {
  if (!Array.isArray(reply)) throw reply instanceof ErrorReply ? reply : new Error('TIME answered no array');
  return Number(reply[0]) * 1000 + Math.floor(Number(reply[1]) / 1000);
}

function toNumber(reply: Reply | undefined): number {
  return typeof reply === 'number' || typeof reply === 'bigint' ? Number(reply) : NO_EXPIRY.atMs;
}
