import type { ClusterClaim } from '../../redis/checkpoint.ts';
import { formatSlots, parseSlots, SLOT_COUNT, type SlotRange } from '../../redis/cluster/slots.ts';
import type { Topology } from '../../redis/cluster/topology.ts';
import type { Place } from './lane.ts';

/**
 * How far every slot of a cluster is in the stream of the source.
 *
 * Primaries commit each for itself, so they stand at different offsets after an interruption, and slots that have moved
 * since keep the offset of the primary that they came from.
 */
export class Positions {
  readonly #places: readonly Place[];
  /** From where on a command is to be applied to a slot: behind this offset. */
  readonly #offsets = new Float64Array(SLOT_COUNT);
  /** The places of the slots that are the least and the most far. */
  readonly lowest: Place;
  readonly highest: Place;

  /** `places` by slot. */
  constructor(places: readonly Place[]) {
    this.#places = places;
    let [lowest, highest] = [places[0], places[0]];
    if (lowest === undefined || highest === undefined || places.length !== SLOT_COUNT) {
      throw new Error(`${places.length} slots have a place`);
    }
    for (const [slot, place] of places.entries()) {
      this.#offsets[slot] = place.offset;
      if (place.offset < lowest.offset) lowest = place;
      if (place.offset > highest.offset) highest = place;
    }
    this.lowest = lowest;
    this.highest = highest;
  }

  /** All slots at one place, as after a copy. */
  static same(place: Place): Positions {
    return new Positions(new Array<Place>(SLOT_COUNT).fill(place));
  }

  /** Up to which offset the slot has everything. */
  offsetOf(slot: number): number {
    return this.#offsets[slot] ?? 0;
  }

  /** What a claim says of them: for each primary its slots, by where they are. */
  parts(topology: Topology): ClusterClaim['parts'] {
    return topology.nodes.flatMap(({ ranges }) => {
      const byPlace = new Map<string, { place: Place; ranges: SlotRange[] }>();
      for (const [first, last] of ranges) {
        for (let slot = first; slot <= last; slot++) this.#addSlot(byPlace, slot);
      }
      const checkpointSlot = checkpointSlotOf(ranges);
      return [...byPlace.values()].map(({ place, ranges: slots }) => ({
        checkpointSlot,
        slots: formatSlots(slots),
        ...place,
      }));
    });
  }

  #addSlot(byPlace: Map<string, { place: Place; ranges: SlotRange[] }>, slot: number): void {
    const { offset, db } = this.#places[slot] ?? this.lowest;
    const name = `${offset} ${db}`;
    const part = byPlace.get(name) ?? { place: { offset, db }, ranges: [] };
    byPlace.set(name, part);
    const last = part.ranges.at(-1);
    if (last?.[1] === slot - 1) part.ranges[part.ranges.length - 1] = [last[0], slot];
    else part.ranges.push([slot, slot]);
  }
}

/** The slot in which a primary keeps its checkpoint: its first. */
export function checkpointSlotOf(ranges: readonly SlotRange[]): number {
  const [first] = ranges;
  if (first === undefined) throw new Error('a primary without slots');
  return first[0];
}

/** What stands in the key of a checkpoint when a session begins: nothing of it, and what was there before. */
export function firstCheckpoint(generation: number, before: string | undefined): string {
  return before === undefined ? `${generation} 0 0` : `${generation} 0 0 ${before}`;
}

/*
 * checkpoint = generation offset db [ generation offset db ]        decimal, one space between them
 *
 * The second half is the one before, while the claim may still be of the generation before.
 */

/** The part of a checkpoint that is of a generation, as text; undefined when there is none. */
export function checkpointOf(text: string | undefined, generation: number): string | undefined {
  const found = /^(\d+ \d+ \d+)(?: (\d+ \d+ \d+))?$/.exec(text ?? '');
  return [found?.[1], found?.[2]].find((half) => half?.startsWith(`${generation} `));
}

/**
 * Where every slot stands, by the claim and the checkpoints of the primaries, which `readCheckpoint` reads by slot.
 *
 * Undefined when they do not fit together: a failover has taken back a checkpoint that the claim builds on, or the claim
 * itself. How far the data is cannot be known then.
 */
export async function readPositions(
  { generation, parts }: ClusterClaim,
  readCheckpoint: (slot: number) => Promise<string | undefined>,
): Promise<Positions | undefined> {
  const places = new Array<Place>(SLOT_COUNT);
  const checkpoints = new Map<number, Place | undefined>();
  for (const { checkpointSlot, slots, offset, db } of parts) {
    if (!checkpoints.has(checkpointSlot)) {
      checkpoints.set(
        checkpointSlot,
        parsePlace(checkpointOf(await readCheckpoint(checkpointSlot), generation)),
      );
    }
    const committed = checkpoints.get(checkpointSlot);
    const ranges = parseSlots(slots);
    if (committed === undefined || ranges === undefined) return undefined;
    const place = committed.offset > offset ? committed : { offset, db };
    for (const [first, last] of ranges) places.fill(place, first, last + 1);
  }
  for (let slot = 0; slot < SLOT_COUNT; slot++) if (places[slot] === undefined) return undefined;
  return new Positions(places);
}

function parsePlace(checkpoint: string | undefined): Place | undefined {
  if (checkpoint === undefined) return undefined;
  const [, offset, db] = checkpoint.split(' ').map(Number);
  return offset === undefined || db === undefined ? undefined : { offset, db };
}
