import type { Reply } from '../redis/reply-parser.ts';
import {
  askBoth,
  isMoving,
  isSameBytes,
  type KeyComparison,
  PAGE_BYTES,
  suspectType,
} from './key-comparison.ts';

/** Up to so many elements, and bytes as far as they are known, a list that moves is followed as a whole. */
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
  const { source, db, key, found, pageLength, place } = comparison;
  comparison.place = undefined;
  const [length] = await source.ask(db, [['LLEN', key]]);
  if (typeof length !== 'number') return suspectType(comparison);
  if (length <= WHOLE_ELEMENTS_MAX && (length * PAGE_BYTES) / pageLength <= WHOLE_BYTES_MAX) {
    found.push({ of: 'list' });
    return;
  }
  const begin = place !== undefined && 'index' in place ? place.index : 0;
  // Half a page on: what moved over the edge of one page is in the middle of the next.
  for (let from = begin; from < length; from += Math.ceil(pageLength / 2)) {
    const differsAt = await findPage(comparison, from);
    if (differsAt === undefined) continue;
    // Should the list rest by now, this is what stays different.
    found.push({ of: 'list-window', index: from + differsAt });
    comparison.place = { index: from };
    return;
  }
  // How many there are, and the ends.
  found.push({ of: 'list-window', index: 0 });
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
    if (!Array.isArray(atSource) || !Array.isArray(atTarget) || isWithin(atTarget, atSource))
      return undefined;
    const differs = (element: Reply, index: number) => !isSameBytes(element, atSource[index]);
    if (reach === 0) differsAt = Math.max(0, atTarget.findIndex(differs));
  }
  return differsAt;
}

/**
 * Whether one page, or at least half of it where it reaches over an end, stands in another without a difference in
 * between. An empty one does: the list has become shorter.
 */
function isWithin(page: readonly Reply[], within: readonly Reply[]): boolean {
  if (page.length === 0 || within.length === 0) return true;
  const middle = page.length >> 1;
  return within.some((element, at) => {
    if (!isSameBytes(element, page[middle])) return false;
    const first = Math.max(0, middle - at);
    const end = Math.min(page.length, within.length - at + middle);
    if (end - first < page.length / 2) return false;
    for (let index = first; index < end; index++) {
      if (!isSameBytes(page[index], within[index + at - middle])) return false;
    }
    return true;
  });
}
