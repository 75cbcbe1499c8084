import type { DifferenceKind } from '../../contract/reports.ts';
import { MOVING } from '../../contract/skipped.ts';
import type { Command } from '../redis/raw-connection.ts';
import { compareKey, type Rest } from './compare-key.ts';
import { ASPECTS_PER_KEY_MAX, type Pair } from './key-comparison.ts';
import { followList, type ListDifference } from './moving-list.ts';
import { forEachConcurrently } from './pool.ts';
import { settleStanding, settleWatches } from './settle-watches.ts';
import { skipReason } from './skip-reason.ts';
import { batchesOf, type Suspect } from './suspects.ts';
import { createWatch, type Watch, type WatchOptions } from './watch.ts';

/** What a suspect turned out to be; no differences: it was in flight, or expired at one side first. */
export type Verdict = Suspect & {
  readonly type: string;
  readonly differences: readonly { readonly kind: DifferenceKind; readonly detail: string }[];
  /** Reasons for which it, or something of it, is neither equal nor different. */
  readonly skipped: readonly string[];
};

/** How many keys are compared side by side: enough to fill the connections, few enough to bound the pages in memory. */
const COMPARISONS_AT_ONCE = 24;
/** How many types are asked for in one batch, and how many batches are on their way. */
const TYPES_AT_ONCE = 500;
const BATCHES_AT_ONCE = 3;
/** How many aspects of keys that stand still are followed together. */
const WATCHES_AT_ONCE = 8192;
/** How often a key that comes and goes is compared anew before it counts as following the source. */
const PASSES_MAX = 5;
/** How many keys that are compared anew are followed together: each may have up to 256 aspects. */
const MOVING_AT_ONCE = 200;
/** How often the comparison of a value goes on from where all that differed has come right. */
const PLACES_MAX = 20;
/** How long values that never stand still are followed, all in all, for as long as that proves nothing. */
const HOT_MAX_MS = 45_000;
/** How many lists are followed side by side: each has pages of both sides in memory. */
const LISTS_AT_ONCE = 2;
/** How many places of a difference are told; the rest is counted. */
const DETAILS_MAX = 3;

/**
 * Compares suspects again, in full, and follows what differs until each is proven in flight or different.
 *
 * @throws sync-behind, and the codes of {@link Session.ask}
 */
export async function recheckSuspects(
  pair: Pair,
  suspects: readonly Suspect[],
  options: WatchOptions,
): Promise<readonly Verdict[]> {
  const verdicts: Verdict[] = [];
  const hotUntilMs = options.clock.nowMs() + HOT_MAX_MS;
  let open: readonly Suspicion[] = suspects.map(firstSuspicion);
  for (let atOnce = open.length; open.length > 0; atOnce = MOVING_AT_ONCE) {
    const cases = await openCases(pair, open.slice(0, atOnce));
    await settleWatches(
      pair,
      cases.flatMap(({ watches }) => watches),
      { ...options, hotUntilMs },
    );
    const again: Suspicion[] = [];
    await forEachConcurrently(cases, LISTS_AT_ONCE, async (item) => {
      const { suspect, pass, rest } = item;
      const verdict = await conclude(pair, item, options);
      if (verdict !== undefined) verdicts.push(verdict);
      else again.push({ suspect, pass: pass + 1, rest });
    });
    open = [...open.slice(atOnce), ...again];
  }
  return verdicts;
}

/** Undefined when the key has to be compared further. */
async function conclude(pair: Pair, item: Case, options: WatchOptions): Promise<Verdict | undefined> {
  const { suspect, pass, rest } = item;
  const verdict = verdictOf(item);
  if (verdict.differences.length > 0 || rest === undefined) return verdict;
  if (isListPlace(rest)) {
    const outcome = await followList(pair, suspect, options);
    if (outcome === 'equal') return { ...verdict, skipped: reasonsOf(item) };
    if (typeof outcome === 'object')
      return { ...verdict, skipped: [], differences: [describeElement(outcome)] };
  }
  return pass >= passesFor(rest) ? verdict : undefined;
}

function isListPlace({ place }: Rest): boolean {
  return place !== undefined && 'index' in place;
}

function describeElement({ index, length }: ListDifference): Verdict['differences'][number] {
  const detail = `keeps changing; an element that was at index ${index} of ${length} at the source is another at the target`;
  return { kind: 'value', detail };
}

/**
 * Tells which of many suspects are different without a doubt, in one short burst, after the target had all the time
 * that {@link recheckSuspects} gives it: those that stand still at both sides. Whoever moves, or came right in part, is
 * left to it.
 *
 * @throws sync-behind, and the codes of {@link Session.ask}
 */
export async function recheckStanding(
  pair: Pair,
  suspects: readonly Suspect[],
  options: WatchOptions,
): Promise<{ readonly verdicts: readonly Verdict[]; readonly moving: readonly Suspect[] }> {
  const verdicts: Verdict[] = [];
  const moving: Suspect[] = [];
  for (const group of groupsOf(await openCases(pair, suspects.map(firstSuspicion)))) {
    await settleStanding(
      pair,
      group.flatMap(({ watches }) => watches),
      options,
    );
    for (const item of group) {
      if (isSettled(item)) verdicts.push(verdictOf(item));
      else moving.push(item.suspect);
    }
  }
  return { verdicts, moving };
}

function isSettled({ watches, rest }: Case): boolean {
  if (watches.some(({ outcome }) => outcome === 'open')) return false;
  return rest === undefined || watches.some(({ outcome }) => outcome === 'different');
}

/** Keys of which many aspects differ are followed fewer at a time, since each aspect has a history. */
function* groupsOf(cases: readonly Case[]): Generator<readonly Case[]> {
  let group: Case[] = [];
  let watches = 0;
  for (const item of cases) {
    group.push(item);
    watches += item.watches.length;
    if (watches < WATCHES_AT_ONCE) continue;
    yield group;
    group = [];
    watches = 0;
  }
  if (group.length > 0) yield group;
}

function passesFor(rest: Rest): number {
  return rest.place === undefined || isListPlace(rest) ? PASSES_MAX : PLACES_MAX;
}

/** A suspect, and what of it is yet to be compared; undefined: all, for the first time. */
type Suspicion = {
  readonly suspect: Suspect;
  /** How often it has been compared when this is done, from 1 on. */
  readonly pass: number;
  readonly rest: Rest | undefined;
};

function firstSuspicion(suspect: Suspect): Suspicion {
  return { suspect, pass: 1, rest: undefined };
}

type Case = Suspicion & {
  readonly type: string;
  readonly skipped: readonly string[];
  readonly watches: readonly Watch[];
};

function verdictOf(item: Case): Verdict {
  const { suspect, type, rest } = item;
  const differences = differencesOf(item);
  const isUnseen = differences.length === 0 && rest?.place !== undefined;
  const reasons = reasonsOf(item);
  return { ...suspect, type, differences, skipped: isUnseen ? [...new Set([...reasons, MOVING])] : reasons };
}

function reasonsOf(item: Case): readonly string[] {
  return [...new Set([...item.skipped, ...skippedOf(item)])];
}

/** Keys that are missing, extra or of another type are told by their types alone, many at a time. */
async function openCases(pair: Pair, suspicions: readonly Suspicion[]): Promise<readonly Case[]> {
  const cases: Case[] = [];
  const sameType: Suspicion[] = [];
  const bySuspect = new Map(suspicions.map((suspicion) => [suspicion.suspect, suspicion]));
  const batches = batchesOf(bySuspect.keys(), TYPES_AT_ONCE);
  await forEachConcurrently(batches, BATCHES_AT_ONCE, async ({ db, batch }) => {
    const commands = batch.map(({ key }): Command => ['TYPE', key]);
    const [atSource, atTarget] = await Promise.all([
      pair.source.ask(db, commands),
      pair.target.ask(db, commands),
    ]);
    batch.forEach((suspect, index) => {
      const suspicion = bySuspect.get(suspect) ?? firstSuspicion(suspect);
      const types = { source: String(atSource[index]), target: String(atTarget[index]) };
      if (types.source === types.target || skipReason(types) !== undefined) sameType.push(suspicion);
      else cases.push(caseOfTypes(suspicion, types));
    });
  });
  await forEachConcurrently(sameType, COMPARISONS_AT_ONCE, async ({ suspect, pass, rest: before }) => {
    const { type, aspects, rest, skipped } = await compareKey(pair, suspect, before);
    const watches = aspects.map((aspect) => createWatch(suspect, aspect));
    cases.push({ suspect, pass, type, rest, skipped, watches });
  });
  return cases;
}

function caseOfTypes(
  { suspect, pass }: Suspicion,
  { source, target }: { source: string; target: string },
): Case {
  return {
    suspect,
    pass,
    type: source === 'none' ? target : source,
    rest: { place: undefined },
    skipped: [],
    watches: [createWatch(suspect, { of: 'type' })],
  };
}

/** Reasons for what stayed different and does not count, or was not seen often enough to tell. */
function skippedOf({ watches }: Case): readonly string[] {
  return watches.flatMap(({ outcome, description }) => {
    if (outcome === 'unseen') return [MOVING];
    return outcome === 'different' && description?.skipReason !== undefined ? [description.skipReason] : [];
  });
}

/** One difference for each kind that a key has, the places summed up. */
function differencesOf({ watches }: Case): Verdict['differences'] {
  const detailsByKind = new Map<DifferenceKind, string[]>();
  for (const { outcome, description } of watches) {
    if (outcome !== 'different' || description === undefined || description.skipReason !== undefined)
      continue;
    const details = detailsByKind.get(description.kind);
    if (details === undefined) detailsByKind.set(description.kind, [description.detail]);
    else details.push(description.detail);
  }
  const isCut = watches.length >= ASPECTS_PER_KEY_MAX;
  return Array.from(detailsByKind, ([kind, details]) => {
    const more = details.length - DETAILS_MAX;
    const rest = more > 0 ? `; and ${isCut ? 'at least ' : ''}${more} more` : '';
    return { kind, detail: `${details.slice(0, DETAILS_MAX).join('; ')}${rest}` };
  });
}
