/*
 * slot = CRC16(part) mod 16384
 * part = what stands between the first "{" of the key and the next "}" behind it, when that is not empty; else the key
 *
 * CRC16 is that of XMODEM: polynomial 0x1021, begun with 0, nothing reflected.
 * Source: cluster specification of Redis, "Key distribution model".
 */

/** How many slots every cluster has. */
export const SLOT_COUNT = 16_384;

const [OPENING_BRACE, CLOSING_BRACE] = [0x7b, 0x7d];
const TABLE = makeTable();

/** The slot of the key that stands in `bytes[start, end)`. */
export function keySlot(bytes: Uint8Array, start: number, end: number): number {
  for (let open = start; open < end; open++) {
    if (bytes[open] !== OPENING_BRACE) continue;
    for (let close = open + 1; close < end; close++) {
      if (bytes[close] !== CLOSING_BRACE) continue;
      // Only the first brace counts: with nothing in it the whole key is hashed.
      return close === open + 1 ? hash(bytes, start, end) : hash(bytes, open + 1, close);
    }
    break;
  }
  return hash(bytes, start, end);
}

/** A short text of digits that hashes to the slot; in braces it brings a key of any name there. */
export function slotTag(slot: number): string {
  tags ??= findTags();
  const tag = tags[slot];
  if (tag === undefined) throw new Error(`there is no slot ${slot}`);
  return String(tag);
}

/** Whole ranges of slots, both ends included. */
export type SlotRange = readonly [first: number, last: number];

/** Ranges as text: `0-99,5461`. */
export function formatSlots(ranges: readonly SlotRange[]): string {
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',');
}

/** The reverse of {@link formatSlots}; undefined for anything else. */
export function parseSlots(text: string): readonly SlotRange[] | undefined {
  const ranges: SlotRange[] = [];
  for (const part of text.split(',')) {
    const found = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (found === null) return undefined;
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (first > last || last >= SLOT_COUNT) return undefined;
    ranges.push([first, last]);
  }
  return ranges;
}

function hash(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0;
  for (let index = start; index < end; index++) {
    sum = ((sum << 8) & 0xffff) ^ (TABLE[((sum >> 8) ^ (bytes[index] ?? 0)) & 0xff] ?? 0);
  }
  return sum & (SLOT_COUNT - 1);
}

function makeTable(): Uint16Array {
  return Uint16Array.from({ length: 256 }, (_, byte) => {
    let sum = byte << 8;
    for (let bit = 0; bit < 8; bit++) sum = sum & 0x8000 ? (sum << 1) ^ 0x1021 : sum << 1;
    return sum & 0xffff;
  });
}

let tags: Int32Array | undefined;

/** Numbers are tried in their order until every slot has one. */
function findTags(): Int32Array {
  const found = new Int32Array(SLOT_COUNT).fill(-1);
  let missing = SLOT_COUNT;
  for (let number = 0; missing > 0; number++) {
    const digits = Buffer.from(String(number), 'latin1');
    const slot = hash(digits, 0, digits.length);
    if (found[slot] !== -1) continue;
    found[slot] = number;
    missing -= 1;
  }
  return found;
}
