import type { DifferenceKind } from '../../contract/reports.ts';
import type { Command } from '../redis/raw-connection.ts';
import { compareKey } from './compare-key.ts';
import { ASPECTS_PER_KEY_MAX, type Pair } from './key-comparison.ts';
import { forEachConcurrently } from './pool.ts';
import { skipReason } from './skip-reason.ts';
import { batchesOf, type Suspect } from './suspects.ts';
import { createWatch, settleStanding, settleWatches, type Watch, type WatchOptions } from './watch.ts';

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
/** How often a key is compared anew when what differed came right but the rest was not seen. */
const PASSES_MAX = 5;
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
  let open = suspects;
  for (let pass = 1; open.length > 0; pass++) {
    const cases = await openCases(pair, open);
    await settleWatches(
      pair,
      cases.flatMap(({ watches }) => watches),
      options,
    );
    const again: Suspect[] = [];
    for (const item of cases) {
      const differences = differencesOf(item);
      // Whoever came right in every pass follows the source, however fast it moves.
      if (differences.length > 0 || item.isComplete || pass === PASSES_MAX) {
        verdicts.push({ ...item.suspect, type: item.type, differences, skipped: item.skipped });
      } else {
        again.push(item.suspect);
      }
    }
    open = again;
  }
  return verdicts;
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
  for (const group of groupsOf(await openCases(pair, suspects))) {
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

function isSettled({ watches, isComplete }: Case): boolean {
  if (watches.some(({ outcome }) => outcome === 'open')) return false;
  return isComplete || watches.some(({ outcome }) => outcome === 'different');
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

type Case = {
  readonly suspect: Suspect;
  readonly type: string;
  readonly isComplete: boolean;
  readonly skipped: readonly string[];
  readonly watches: readonly Watch[];
};

function verdictOf(item: Case): Verdict {
  return { ...item.suspect, type: item.type, differences: differencesOf(item), skipped: item.skipped };
}

/** Keys that are missing, extra or of another type are told by their types alone, many at a time. */
async function openCases(pair: Pair, suspects: readonly Suspect[]): Promise<readonly Case[]> {
  const cases: Case[] = [];
  const sameType: Suspect[] = [];
  await forEachConcurrently(batchesOf(suspects, TYPES_AT_ONCE), BATCHES_AT_ONCE, async ({ db, batch }) => {
    const commands = batch.map(({ key }): Command => ['TYPE', key]);
    const [atSource, atTarget] = await Promise.all([
      pair.source.ask(db, commands),
      pair.target.ask(db, commands),
    ]);
    batch.forEach((suspect, index) => {
      const types = { source: String(atSource[index]), target: String(atTarget[index]) };
      if (types.source === types.target || skipReason(types) !== undefined) sameType.push(suspect);
      else cases.push(caseOfTypes(suspect, types));
    });
  });
  await forEachConcurrently(sameType, COMPARISONS_AT_ONCE, async (suspect) => {
    const { type, aspects, isComplete, skipped } = await compareKey(pair, suspect.db, suspect.key);
    const watches = aspects.map((aspect) => createWatch(suspect, aspect));
    cases.push({ suspect, type, isComplete, skipped, watches });
  });
  return cases;
}

function caseOfTypes(suspect: Suspect, { source, target }: { source: string; target: string }): Case {
  return {
    suspect,
    type: source === 'none' ? target : source,
    isComplete: false,
    skipped: [],
    watches: [createWatch(suspect, { of: 'type' })],
  };
}

/** One difference for each kind that a key has, the places summed up. */
function differencesOf({ watches }: Case): Verdict['differences'] {
  const detailsByKind = new Map<DifferenceKind, string[]>();
  for (const { outcome, description } of watches) {
    if (outcome !== 'different' || description === undefined) continue;
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
