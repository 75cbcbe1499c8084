import type { Access } from '../redis/access.ts';
import { openRoutedConnection } from '../redis/cluster/routed-connection.ts';
import { padExpiry, unpadExpiry } from '../redis/expiry-pad.ts';
import { type Command, openRawConnection, type RawConnection } from '../redis/raw-connection.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { findExpiring } from './expiring-databases.ts';
import { type ExpiringKey, exchange, rewriteExpiries } from './rewrite-expiries.ts';

/** How many times are asked for between two looks at the clock of the source: so few take less than a millisecond. */
const KEYS_BETWEEN_CLOCKS = 16;
/** How often a key is asked for when a millisecond ends between the clocks, or the source is interrupted there. */
const ATTEMPTS_MAX = 10;

/**
 * Corrects the expiry times that a source up to Redis 6.2 had sent relative to its clock, which a sync knows only as
 * late as they arrived: behind the fence nothing renews them, so what PTTL says is exact where no
 * millisecond ends between two looks at the clock.
 *
 * The times keep their pad: a cutover that fails afterwards leaves a target on which nothing expires by itself.
 *
 * @throws the codes of connections to both sides, target-slots-moved, or the signal's reason
 */
export async function correctExpiries({
  source,
  target,
  signal,
}: {
  source: Access;
  target: Access;
  signal: AbortSignal;
}): Promise<number> {
  if (await tellsAbsoluteTimes(source, signal)) return 0;
  let corrected = 0;
  for (const { db, hasKeys } of await findExpiring(target, signal)) {
    if (!hasKeys) continue;
    await using atSource = await openSource(source, { db, signal });
    await using atTarget = await openRoutedConnection(target, { db, signal });
    corrected += await rewriteExpiries(atTarget, (keys) => findCorrections(atSource.ask, keys));
  }
  return corrected;
}

/**
 * Whether a source sends no relative times: Redis 7.0 and all Valkeys, which know PEXPIRETIME.
 *
 * @throws the codes of connections to the source, or the signal's reason
 */
export async function tellsAbsoluteTimes(source: Access, signal: AbortSignal): Promise<boolean> {
  await using connection = await openRawConnection(source, { signal });
  const [reply] = await connection.send([['PEXPIRETIME', RESERVED_KEY]]);
  return !(reply instanceof ErrorReply && /^ERR unknown command/i.test(reply.message));
}

type AskSource = (keys: readonly ExpiringKey[]) => Promise<readonly SourceTime[]>;

/** Every primary of the source is asked for its own keys, with its own clock. */
async function openSource(
  access: Access,
  { db, signal }: { db: number; signal: AbortSignal },
): Promise<AsyncDisposable & { readonly ask: AskSource }> {
  const connection = await openRoutedConnection(access, { db, signal });
  const ask: AskSource = async (keys) => {
    const times = new Map<ExpiringKey, SourceTime>();
    for (const [primary, own] of connection.byOwner(keys, ({ key }) => key)) {
      const found = await readTimes(primary, own);
      own.forEach((key, index) => {
        const time = found[index];
        if (time !== undefined) times.set(key, time);
      });
    }
    return keys.map((key) => times.get(key) ?? { atMs: NEVER, slackMs: 0 });
  };
  return { ask, [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose]() };
}

async function findCorrections(
  ask: AskSource,
  keys: readonly ExpiringKey[],
): Promise<readonly ExpiringKey[]> {
  const times = await ask(keys);
  return keys.flatMap(({ key, atMs }, index) => {
    const exact = times[index];
    if (exact === undefined || exact.atMs === NEVER) return [];
    // What the source no longer shows goes with its pad: as a time in the past.
    if (exact.atMs === GONE) return [{ key, atMs: padExpiry(1) }];
    const lateMs = unpadExpiry(atMs) - exact.atMs;
    return lateMs >= 0 && lateMs <= exact.slackMs ? [] : [{ key, atMs: padExpiry(exact.atMs) }];
  });
}

/** The replies of PTTL for a key without an expiry, and for none. */
const NEVER = -1;
const GONE = -2;

/** When a key expires at the source, or NEVER or GONE; it may be later by up to `slackMs`. */
type SourceTime = { readonly atMs: number; readonly slackMs: number };

async function readTimes(
  source: RawConnection,
  keys: readonly ExpiringKey[],
): Promise<readonly SourceTime[]> {
  const times = await askTimes(source, keys, KEYS_BETWEEN_CLOCKS);
  for (let attempt = 1; attempt < ATTEMPTS_MAX; attempt++) {
    const unsure = [...times.keys()].filter((index) => (times[index]?.slackMs ?? 0) > 0);
    if (unsure.length === 0) break;
    const again = await askTimes(
      source,
      unsure.flatMap((index) => keys[index] ?? []),
      1,
    );
    unsure.forEach((index, place) => {
      const [before, now] = [times[index], again[place]];
      if (before !== undefined && now !== undefined && now.slackMs < before.slackMs) times[index] = now;
    });
  }
  return times;
}

/** Asks `TIME (PTTL{1,length} TIME)*`. */
async function askTimes(
  source: RawConnection,
  keys: readonly ExpiringKey[],
  length: number,
): Promise<SourceTime[]> {
  const commands: Command[] = [['TIME']];
  keys.forEach(({ key }, index) => {
    commands.push(['PTTL', key]);
    if ((index + 1) % length === 0 || index + 1 === keys.length) commands.push(['TIME']);
  });
  const replies = await exchange(source, commands);
  const times: SourceTime[] = [];
  let beforeMs = readClock(replies[0]);
  let lefts: number[] = [];
  for (const reply of replies.slice(1)) {
    if (!Array.isArray(reply)) {
      lefts.push(Number(reply));
      continue;
    }
    const afterMs = readClock(reply);
    const slackMs = afterMs - beforeMs;
    times.push(
      ...lefts.map((left) => (left < 0 ? { atMs: left, slackMs: 0 } : { atMs: beforeMs + left, slackMs })),
    );
    beforeMs = afterMs;
    lefts = [];
  }
  return times;
}

/** The reply of TIME, `[seconds, microseconds]`, in milliseconds since the epoch. */
function readClock(reply: Reply | undefined): number {
  const [seconds, microseconds] = Array.isArray(reply) ? reply.map(Number) : [];
  if (seconds === undefined || microseconds === undefined) throw new Error('TIME answered no time');
  return seconds * 1000 + Math.floor(microseconds / 1000);
}
