import type { DifferenceKind } from '../../contract/reports.ts';
import { compareKey } from './compare-key.ts';
import { ASPECTS_PER_KEY_MAX, type Pair } from './key-comparison.ts';
import { forEachConcurrently } from './pool.ts';
import { createWatch, settleWatches, type Watch, type WatchOptions } from './watch.ts';

/** A key that was not equal at first sight. */
export type Suspect = { readonly db: number; readonly key: Buffer };

/** What a suspect turned out to be; no differences: it was in flight, or expired at one side first. */
export type Verdict = Suspect & {
  readonly type: string;
  readonly differences: readonly { readonly kind: DifferenceKind; readonly detail: string }[];
  /** Reasons for which it, or something of it, is neither equal nor different. */
  readonly skipped: readonly string[];
};

/** How many keys are compared side by side: enough to fill the connections, few enough to bound the pages in memory. */
const COMPARISONS_AT_ONCE = 24;
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

type Case = {
  readonly suspect: Suspect;
  readonly type: string;
  readonly isComplete: boolean;
  readonly skipped: readonly string[];
  readonly watches: readonly Watch[];
};

async function openCases(pair: Pair, suspects: readonly Suspect[]): Promise<readonly Case[]> {
  const cases: Case[] = [];
  await forEachConcurrently(suspects, COMPARISONS_AT_ONCE, async (suspect) => {
    const { type, aspects, isComplete, skipped } = await compareKey(pair, suspect.db, suspect.key);
    const watches = aspects.map((aspect) => createWatch(suspect, aspect));
    cases.push({ suspect, type, isComplete, skipped, watches });
  });
  return cases;
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
