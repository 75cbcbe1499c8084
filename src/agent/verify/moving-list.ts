import type { Command } from '../redis/raw-connection.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { readPageLength } from './compare-key.ts';
import type { Pair } from './key-comparison.ts';
import { markSource, waitForMark } from './lag.ts';
import { alignList, nameWrong } from './list-alignment.ts';
import type { Session } from './session.ts';
import type { WatchOptions } from './watch.ts';

/**
 * What following a list came to: `unseen` when it changed too fast, or elsewhere than at its ends, `small` when it is
 * followed as a whole instead.
 */
export type ListOutcome = 'equal' | 'unseen' | 'small' | ListDifference;

/** An element that stays wrong wherever the list carries it. */
export type ListDifference = {
  /** Where it stood at the source when it was looked at last. */
  readonly index: number;
  /** How many elements the source had then. */
  readonly length: number;
};

/** Up to so many elements and bytes a list that moves is followed as a whole. */
const WHOLE_ELEMENTS_MAX = 512;
const WHOLE_BYTES_MAX = 64 * 1024;
/** What is read of a list at once: as much as a server answers within a few milliseconds. */
const PAGE_LENGTH_MAX = 16 * 1024;
/** In pages of fewer elements what came before cannot be found again. */
const PAGE_LENGTH_LEAST = 128;
/** How many elements must lie on one another before they prove anything. */
const OVERLAP_LEAST = 64;
/** How much of a page the next one has to have in common with it. */
const CHAIN_LENGTH = 256;
/** How often a list is gone through, and how long, before it is left as it is. */
const WALKS_MAX = 12;
const WALKS_MAX_MS = 60_000;
/** In so many walks the same element has to be wrong. */
const WRONG_WALKS = 4;
/** How long a page is looked for after the target has everything that the source had. */
const PATIENCE_MS = 1500;
/** The pause between two looks at the target, by what a look costs. */
const PAUSE_PER_MIB_MS = 40;
const PAUSE_MAX_MS = 50;

/** A list while it is followed. */
type List = {
  readonly pair: Pair;
  readonly db: number;
  readonly key: Buffer;
  readonly pageLength: number;
  readonly pauseMs: number;
  readonly options: WatchOptions;
  /** When it is left as it is. */
  readonly untilMs: number;
};

/** A part of the list of one side, as it was at one moment. */
type Part = {
  /** Where it began then. */
  readonly from: number;
  readonly elements: readonly Reply[];
};

/** A part of the list of the source. */
type Page = Part & {
  /** Whether it went to the end of the list. */
  readonly isLast: boolean;
  /**
   * What the target had around it just before. Without a lag every later look shows a list from which the source has
   * taken more, so that what stood at the end of the page would never be seen.
   */
  readonly earlier: Part;
};

/**
 * Proves that a list which moves all the time, because it is pushed to, taken from or turned, is the same at both sides.
 *
 * No read of a place is of use there: what stood at it is somewhere else a moment later, so that a wrong element hides
 * behind the reader's back. So the list of the source is read in pages of which each holds the end of the one before,
 * and each page is looked for at the target, wherever it has moved to, until all of it was seen there, element after
 * element. What came in at the head meanwhile is read at the end.
 *
 * An element is different when it is found in {@link WRONG_WALKS} walks, each after the target had everything that the
 * source had, between the same neighbours.
 *
 * @throws sync-behind, and the codes of {@link Session.ask}
 */
export async function followList(
  pair: Pair,
  { db, key }: { readonly db: number; readonly key: Buffer },
  options: WatchOptions,
): Promise<ListOutcome> {
  const times = new Map<string, number>();
  const untilMs = options.clock.nowMs() + WALKS_MAX_MS;
  for (let count = 0; count < WALKS_MAX && options.clock.nowMs() < untilMs; count++) {
    const size = await readSize(pair.source, { db, key });
    if (size === undefined) return 'small';
    if (size.pageLength < PAGE_LENGTH_LEAST) return 'unseen';
    const outcome = await walk({ pair, db, key, options, untilMs, ...size });
    if (outcome === 'equal') return 'equal';
    if (outcome === 'unseen') continue;
    const isAgain = (times.get(outcome.name) ?? 0) + 1;
    times.set(outcome.name, isAgain);
    if (isAgain >= WRONG_WALKS) return { index: outcome.index, length: size.length };
  }
  return 'unseen';
}

/** Whether a list is so small that all of it can be looked at at once, again and again. */
export async function isFollowedWhole(
  source: Session,
  at: { readonly db: number; readonly key: Buffer },
): Promise<boolean> {
  const { length, begin } = await readBegin(source, at);
  // Of another type by now, or gone: whoever compares it anew finds that.
  return length <= WHOLE_ELEMENTS_MAX && bytesOf(begin) <= WHOLE_BYTES_MAX;
}

async function readBegin(source: Session, { db, key }: { db: number; key: Buffer }) {
  const [length, begin] = await source.ask(db, [
    ['LLEN', key],
    ['LRANGE', key, 0, WHOLE_ELEMENTS_MAX - 1],
  ]);
  return typeof length === 'number' && Array.isArray(begin) ? { length, begin } : { length: 0, begin: [] };
}

/** Undefined when the list is small, or no longer there. */
async function readSize(source: Session, { db, key }: { db: number; key: Buffer }) {
  const { length, begin } = await readBegin(source, { db, key });
  const bytes = bytesOf(begin);
  if (begin.length === 0 || (length <= WHOLE_ELEMENTS_MAX && bytes <= WHOLE_BYTES_MAX)) return undefined;
  const at = { db, key, type: 'list', lengthMax: PAGE_LENGTH_MAX };
  const pageLength = await readPageLength(source, at);
  const pageBytes = (bytes / begin.length) * Math.min(pageLength, length);
  const pauseMs = Math.min(PAUSE_MAX_MS, Math.ceil((pageBytes / 1024 ** 2) * PAUSE_PER_MIB_MS));
  return { length, pageLength, pauseMs };
}

function bytesOf(elements: readonly Reply[]): number {
  return elements.reduce<number>((sum, item) => sum + (Buffer.isBuffer(item) ? item.length : 0), 0);
}

type Wrong = { readonly name: string; readonly index: number };

/** Goes through the list once, and through what came in at its head meanwhile. */
async function walk(list: List): Promise<'equal' | 'unseen' | Wrong> {
  const first = await readPage(list, 0, list.pageLength);
  for (let page = first, head = false; ; ) {
    if (page === undefined || page.elements.length === 0) return 'unseen';
    if (list.options.clock.nowMs() >= list.untilMs) return 'unseen';
    const seen = await seePage(list, page);
    if (seen !== 'seen') return seen;
    if (page === first && page.isLast) return 'equal';
    if (head && first !== undefined && holdsBeginOf(page, first)) return 'equal';
    if (page.isLast && head) return 'unseen';
    if (page.isLast) {
      head = true;
      page = await readPage(list, 0, list.pageLength);
      if (page !== undefined && first !== undefined && isBegunBy(page, first)) return 'equal';
    } else {
      page = await readNext(list, page);
    }
  }
}

/** Whether nothing has come in before what was the head of the list. */
function isBegunBy(page: Page, first: Page): boolean {
  const laid = layCleanly(first.elements, page.elements, 0);
  return laid !== undefined && laid.moved <= 0;
}

function holdsBeginOf(page: Page, first: Page): boolean {
  return layCleanly(first.elements, page.elements, -page.from)?.begin === 0;
}

function layCleanly(elements: readonly Reply[], other: readonly Reply[], expected: number) {
  const laid = alignList(elements, other, expected);
  if (laid === undefined) return undefined;
  const overlap = laid.end - laid.begin;
  return laid.matched === overlap && overlap >= Math.min(OVERLAP_LEAST, elements.length) ? laid : undefined;
}

async function readPage(list: List, from: number, count: number): Promise<Page | undefined> {
  const earlier = await readAround(list, from, count);
  const elements = await readRange(list, list.pair.source, from, count);
  if (elements === undefined || earlier === undefined) return undefined;
  return { from, elements, isLast: elements.length < count, earlier };
}

/** What the target has at a place, and half a page on either side of it. */
async function readAround(list: List, at: number, count: number): Promise<Part | undefined> {
  const around = Math.ceil(list.pageLength / 2);
  const from = Math.max(0, at - around);
  const elements = await readRange(list, list.pair.target, from, at - from + count + around);
  return elements === undefined ? undefined : { from, elements };
}

/** How far before and behind its place the end of a page is looked for, in pages; one try after the other. */
const CHAIN_REACHES = [1 / 4, 2];

/** The page that begins with the end of the one before, wherever that is by now. */
async function readNext(list: List, before: Page): Promise<Page | undefined> {
  const chain = before.elements.slice(-Math.min(CHAIN_LENGTH, list.pageLength >> 2));
  const place = before.from + before.elements.length - chain.length;
  for (const reach of CHAIN_REACHES) {
    const around = Math.ceil(reach * list.pageLength);
    const from = Math.max(0, place - around);
    const window = await readPage(list, from, place - from + around + list.pageLength);
    if (window === undefined) return undefined;
    const laid = layCleanly(chain, window.elements, place - from);
    if (laid === undefined || laid.begin > 0 || laid.end < chain.length) continue;
    const end = laid.moved + list.pageLength;
    const elements = window.elements.slice(laid.moved, end);
    const isLast = window.isLast && end >= window.elements.length;
    // Without progress there would be no end.
    if (!isLast && elements.length <= chain.length) continue;
    return { from: from + laid.moved, elements, isLast, earlier: window.earlier };
  }
  return undefined;
}

async function readRange(
  { db, key }: List,
  session: Session,
  from: number,
  count: number,
): Promise<readonly Reply[] | undefined> {
  const command: Command = ['LRANGE', key, from, from + count - 1];
  const [reply] = await session.ask(db, [command]);
  return Array.isArray(reply) ? reply : undefined;
}

/**
 * Looks at the target until each element of the page has been seen there, in its place between its neighbours. A target
 * that lags comes by the moment of the page, one part of it before and one behind.
 */
async function seePage(list: List, page: Page): Promise<'seen' | 'unseen' | Wrong> {
  const { clock, signal } = list.options;
  const unseen = new Uint8Array(page.elements.length).fill(1);
  const lookNow = async () => lookFor(page, await readAround(list, page.from, list.pageLength), unseen);
  if (lookFor(page, page.earlier, unseen) === 'seen') return 'seen';
  if ((await lookNow()) === 'seen') return 'seen';
  const mark = await markSource(list.pair, clock);
  const leaving = new AbortController();
  let arrivedAtMs = Number.POSITIVE_INFINITY;
  const waiting = { clock, signal: AbortSignal.any([signal, leaving.signal]) };
  const arrival = waitForMark(list.pair, mark, waiting).then(() => {
    arrivedAtMs = clock.nowMs();
  });
  let failure: unknown;
  arrival.catch((error: unknown) => {
    failure = error;
  });
  try {
    let wrong: Wrong | undefined;
    while (clock.nowMs() - arrivedAtMs < PATIENCE_MS) {
      await clock.sleep(list.pauseMs, signal);
      if (failure !== undefined) throw failure;
      const hasArrived = arrivedAtMs <= clock.nowMs();
      const seen = await lookNow();
      if (seen === 'seen') return 'seen';
      // Before that it may be on its way.
      if (hasArrived && seen !== 'unseen') wrong = seen;
    }
    return wrong ?? 'unseen';
  } finally {
    leaving.abort();
  }
}

function lookFor(page: Page, other: Part | undefined, unseen: Uint8Array): 'seen' | 'unseen' | Wrong {
  if (other === undefined) return 'unseen';
  const laid = alignList(page.elements, other.elements, page.from - other.from);
  if (laid === undefined) return 'unseen';
  const overlap = laid.end - laid.begin;
  if (overlap < Math.min(OVERLAP_LEAST, page.elements.length)) return 'unseen';
  if (laid.matched === overlap) {
    unseen.fill(0, laid.begin, laid.end);
    return unseen.includes(1) ? 'unseen' : 'seen';
  }
  const name = nameWrong(page.elements, other.elements, laid);
  return name === undefined ? 'unseen' : { name, index: page.from + (laid.wrongAt ?? 0) };
}
