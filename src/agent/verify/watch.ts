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
import { Course } from './course.ts';
import { type Description, describeDifference } from './describe.ts';
import { readTimeMs } from './expiry.ts';
import type { Pair } from './key-comparison.ts';
import type { Session } from './session.ts';
import { skipReason } from './skip-reason.ts';

/** An aspect of a key that was found different and is looked at until it is equal once, or has stayed different. */
export type Watch = {
  readonly db: number;
  readonly key: Buffer;
  readonly aspect: Aspect;
  /** What the source held so far. */
  readonly history: History;
  readonly course: Course;
  source: Holding | undefined;
  target: Holding | undefined;
  /** How often each side was found changed. */
  readonly changes: { source: number; target: number };
  /** Looks in a row at which neither side had changed. */
  unchangedLooks: number;
  /** `unseen`: it changes so fast that the looks at it prove nothing. */
  outcome: 'open' | 'equal' | 'different' | 'unseen';
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

/** How many aspects are read in one batch. */
const LOOK_BATCH = 128;
/** The most versions of a value that are remembered, the latest: some seconds of looks without pause. */
const HISTORY_MAX = 4096;

/** What one side held of an aspect. */
class History {
  readonly #identities = new Set<string>();
  readonly #expiries: Holding[] = [];

  add(holding: Holding): void {
    if (holding.identity === 'expiry') {
      this.#expiries.push(holding);
      if (this.#expiries.length > HISTORY_MAX) this.#expiries.shift();
      return;
    }
    this.#identities.delete(holding.identity);
    this.#identities.add(holding.identity);
    if (this.#identities.size <= HISTORY_MAX) return;
    const [oldest] = this.#identities;
    if (oldest !== undefined) this.#identities.delete(oldest);
  }

  has(holding: Holding, toleranceMs: number): boolean {
    if (holding.identity !== 'expiry') return this.#identities.has(holding.identity);
    return this.#expiries.some((held) => isSameHolding(held, holding, toleranceMs));
  }
}

/** Starts to watch an aspect. */
export function createWatch(at: { db: number; key: Buffer }, aspect: Aspect): Watch {
  return {
    ...at,
    aspect,
    history: new History(),
    course: new Course(),
    source: undefined,
    target: undefined,
    changes: { source: 0, target: 0 },
    unchangedLooks: 0,
    outcome: 'open',
    description: undefined,
  };
}

/** Whether a watch has come to nothing yet. */
export function isOpen(watch: Watch): boolean {
  return watch.outcome === 'open';
}

/**
 * Reads each aspect at both sides at the same time and tells the watches; returns how many commands that were for the
 * source.
 *
 * @throws the codes of {@link Session.ask}
 */
export async function look(pair: Pair, watches: readonly Watch[], options: WatchOptions): Promise<number> {
  let asked = 0;
  for (const db of new Set(watches.map((watch) => watch.db))) {
    const group = watches.filter((watch) => watch.db === db);
    for (let from = 0; from < group.length; from += LOOK_BATCH) {
      const batch = group.slice(from, from + LOOK_BATCH);
      const [source, target] = await Promise.all([
        readHoldings(pair.source, db, batch),
        readHoldings(pair.target, db, batch),
      ]);
      asked += source.commands;
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
  return asked;
}

async function readHoldings(
  session: Session,
  db: number,
  watches: readonly Watch[],
): Promise<{ nowMs: number; commands: number; holdings: readonly Holding[] }> {
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
  return { nowMs: readTimeMs(replies[0]), commands: commands.length, holdings };
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
  const isSourceUnchanged = watch.source !== undefined && isSameHolding(watch.source, source, 0);
  const isTargetUnchanged = watch.target !== undefined && isSameHolding(watch.target, target, 0);
  watch.unchangedLooks = isSourceUnchanged && isTargetUnchanged ? watch.unchangedLooks + 1 : 1;
  watch.course.sourceAt(source);
  // Kept while it is the same: objects that are replaced with every look make the heap grow.
  if (!isSourceUnchanged) {
    watch.source = withoutBytes(source);
    watch.history.add(watch.source);
    watch.changes.source += 1;
  }
  if (!isTargetUnchanged) {
    watch.target = withoutBytes(target);
    watch.changes.target += 1;
    watch.course.targetAt(target);
  }
  if (
    watch.history.has(target, sight.ttlToleranceMs) ||
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
