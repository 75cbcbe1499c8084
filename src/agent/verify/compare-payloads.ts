import { type Elements, readElements } from '../redis/rdb/elements.ts';
import { readStreamContent, type StreamContent } from '../redis/rdb/stream-content.ts';

/** What two payloads show: `undecided` where one is of a type that only typed reads understand. */
export type PayloadVerdict = 'equal' | 'different' | 'undecided';

/**
 * Compares two DUMP payloads without footer by what they hold: the order of hash tables, encodings, digits of scores
 * and times that a server keeps for itself do not count.
 */
export function comparePayloads(a: Buffer, b: Buffer): PayloadVerdict {
  try {
    const [left, right] = [readElements(a), readElements(b)];
    if (left !== undefined && right !== undefined) return isSameElements(left, right) ? 'equal' : 'different';
    const [stream, other] = [readStreamContent(a), readStreamContent(b)];
    if (stream !== undefined && other !== undefined)
      return isSameStream(stream, other) ? 'equal' : 'different';
    return 'undecided';
  } catch {
    // What we do not understand the server does: typed reads decide.
    return 'undecided';
  }
}

function isSameElements(a: Elements, b: Elements): boolean {
  if (a.of !== b.of || a.items.length !== b.items.length) return false;
  const places = a.of === 'list' ? undefined : placesIn(a.items, b.items);
  return a.items.every((item, index) => {
    const place = places === undefined ? index : places(item, index);
    const other = place === undefined ? undefined : b.items[place];
    if (place === undefined || other === undefined || !item.equals(other)) return false;
    if (a.of === 'hash' && b.of === 'hash') return isSameAt(a.values, index, b.values, place);
    if (a.of === 'zset' && b.of === 'zset') return Object.is(a.scores[index], b.scores[place]);
    return true;
  });
}

function isSameAt(a: readonly Buffer[], index: number, b: readonly Buffer[], place: number): boolean {
  const [left, right] = [a[index], b[place]];
  return left !== undefined && right !== undefined && left.equals(right);
}

/** Finds items of one side at the other, where no item is there twice; most often both have the same order. */
function placesIn(
  a: readonly Buffer[],
  b: readonly Buffer[],
): ((item: Buffer, index: number) => number | undefined) | undefined {
  if (a.every((item, index) => b[index]?.equals(item))) return undefined;
  const places = new Map(b.map((item, index) => [item.toString('latin1'), index]));
  // Taken out when found: an item that stands twice at one side is not the same as two items.
  return (item) => {
    const name = item.toString('latin1');
    const place = places.get(name);
    places.delete(name);
    return place;
  };
}

function isSameStream(a: StreamContent, b: StreamContent): boolean {
  const isSameCount = a.counters === undefined || b.counters === undefined || a.counters === b.counters;
  return (
    isSameCount &&
    a.parts.length === b.parts.length &&
    a.parts.every((part, index) => isSamePart(part, b.parts[index]))
  );
}

function isSamePart(a: Buffer | string, b: Buffer | string | undefined): boolean {
  return Buffer.isBuffer(a) ? Buffer.isBuffer(b) && a.equals(b) : a === b;
}
