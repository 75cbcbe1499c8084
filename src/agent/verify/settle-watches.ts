import type { Course } from './course.ts';
import type { Pair } from './key-comparison.ts';
import { markSource, waitForMark } from './lag.ts';
import type { Session } from './session.ts';
import { isOpen, look, type Watch, type WatchOptions } from './watch.ts';

/** `hotUntilMs`: how long values that never stand still are followed for as long as that proves nothing. */
export type HotOptions = WatchOptions & { readonly hotUntilMs: number };

/** First looks, far apart: a write in flight arrives in between. */
const SLOW_PAUSES_MS = [100, 200, 400, 800, 1600];
/**
 * Then a burst, after the target has passed a mark behind the slow looks: whoever is still different and unchanged
 * in all of it is different. Its uneven steps find the other face of a value that goes to and fro.
 */
const QUICK_PAUSES_MS = [34, 3, 21, 2, 13, 1, 8, 5, 13, 1, 3, 2];
/** Looks without pause at values that never stand still, so close that few versions of them are missed. */
const HOT_LOOKS = 300;
/** As often a version of the target should have been met at the source before it counts that none was. */
const MEETINGS_EXPECTED = 12;
/** So many versions of a number at the target, all of them beyond what the source can have had, are enough. */
const BEYOND_LEAST = 10;
/** How many moving values are followed at a time, and so how much history is kept. */
const HOT_GROUP = 64;

/**
 * Looks at every watch until none is open.
 *
 * Equal means: the target once held what the source held at that moment or before. Different means either that
 * neither side changed while the target had the time to catch up with the source (measured where the servers tell),
 * or that of a value that keeps changing no version was ever seen at both sides, although so many were seen that some
 * should have been.
 *
 * @throws sync-behind, and the codes of {@link Session.ask}
 */
export async function settleWatches(
  pair: Pair,
  watches: readonly Watch[],
  options: HotOptions,
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

/**
 * The versions of a value pass by at both sides, at the target later: one that both had is proof enough that it is the
 * same. That none was met says something only when many were seen: a target that takes writes in large batches shows
 * few, and of those that a fast source has most are never looked at.
 */
async function followMoving(pair: Pair, watches: readonly Watch[], options: HotOptions): Promise<void> {
  const { clock, signal } = options;
  let asked = 0;
  const lookOnce = async () => {
    signal.throwIfAborted();
    asked += await look(pair, watches.filter(isOpen), options);
  };
  const lookOften = async () => {
    for (let count = 0; count < HOT_LOOKS && watches.some(isOpen); count++) await lookOnce();
  };
  const begin = { commands: await countCommands(pair.source), changes: changesOf(watches) };
  await lookOften();
  let arrived: Changes | undefined;
  while (watches.some(isOpen)) {
    const marked = changesOf(watches);
    const arrival = waitForMark(pair, await markSource(pair, clock), options);
    // Without a watch a look asks nothing, and in a loop of those nothing else would ever happen.
    await lookUntil(arrival, () => (watches.some(isOpen) ? lookOnce() : arrival));
    if (arrived !== undefined) judgeStuck(watches, { arrived, marked });
    // Only now the target shows what the source can have been seen with.
    arrived ??= changesOf(watches);
    await lookOften();
    judgeBeyond(watches, arrived);
    const commands = (await countCommands(pair.source)) - begin.commands - asked;
    judgeUnmet(watches, { begin: begin.changes, arrived, commands });
    if (clock.nowMs() >= options.hotUntilMs) break;
  }
  for (const watch of watches) if (isOpen(watch)) watch.outcome = 'unseen';
}

async function lookUntil(arrival: Promise<void>, lookOnce: () => Promise<void>): Promise<void> {
  let hasArrived = false;
  const settled = arrival.finally(() => {
    hasArrived = true;
  });
  // It may fail while a look is under way; it is thrown below.
  settled.catch(() => {});
  while (!hasArrived) await lookOnce();
  await settled;
}

type Changes = ReadonlyMap<Watch, Watch['changes'] & Pick<Course, 'within' | 'beyond'>>;

function changesOf(watches: readonly Watch[]): Changes {
  return new Map(
    watches.map((watch) => {
      const { within, beyond } = watch.course;
      return [watch, { ...watch.changes, within, beyond }];
    }),
  );
}

/** Different is what the target has not touched although it has all that the source did to it up to a mark. */
function judgeStuck(
  watches: readonly Watch[],
  { arrived, marked }: Record<'arrived' | 'marked', Changes>,
): void {
  for (const watch of watches.filter(isOpen)) {
    const then = arrived.get(watch);
    const hasSourceChanged = (marked.get(watch)?.source ?? 0) > (then?.source ?? 0);
    if (hasSourceChanged && watch.changes.target === then?.target) watch.outcome = 'different';
  }
}

/** Different is a number that only ever rises at the source, or falls, and at the target is not on its way. */
function judgeBeyond(watches: readonly Watch[], arrived: Changes): void {
  for (const watch of watches.filter(isOpen)) {
    const { isSteady, within, beyond } = watch.course;
    const then = arrived.get(watch);
    if (!isSteady || then === undefined || within > then.within) continue;
    if (beyond - then.beyond >= BEYOND_LEAST) watch.outcome = 'different';
  }
}

/**
 * Different is of what so many versions were seen that one at both sides is to be expected.
 *
 * The source had one version for each of its commands at most, and the part of them that was seen is the chance of each
 * version of the target to be among them.
 */
function judgeUnmet(
  watches: readonly Watch[],
  { begin, arrived, commands }: { begin: Changes; arrived: Changes; commands: number },
): void {
  for (const watch of watches.filter(isOpen)) {
    const atSource = watch.changes.source - (begin.get(watch)?.source ?? 0);
    const atTarget = watch.changes.target - (arrived.get(watch)?.target ?? 0);
    const chance = Math.min(1, atSource / Math.max(1, commands));
    if (atTarget * chance >= MEETINGS_EXPECTED) watch.outcome = 'different';
  }
}

/** How many commands the source has processed; infinitely many where it does not tell. */
async function countCommands(source: Session): Promise<number> {
  const replies = await source.askEvery(['INFO', 'stats']);
  return replies.reduce<number>((sum, reply) => {
    const count = /^total_commands_processed:(\d+)/m.exec(String(reply))?.[1];
    return sum + (count === undefined ? Number.POSITIVE_INFINITY : Number(count));
  }, 0);
}
