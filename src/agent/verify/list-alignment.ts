import { createHash } from 'node:crypto';
import type { Reply } from '../redis/reply-parser.ts';
import { isSameBytes } from './key-comparison.ts';

/** How a page of a list stands in a part of it that was read at the other side. */
export type Alignment = {
  /** What stands at `index` of the page stands at `index + moved` of the other. */
  readonly moved: number;
  /** The part of the page that the other reaches: from `begin` on, up to `end`. */
  readonly begin: number;
  readonly end: number;
  /** How many elements of that part are the same. */
  readonly matched: number;
  /** The first element of that part that is not, though what stands before or behind it is. */
  readonly wrongAt: number | undefined;
};

/** Where of a page elements are taken to be looked for in the other, in parts of its length. */
const ANCHORS = [1 / 2, 1 / 4, 3 / 4, 0, 1];
/** How often the same element is found, nearest first: in a list of few different elements it stands everywhere. */
const FINDS_PER_ANCHOR_MAX = 16;

/**
 * Finds how far a list has moved between two reads of it: the way of laying a page on the other under which the most
 * elements are the same. `expected` is what `moved` would be if it had not.
 *
 * Undefined when no element that was looked for is in the other.
 */
export function alignList(
  page: readonly Reply[],
  other: readonly Reply[],
  expected: number,
): Alignment | undefined {
  const tried = new Set<number>();
  let best: Alignment | undefined;
  for (const part of ANCHORS) {
    const anchor = Math.round(part * (page.length - 1));
    for (const moved of findsOf(page[anchor], other, { near: anchor + expected, anchor })) {
      if (tried.has(moved)) continue;
      tried.add(moved);
      const alignment = layOn(page, other, moved);
      if (best === undefined || alignment.matched > best.matched) best = alignment;
      if (best.matched === page.length) return best;
    }
  }
  return best;
}

function findsOf(
  element: Reply | undefined,
  other: readonly Reply[],
  { near, anchor }: { near: number; anchor: number },
): readonly number[] {
  const finds: number[] = [];
  const farthest = Math.max(near, other.length - near);
  const tryAt = (at: number) => {
    if (at >= 0 && at < other.length && isSameBytes(element, other[at])) finds.push(at - anchor);
  };
  for (let distance = 0; distance <= farthest && finds.length < FINDS_PER_ANCHOR_MAX; distance++) {
    tryAt(near + distance);
    if (distance > 0) tryAt(near - distance);
  }
  return finds;
}

function layOn(page: readonly Reply[], other: readonly Reply[], moved: number): Alignment {
  const begin = Math.max(0, -moved);
  const end = Math.min(page.length, other.length - moved);
  let matched = 0;
  let wrongAt: number | undefined;
  let wasSame = false;
  for (let index = begin; index < end; index++) {
    const isSame = isSameBytes(page[index], other[index + moved]);
    if (isSame) matched += 1;
    if (wrongAt === undefined && isSame !== wasSame && index > begin) wrongAt = isSame ? index - 1 : index;
    wasSame = isSame;
  }
  return { moved, begin, end, matched, wrongAt };
}

/** How many elements before and behind a wrong one tell which one it is. */
const CONTEXT = 16;

/**
 * Names a wrong element by what stands around it at the other side, so that it is known again wherever the list has
 * carried it. Undefined when what is before it and what is behind it differ too, or when just that stands elsewhere in
 * the page: then it may be a part of the list that has moved.
 */
export function nameWrong(
  page: readonly Reply[],
  other: readonly Reply[],
  { moved, begin, end, wrongAt }: Alignment,
): string | undefined {
  if (wrongAt === undefined) return undefined;
  const [from, to] = [wrongAt - CONTEXT, wrongAt + 1 + CONTEXT];
  const isSameBefore = from >= begin && isAt(page.slice(from, wrongAt), other, from + moved);
  const isSameBehind = to <= end && isAt(page.slice(wrongAt + 1, to), other, wrongAt + 1 + moved);
  if (!isSameBefore && !isSameBehind) return undefined;
  const around = other.slice(
    (isSameBefore ? from : wrongAt) + moved,
    (isSameBehind ? to : wrongAt + 1) + moved,
  );
  return isIn(around, page) ? undefined : digestOf(around);
}

function isAt(elements: readonly Reply[], other: readonly Reply[], at: number): boolean {
  return elements.every((element, index) => isSameBytes(element, other[at + index]));
}

function isIn(elements: readonly Reply[], page: readonly Reply[]): boolean {
  for (let at = 0; at + elements.length <= page.length; at++) {
    if (isSameBytes(elements[0], page[at]) && isAt(elements, page, at)) return true;
  }
  return false;
}

function digestOf(elements: readonly Reply[]): string {
  const hash = createHash('sha256');
  for (const element of elements) {
    const bytes = Buffer.isBuffer(element) ? element : Buffer.from(String(element));
    hash.update(`${bytes.length}\n`).update(bytes);
  }
  return hash.digest('base64');
}
