import { listpackElements } from './listpack.ts';
import { malformedRdb } from './malformed.ts';
import { decodeString, type LengthCursor, readLength, skipString } from './string.ts';
import { ziplistElements } from './ziplist.ts';

/*
 * list = 1: count *string | 10: ziplist | 14: count *ziplist | 18: count *(1 string | 2 listpack)
 * set  = 2: count *string | 11: intset | 20: listpack
 * hash = 4: count *(string string) | 13: ziplist | 16: listpack           field and value in turn
 * zset = 3: count *(string text) | 5: count *(string double) | 12: ziplist | 17: listpack     member and score in turn
 * text = 253: nan | 254: +inf | 255: -inf | size(1) digits
 * intset = width(4) count(4) *integer(width)                              little-endian, width 2, 4 or 8
 *
 * Ziplist, listpack and intset stand as one string. Source: rdb.c of redis 7.4 and valkey 9.1.
 */

/** A list, set, hash or sorted set in whatever encoding, as what it holds. */
export type Elements =
  | { readonly of: 'list' | 'set'; readonly items: readonly Buffer[] }
  /** Fields and, at the same places, their values. */
  | { readonly of: 'hash'; readonly items: readonly Buffer[]; readonly values: readonly Buffer[] }
  /** Members and, at the same places, their scores. */
  | { readonly of: 'zset'; readonly items: readonly Buffer[]; readonly scores: readonly number[] };

/**
 * Reads a payload, its type byte included and its footer not; undefined for types that are not in the grammar.
 * Items are views into it where they stand there as they are.
 *
 * @throws source-protocol-error for what is damaged
 */
export function readElements(payload: Buffer): Elements | undefined {
  const reader = new PayloadReader(payload);
  const elements = readBody(payload[0] ?? -1, reader);
  if (elements !== undefined) reader.assertEnd();
  return elements;
}

function readBody(type: number, reader: PayloadReader): Elements | undefined {
  switch (type) {
    case 1:
      return { of: 'list', items: reader.strings(reader.length()) };
    case 2:
      return { of: 'set', items: reader.strings(reader.length()) };
    case 3:
      return readScored(reader, () => reader.textScore());
    case 4:
      return toHash(reader.strings(2 * reader.length()));
    case 5:
      return readScored(reader, () => reader.bytes(8).readDoubleLE(0));
    case 10:
      return { of: 'list', items: [...ziplistElements(reader.string())] };
    case 11:
      return { of: 'set', items: readIntset(reader.string()) };
    case 12:
      return toSortedSet([...ziplistElements(reader.string())]);
    case 13:
      return toHash([...ziplistElements(reader.string())]);
    case 14:
      return {
        of: 'list',
        items: reader.strings(reader.length()).flatMap((node) => [...ziplistElements(node)]),
      };
    case 16:
      return toHash([...listpackElements(reader.string())]);
    case 17:
      return toSortedSet([...listpackElements(reader.string())]);
    case 18:
      return { of: 'list', items: readQuicklist(reader) };
    case 20:
      return { of: 'set', items: [...listpackElements(reader.string())] };
    default:
      return undefined;
  }
}

/** Takes the parts of a payload one after the other, from behind its type byte on. Throws source-protocol-error. */
export class PayloadReader {
  readonly #payload: Buffer;
  readonly #cursor: LengthCursor = { value: 0, next: 1 };

  constructor(payload: Buffer) {
    this.#payload = payload;
  }

  /** The next length-encoded number. */
  length(): number {
    readLength(this.#payload, this.#cursor.next, this.#payload.length, this.#cursor);
    if (this.#cursor.next === -1) throw cut();
    return this.#cursor.value;
  }

  /** The next string, decoded. */
  string(): Buffer {
    const at = this.#cursor.next;
    const end = skipString(this.#payload, at, this.#payload.length);
    if (end === -1 || end > this.#payload.length) throw cut();
    this.#cursor.next = end;
    return decodeString(this.#payload, at, end);
  }

  /** The next so many strings. */
  strings(count: number): Buffer[] {
    // As they come, since a damaged count would ask for memory without end.
    const strings: Buffer[] = [];
    for (let index = 0; index < count; index++) strings.push(this.string());
    return strings;
  }

  /** The next so many bytes as they are. */
  bytes(count: number): Buffer {
    const at = this.#cursor.next;
    if (at + count > this.#payload.length) throw cut();
    this.#cursor.next = at + count;
    return this.#payload.subarray(at, at + count);
  }

  /** The next score of type 3. */
  textScore(): number {
    const size = this.bytes(1)[0] ?? 0;
    if (size < 253) return toScore(this.bytes(size));
    return [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY][size - 253] ?? Number.NaN;
  }

  /** Throws when something is left. */
  assertEnd(): void {
    if (this.#cursor.next !== this.#payload.length) throw malformedRdb('a value goes on behind its end');
  }
}

function cut(): Error {
  return malformedRdb('a value is cut');
}

const [QUICKLIST_PLAIN, QUICKLIST_PACKED] = [1, 2];

function readQuicklist(reader: PayloadReader): Buffer[] {
  const items: Buffer[] = [];
  const nodes = reader.length();
  for (let index = 0; index < nodes; index++) {
    const container = reader.length();
    const node = reader.string();
    if (container === QUICKLIST_PLAIN) items.push(node);
    else if (container === QUICKLIST_PACKED) items.push(...listpackElements(node));
    else throw malformedRdb(`a list has a node of kind ${container}`);
  }
  return items;
}

function readScored(reader: PayloadReader, readScore: () => number): Elements {
  const items: Buffer[] = [];
  const scores: number[] = [];
  const count = reader.length();
  for (let index = 0; index < count; index++) {
    items.push(reader.string());
    scores.push(readScore());
  }
  return { of: 'zset', items, scores };
}

function toSortedSet(pairs: readonly Buffer[]): Elements {
  const [items, scores] = unzip(pairs);
  return { of: 'zset', items, scores: scores.map(toScore) };
}

function toHash(pairs: readonly Buffer[]): Elements {
  const [items, values] = unzip(pairs);
  return { of: 'hash', items, values };
}

function unzip(pairs: readonly Buffer[]): [Buffer[], Buffer[]] {
  if (pairs.length % 2 !== 0) throw malformedRdb('a value does not come in pairs');
  return [pairs.filter((_, index) => index % 2 === 0), pairs.filter((_, index) => index % 2 === 1)];
}

/** A score from its text, of which servers print different numbers of digits. */
function toScore(text: Buffer): number {
  const digits = text.toString('latin1');
  if (/^[+-]?inf$/i.test(digits))
    return digits.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  const score = digits.trim() === '' ? Number.NaN : Number(digits);
  if (Number.isNaN(score)) throw malformedRdb('a score is no number');
  return score;
}

function readIntset(intset: Buffer): Buffer[] {
  if (intset.length < 8) throw cut();
  const [width, count] = [intset.readUInt32LE(0), intset.readUInt32LE(4)];
  if (![2, 4, 8].includes(width) || intset.length !== 8 + width * count)
    throw malformedRdb('a set of integers is damaged');
  return Array.from({ length: count }, (_, index) => {
    const at = 8 + index * width;
    return Buffer.from(String(width === 8 ? intset.readBigInt64LE(at) : intset.readIntLE(at, width)));
  });
}
