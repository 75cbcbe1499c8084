import { unpadExpiry } from '../redis/expiry-pad.ts';
import type { Command } from '../redis/raw-connection.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
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
export function expiryCommands(keys: readonly Buffer[], { absoluteExpiry }: Capabilities): Command[] {
  return absoluteExpiry
    ? keys.map((key) => ['PEXPIRETIME', key])
    : [['TIME'], ...keys.map((key) => ['PTTL', key]), ['TIME']];
}

/** Returns one expiry for each key of {@link expiryCommands}, without the pad of a sync. */
export function readExpiries(replies: readonly Reply[], capabilities: Capabilities): readonly Expiry[] {
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

/** An expiry time as PEXPIRETIME and HPEXPIRETIME answer it, without the pad of a sync. */
export function readTime(reply: Reply | undefined, { paddedExpiry }: Capabilities): number {
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
