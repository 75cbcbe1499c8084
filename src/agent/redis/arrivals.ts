/** Bytes that arrive within so short a time are taken to arrive together: what is noted of arrivals stays in memory. */
const PRECISION_MS = 100;

/** What lies from the place `from` on, up to the next arrival, came at `atMs`. */
export type Arrival = { readonly from: number; readonly atMs: number };

/**
 * Notes that what follows from the place `from` on has arrived at `atMs`: to 100 ms, never later than it was.
 *
 * A clock that was set back makes a note of its own too: it is what later times are counted from.
 */
export function noteArrival(arrivals: Arrival[], { from, atMs }: Arrival): void {
  const last = arrivals.at(-1);
  if (last !== undefined && atMs >= last.atMs && atMs < last.atMs + PRECISION_MS) return;
  arrivals.push({ from, atMs });
}

/** When the byte at a place had arrived, and where the bytes that came with it end. */
export function findArrival(arrivals: readonly Arrival[], place: number): { atMs: number; end: number } {
  const index = lastUpTo(arrivals, place);
  return { atMs: arrivals[index]?.atMs ?? 0, end: arrivals[index + 1]?.from ?? Number.POSITIVE_INFINITY };
}

/** The index of the last of some stretches, in order, that begins at the place or before it; -1 when none does. */
export function lastUpTo(stretches: readonly { readonly from: number }[], place: number): number {
  let low = 0;
  let high = stretches.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((stretches[middle]?.from ?? 0) <= place) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
