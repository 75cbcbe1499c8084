import { isSameReply } from './aspect.ts';
import { askBoth, isMoving, isSameBytes, type KeyComparison, suspectType } from './key-comparison.ts';
import { isFollowedWhole } from './moving-list.ts';

/** So much of the head of a list tells whether it has moved while it was read. */
const HEAD_LENGTH = 16;

/**
 * Compares two lists, element by element.
 *
 * A list that is written to all the time holds something else at each of its places at every look: that one place came
 * right says nothing of the others, and that every page was the same nothing when the list has moved meanwhile. When it
 * is small it is then followed as a whole; else `place` tells that it is left to `followList`.
 */
export async function compareList(comparison: KeyComparison): Promise<void> {
  const { source, db, key, found, pageLength } = comparison;
  comparison.place = undefined;
  if (isMoving(comparison) && (await isFollowedWhole(source, { db, key }))) {
    found.push({ of: 'list' });
    return;
  }
  const [head] = await source.ask(db, [['LRANGE', key, 0, HEAD_LENGTH - 1]]);
  for (let from = 0; ; from += pageLength) {
    const [[atSource], [atTarget]] = await askBoth(comparison, [
      ['LRANGE', key, from, from + pageLength - 1],
    ]);
    if (!Array.isArray(atSource) || !Array.isArray(atTarget)) return suspectType(comparison);
    const length = Math.max(atSource.length, atTarget.length);
    for (let index = 0; index < length; index++) {
      if (!isSameBytes(atSource[index], atTarget[index])) return leave(comparison, from + index);
    }
    if (length < pageLength) break;
  }
  const [headAfter] = await source.ask(db, [['LRANGE', key, 0, HEAD_LENGTH - 1]]);
  if (!isSameReply(head ?? null, headAfter ?? null)) leave(comparison, 0);
}

/** Should the list rest by now, the window is what stays different. Else it tells how many there are, and the ends. */
function leave(comparison: KeyComparison, index: number): void {
  comparison.found.push({ of: 'list-window', index });
  comparison.place = { index: 0 };
}
