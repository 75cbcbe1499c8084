import type { Reply } from '../redis/reply-parser.ts';
import { toBytes } from './aspect.ts';
import { askBoth, isMoving, isSameBytes, type KeyComparison, suspectType } from './key-comparison.ts';

/** Up to so many elements and bytes a list that moves is followed as a whole. */
const WHOLE_ELEMENTS_MAX = 512;
const WHOLE_BYTES_MAX = 64 * 1024;

/**
 * Compares two lists, element by element.
 *
 * A list that is written to all the time holds something else at each of its places at every look: that one place came
 * right says nothing of the others. When it is small it is then followed as a whole, else compared in pages of which
 * that of the source may have moved on.
 */
export async function compareList(comparison: KeyComparison): Promise<void> {
  if (isMoving(comparison)) return compareMovingList(comparison);
  const { key, found, pageLength } = comparison;
  for (let from = 0; ; from += pageLength) {
    const [[atSource], [atTarget]] = await askBoth(comparison, [
      ['LRANGE', key, from, from + pageLength - 1],
    ]);
    if (!Array.isArray(atSource) || !Array.isArray(atTarget)) return suspectType(comparison);
    const length = Math.max(atSource.length, atTarget.length);
    for (let index = 0; index < length; index++) {
      if (isSameBytes(atSource[index], atTarget[index])) continue;
      found.push({ of: 'list-window', index: from + index });
      comparison.place = { index: 0 };
      return;
    }
    if (length < pageLength) return;
  }
}

async function compareMovingList(comparison: KeyComparison): Promise<void> {
  const { source, db, key, found } = comparison;
  comparison.place = undefined;
  const [length, begin] = await source.ask(db, [
    ['LLEN', key],
    ['LRANGE', key, 0, WHOLE_ELEMENTS_MAX - 1],
  ]);
  if (typeof length !== 'number' || !Array.isArray(begin)) return suspectType(comparison);
  const bytes = begin.reduce<number>((sum, element) => sum + toBytes(element).length, 0);
  if (length <= WHOLE_ELEMENTS_MAX && bytes <= WHOLE_BYTES_MAX) {
    found.push({ of: 'list' });
    return;
  }
  // Twice: in a list that goes round, what differs may leave at one end and come in at the other, behind our back.
  const differsAt = (await findDifference(comparison, length)) ?? (await findDifference(comparison, length));
  if (differsAt !== undefined) comparison.place = { index: 0 };
  // Should the list rest by now, this is what stays different. Else it tells how many there are, and the ends.
  found.push({ of: 'list-window', index: differsAt ?? 0 });
}

/** The index from which on a page of the target is nowhere near at the source. */
async function findDifference(comparison: KeyComparison, length: number): Promise<number | undefined> {
  // Half a page on: what moved over the edge of one page is in the middle of the next.
  const step = Math.ceil(comparison.pageLength / 2);
  for (let from = 0; from === 0 || from + step < length; from += step) {
    const differsAt = await findPage(comparison, from);
    if (differsAt !== undefined) return from + differsAt;
  }
  return undefined;
}

/** How far around its place a page of the target is looked for at the source, in pages; one try after the other. */
const REACHES = [0, 1 / 4, 1, 4];

/** Looks for a page of the target at the source; returns where the two differ when it is nowhere. */
async function findPage(comparison: KeyComparison, from: number): Promise<number | undefined> {
  const { source, target, db, key, pageLength } = comparison;
  let differsAt = 0;
  for (const reach of REACHES) {
    const around = Math.ceil(reach * pageLength);
    const [[atSource], [atTarget]] = await Promise.all([
      source.ask(db, [['LRANGE', key, Math.max(0, from - around), from + pageLength + around - 1]]),
      target.ask(db, [['LRANGE', key, from, from + pageLength - 1]]),
    ]);
    if (!Array.isArray(atSource) || !Array.isArray(atTarget)) return undefined;
    const ends = { isFirst: from === 0, isLast: atTarget.length < pageLength };
    if (isWithin(atTarget, atSource, ends)) return undefined;
    const differs = (element: Reply, index: number) => !isSameBytes(element, atSource[index]);
    if (reach === 0) differsAt = Math.max(0, atTarget.findIndex(differs));
  }
  return differsAt;
}

/**
 * Whether a page, or at least half of it where it reaches over an end, stands in another without a difference in
 * between. Of the first and the last page of a list the source may have taken off more than half.
 */
function isWithin(
  page: readonly Reply[],
  within: readonly Reply[],
  { isFirst, isLast }: { readonly isFirst: boolean; readonly isLast: boolean },
): boolean {
  if (page.length === 0 || within.length === 0) return true;
  const isAnchored = (anchor: number, least: number) =>
    within.some(
      (element, at) => isSameBytes(element, page[anchor]) && overlapAt(page, within, at - anchor) >= least,
    );
  return (
    isAnchored(page.length >> 1, page.length / 2) ||
    (isLast && isAnchored(0, 1)) ||
    (isFirst && isAnchored(page.length - 1, 1))
  );
}

/** How many elements of a page, moved by so many places, stand in another; 0 when one that should does not. */
function overlapAt(page: readonly Reply[], within: readonly Reply[], moved: number): number {
  const first = Math.max(0, -moved);
  const end = Math.min(page.length, within.length - moved);
  for (let index = first; index < end; index++) {
    if (!isSameBytes(page[index], within[index + moved])) return 0;
  }
  return end - first;
}
