import type { KeyDisplay } from '../../contract/jobs.ts';
import type { Clock } from '../../core/clock.ts';
import type { Command } from '../redis/raw-connection.ts';
import type { Reply } from '../redis/reply-parser.ts';
import {
  type Aspect,
  aspectCommands,
  type Holding,
  isAsReplicated,
  isSameHolding,
  readAspect,
} from './aspect.ts';
import { type Description, describeDifference } from './describe.ts';
import { readTimeMs } from './expiry.ts';
import type { Pair } from './key-comparison.ts';
import { markSource, waitForMark } from './lag.ts';
import type { Session } from './session.ts';
import { skipReason } from './skip-reason.ts';

/** An aspect of a key that was found different and is looked at until it is equal once, or has stayed different. */
export type Watch = {
  readonly db: number;
  readonly key: Buffer;
  readonly aspect: Aspect;
  /** What the source held so far, the latest last; without bytes. */
  readonly sourceHistory: Holding[];
  target: Holding | undefined;
  /** Looks in a row at which neither side had changed. */
  unchangedLooks: number;
  outcome: 'open' | 'equal' | 'different';
  description: Description | undefined;
};

/** What watching needs besides the two servers. */
export type WatchOptions = {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly keyDisplay: KeyDisplay;
  /** How far the clocks of the two servers may be apart for a key that has expired at one of them. */
  readonly ttlToleranceMs: number;
};

/** First looks, far apart: a write in flight arrives in between. */
const SLOW_PAUSES_MS = [100, 200, 400, 800, 1600];
/**
 * Then a burst, after the target has passed a mark behind the slow looks: whoever is still different and unchanged
 * in all of it is different. Its uneven steps find the other face of a value that goes to and fro.
 */
const QUICK_PAUSES_MS = [34, 3, 21, 2, 13, 1, 8, 5, 13, 1, 3, 2];
/** Looks without pause at values that never stand still, so close that hardly a version of them is missed. */
const HOT_LOOKS = 300;
/** How many moving values are followed at a time, and so how much history is kept. */
const HOT_GROUP = 64;
/** How many aspects are read in one batch. */
const LOOK_BATCH = 128;

/** Starts to watch an aspect. */
export function createWatch(at: { db: number; key: Buffer }, aspect: Aspect): Watch {
  return {
    ...at,
    aspect,
    sourceHistory: [],
    target: undefined,
    unchangedLooks: 0,
    outcome: 'open',
    description: undefined,
  };
}

/**
 * Looks at every watch until none is open.
 *
 * Equal means: the target once held what the source held at that moment or before. Different means either that
 * neither side changed while the target had the time to catch up with the source (measured where the servers tell),
 * or that of a value that keeps changing no version was ever seen at both sides.
 *
 * @throws sync-behind, and the codes of {@link Session.ask}
 */
export async function settleWatches(
  pair: Pair,
  watches: readonly Watch[],
  options: WatchOptions,
): Promise<void> {
  const { clock, signal } = options;
  const lookAfter = async (pauseMs: number) => {
    if (!watches.some(isOpen)) return;
    await clock.sleep(pauseMs, signal);
    await look(pair, watches.filter(isOpen), options);
  };
  for (const pauseMs of SLOW_PAUSES_MS) await lookAfter(pauseMs);
  if (!watches.some(isOpen)) return;
  await waitForMark(pair, await markSource(pair, options.clock), options);
  for (const pauseMs of QUICK_PAUSES_MS) await lookAfter(pauseMs);
  judgeStanding(watches);
  const moving = watches.filter(isOpen);
  for (let from = 0; from < moving.length; from += HOT_GROUP) {
    await followMoving(pair, moving.slice(from, from + HOT_GROUP), options);
  }
}

/**
 * The same for watches of which the first suspicion is long enough ago that the looks far apart are not needed: only the
 * burst. Whoever changes meanwhile stays open, and needs {@link settleWatches}.
 *
 * @throws sync-behind, and the codes of {@link Session.ask}
 */
export async function settleStanding(
  pair: Pair,
  watches: readonly Watch[],
  options: WatchOptions,
): Promise<void> {
  await look(pair, watches, options);
  await waitForMark(pair, await markSource(pair, options.clock), options);
  for (const pauseMs of QUICK_PAUSES_MS) {
    const open = watches.filter(isOpen);
    if (open.length === 0) return;
    await options.clock.sleep(pauseMs, options.signal);
    await look(pair, open, options);
  }
  judgeStanding(watches);
}

/** The looks far apart, all together: how long a difference must have lasted before it may be one. */
export const SLOW_LOOKS_MS = SLOW_PAUSES_MS.reduce((sum, pauseMs) => sum + pauseMs, 0);

/** Different is what nobody has changed in the whole burst. */
function judgeStanding(watches: readonly Watch[]): void {
  for (const watch of watches) {
    if (isOpen(watch) && watch.unchangedLooks > QUICK_PAUSES_MS.length) watch.outcome = 'different';
  }
}

function isOpen(watch: Watch): boolean {
  return watch.outcome === 'open';
}

/** The versions of a value pass by at both sides, at the target later: one that both had is proof enough. */
async function followMoving(pair: Pair, watches: readonly Watch[], options: WatchOptions): Promise<void> {
  const lookOften = async () => {
    for (let count = 0; count < HOT_LOOKS && watches.some(isOpen); count++) {
      options.signal.throwIfAborted();
      await look(pair, watches.filter(isOpen), options);
    }
  };
  await lookOften();
  if (!watches.some(isOpen)) return;
  const mark = await markSource(pair, options.clock);
  const arrival = waitForMark(pair, mark, options);
  let hasArrived = false;
  const settled = arrival.finally(() => {
    hasArrived = true;
  });
  while (!hasArrived && watches.some(isOpen)) await look(pair, watches.filter(isOpen), options);
  await settled;
  await lookOften();
  for (const watch of watches) if (isOpen(watch)) watch.outcome = 'different';
}

async function look(pair: Pair, watches: readonly Watch[], options: WatchOptions): Promise<void> {
  for (const db of new Set(watches.map((watch) => watch.db))) {
    const group = watches.filter((watch) => watch.db === db);
    for (let from = 0; from < group.length; from += LOOK_BATCH) {
      const batch = group.slice(from, from + LOOK_BATCH);
      const [source, target] = await Promise.all([
        readHoldings(pair.source, db, batch),
        readHoldings(pair.target, db, batch),
      ]);
      batch.forEach((watch, index) => {
        const holdings = [source.holdings[index], target.holdings[index]] as const;
        judge(watch, {
          holdings,
          sourceNowMs: source.nowMs,
          targetNowMs: target.nowMs,
          ttlToleranceMs: pair.ttlToleranceMs,
          clockToleranceMs: options.ttlToleranceMs,
          keyDisplay: options.keyDisplay,
        });
      });
    }
  }
}

async function readHoldings(
  session: Session,
  db: number,
  watches: readonly Watch[],
): Promise<{ nowMs: number; holdings: readonly Holding[] }> {
  const commands: Command[] = [['TIME']];
  const ends = watches.map(({ aspect, key }) =>
    commands.push(...aspectCommands(aspect, key, session.capabilities)),
  );
  const replies: readonly Reply[] = await session.ask(db, commands);
  let from = 1;
  const holdings = watches.map(({ aspect }, index) => {
    const part = replies.slice(from, ends[index]);
    from = ends[index] ?? from;
    return readAspect(aspect, part, session.capabilities);
  });
  return { nowMs: readTimeMs(replies[0]), holdings };
}

type Sight = {
  readonly holdings: readonly [Holding | undefined, Holding | undefined];
  readonly sourceNowMs: number;
  readonly targetNowMs: number;
  readonly ttlToleranceMs: number;
  readonly clockToleranceMs: number;
  readonly keyDisplay: KeyDisplay;
};

const EXPIRING_ASPECTS: ReadonlySet<Aspect['of']> = new Set(['type', 'hash-field', 'hash-field-ttl']);

function judge(watch: Watch, sight: Sight): void {
  const [source, target] = sight.holdings;
  if (source === undefined || target === undefined)
    throw new Error('a look answered for fewer aspects than asked');
  const last = watch.sourceHistory.at(-1);
  const isSourceUnchanged = last !== undefined && isSameHolding(last, source, 0);
  const isTargetUnchanged = watch.target !== undefined && isSameHolding(watch.target, target, 0);
  watch.unchangedLooks = isSourceUnchanged && isTargetUnchanged ? watch.unchangedLooks + 1 : 1;
  if (!isSourceUnchanged) watch.sourceHistory.push(withoutBytes(source));
  // Kept while it is the same: objects that are replaced with every look make the heap grow.
  if (!isTargetUnchanged) watch.target = withoutBytes(target);
  const wasAtSource = watch.sourceHistory.some((held) => isSameHolding(held, target, sight.ttlToleranceMs));
  if (
    wasAtSource ||
    isAsReplicated(source, target) ||
    isLeftOut(watch.aspect, source, target) ||
    hasExpired(watch.aspect, source, target, sight)
  ) {
    watch.outcome = 'equal';
  } else if (watch.unchangedLooks === 1 || watch.description === undefined) {
    watch.description = describeDifference(watch.aspect, [source, target], sight.keyDisplay);
  }
}

function withoutBytes({ identity, expiry }: Holding): Holding {
  return expiry === undefined ? { identity } : { identity, expiry };
}

/** A key of a module with nothing in its place: what the next comparison of the key then finds. */
function isLeftOut({ of }: Aspect, source: Holding, target: Holding): boolean {
  return of === 'type' && skipReason({ source: source.identity, target: target.identity }) !== undefined;
}

/** A key or field that only one side still has although its time is over by the clock of the other. */
function hasExpired(
  aspect: Aspect,
  source: Holding,
  target: Holding,
  { sourceNowMs, targetNowMs, clockToleranceMs }: Sight,
): boolean {
  if (!EXPIRING_ASPECTS.has(aspect.of) || (source.identity === '') === (target.identity === '')) return false;
  const [holder, nowMs] = target.identity === '' ? [source, targetNowMs] : [target, sourceNowMs];
  const atMs = holder.expiry?.atMs ?? -1;
  return atMs >= 0 && atMs <= nowMs + clockToleranceMs + (holder.expiry?.slackMs ?? 0);
}
