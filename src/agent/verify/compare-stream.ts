import { READ_AGAIN } from '../../contract/skipped.ts';
import type { Command } from '../redis/raw-connection.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { type Aspect, isReadAgain, isSameReply, readFields, toBytes } from './aspect.ts';
import { askBoth, isFull, type KeyComparison, suspectType } from './key-comparison.ts';

/** Fields of XINFO STREAM that travel with the stream; the last two are known from Redis 7.0 on. */
const STREAM_FIELDS = ['last-generated-id', 'entries-added', 'max-deleted-entry-id'];
/**
 * Fields of XINFO GROUPS that travel. `entries-read` does not: Redis 7.0 and 7.2 keep it from their replicas, so that
 * even a native replica differs as soon as a group is read.
 */
const GROUP_FIELDS = ['last-delivered-id'];
/** Pending entries are small, whatever the entries of the stream are. */
const PENDING_PAGE_LENGTH = 1000;

/**
 * Compares two streams: entries, ids, groups and pending entries with their consumers.
 *
 * What a server counts for itself is left out: idle times, lag, the layout of the radix tree. So is a consumer without
 * pending entries: Redis 7.2 to 8.0 makes one for a reader that waits, and does not replicate it.
 */
export async function compareStream(comparison: KeyComparison): Promise<void> {
  const { key } = comparison;
  const [atSource, atTarget] = await askBoth(comparison, [
    ['XINFO', 'STREAM', key],
    ['XINFO', 'GROUPS', key],
  ]);
  if (![...atSource, ...atTarget].every(Array.isArray)) return suspectType(comparison);
  addFieldAspects(
    comparison,
    { names: STREAM_FIELDS, atSource: atSource[0], atTarget: atTarget[0] },
    (field) => ({
      of: 'stream-info',
      field,
    }),
  );
  // Entries that come meanwhile are in flight: without an end a fast writer would keep us here.
  const lastId = [lastIdOf(atSource[0]), lastIdOf(atTarget[0])].sort(compareIds).at(-1) ?? '+';
  await comparePages(comparison, {
    count: comparison.pageLength,
    command: (from, count) => ['XRANGE', key, from, lastId, 'COUNT', count],
    contentOf: (entry) => entry,
    aspect: (id) => ({ of: 'stream-entry', id }),
  });
  const groupsAtSource = namedMaps(atSource[1]);
  const groupsAtTarget = namedMaps(atTarget[1]);
  for (const [name, group] of unionOf(groupsAtSource, groupsAtTarget)) {
    if (isFull(comparison)) return;
    await compareGroup(comparison, {
      group,
      lastId,
      atSource: groupsAtSource.get(name),
      atTarget: groupsAtTarget.get(name),
    });
  }
}

type Named = { readonly name: Buffer; readonly fields: ReadonlyMap<string, Reply> };

type GroupPair = {
  readonly group: Buffer;
  readonly lastId: string;
  readonly atSource: Named | undefined;
  readonly atTarget: Named | undefined;
};

async function compareGroup(
  comparison: KeyComparison,
  { group, lastId, atSource, atTarget }: GroupPair,
): Promise<void> {
  const { key, found } = comparison;
  if (atSource === undefined || atTarget === undefined) {
    found.push({ of: 'stream-group', group, field: 'name' });
    return;
  }
  for (const field of GROUP_FIELDS) {
    const a = atSource.fields.get(field) ?? null;
    const b = atTarget.fields.get(field) ?? null;
    if (a !== null && b !== null && !isSameReply(a, b)) found.push({ of: 'stream-group', group, field });
  }
  await comparePages(comparison, {
    count: PENDING_PAGE_LENGTH,
    command: (from, count) => ['XPENDING', key, group, from, lastId, count],
    contentOf: (entry) => (Array.isArray(entry) ? [entry[1] ?? null, entry[3] ?? null] : null),
    aspect: (id) => ({ of: 'stream-pending', group, id }),
    isLeftOut: (left, right) => {
      const isLeftOut = isReadAgain(deliveryOf(left), deliveryOf(right));
      if (isLeftOut) comparison.skipped.add(READ_AGAIN);
      return isLeftOut;
    },
  });
}

/** `[id, consumer, idle, deliveries]`, an entry of XPENDING. */
function deliveryOf(entry: Reply): { consumer: string; deliveries: number } {
  const [, consumer, , deliveries] = Array.isArray(entry) ? entry : [];
  return { consumer: toBytes(consumer).toString('latin1'), deliveries: Number(deliveries) };
}

type Fields = { names: readonly string[]; atSource: Reply | undefined; atTarget: Reply | undefined };

function addFieldAspects(
  { found }: KeyComparison,
  { names, atSource, atTarget }: Fields,
  aspect: (field: string) => Aspect,
): void {
  const a = readFields(atSource);
  const b = readFields(atTarget);
  for (const field of names) {
    const [left, right] = [a.get(field), b.get(field)];
    if (left !== undefined && right !== undefined && !isSameReply(left, right)) found.push(aspect(field));
  }
}

/** Lists that both sides keep in the order of stream ids, read page by page. */
type Listing = {
  readonly count: number;
  command(from: string, count: number): Command;
  /** What of an entry is compared. */
  contentOf(entry: Reply): Reply;
  aspect(id: string): Aspect;
  /** Whether two entries that are not the same do not count as different. */
  isLeftOut?(atSource: Reply, atTarget: Reply): boolean;
};

async function comparePages(comparison: KeyComparison, listing: Listing): Promise<void> {
  const { found } = comparison;
  const { count } = listing;
  for (let from: string | undefined = '-'; from !== undefined && !isFull(comparison); ) {
    const [[atSource], [atTarget]] = await askBoth(comparison, [listing.command(from, count)]);
    if (!Array.isArray(atSource) || !Array.isArray(atTarget)) return suspectType(comparison);
    const upTo = commonEnd([atSource, atTarget], count);
    const a = entriesUpTo(atSource, upTo);
    const b = entriesUpTo(atTarget, upTo);
    for (const id of new Set([...a.keys(), ...b.keys()])) {
      const [left, right] = [a.get(id), b.get(id)];
      const isSame =
        left !== undefined &&
        right !== undefined &&
        (isSameReply(listing.contentOf(left), listing.contentOf(right)) ||
          listing.isLeftOut?.(left, right) === true);
      if (!isSame && !isFull(comparison)) found.push(listing.aspect(id));
    }
    from = upTo === undefined ? undefined : idAfter(upTo);
  }
}

/** The last id that both pages cover: a page that is not full covers all the rest. */
function commonEnd(pages: readonly (readonly Reply[])[], pageLength: number): string | undefined {
  const ends = pages.filter((page) => page.length >= pageLength).map((page) => idOf(page.at(-1)));
  return ends.sort(compareIds)[0];
}

function entriesUpTo(page: readonly Reply[], upTo: string | undefined): ReadonlyMap<string, Reply> {
  const entries = page.map((entry): [string, Reply] => [idOf(entry), entry]);
  return new Map(entries.filter(([id]) => upTo === undefined || compareIds(id, upTo) <= 0));
}

function lastIdOf(info: Reply | undefined): string {
  return toBytes(readFields(info).get('last-generated-id')).toString('latin1');
}

function idOf(entry: Reply | undefined): string {
  return Array.isArray(entry) ? toBytes(entry[0]).toString('latin1') : '';
}

/** Orders ids `ms-seq`, two unsigned 64-bit numbers. */
export function compareIds(a: string, b: string): number {
  const [msA, seqA] = parseId(a);
  const [msB, seqB] = parseId(b);
  if (msA !== msB) return msA < msB ? -1 : 1;
  return seqA === seqB ? 0 : seqA < seqB ? -1 : 1;
}

const SEQUENCE_MAX = 2n ** 64n - 1n;

/** The id that follows, undefined after the last there can be; "(" for exclusive ranges is not known before 6.2. */
export function idAfter(id: string): string | undefined {
  const [ms, sequence] = parseId(id);
  if (sequence < SEQUENCE_MAX) return `${ms}-${sequence + 1n}`;
  return ms < SEQUENCE_MAX ? `${ms + 1n}-0` : undefined;
}

function parseId(id: string): readonly [bigint, bigint] {
  const match = /^(\d+)-(\d+)$/.exec(id);
  return [BigInt(match?.[1] ?? 0), BigInt(match?.[2] ?? 0)];
}

function namedMaps(reply: Reply | undefined): ReadonlyMap<string, Named> {
  const maps = Array.isArray(reply) ? reply.map(readFields) : [];
  return new Map(
    maps.map((fields) => {
      const name = Buffer.from(toBytes(fields.get('name')));
      return [name.toString('latin1'), { name, fields }];
    }),
  );
}

function unionOf(a: ReadonlyMap<string, Named>, b: ReadonlyMap<string, Named>): ReadonlyMap<string, Buffer> {
  return new Map([...a, ...b].map(([id, { name }]) => [id, name]));
}
