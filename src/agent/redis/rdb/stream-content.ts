import { PayloadReader } from './elements.ts';
import { listpackElements } from './listpack.ts';
import { malformedRdb } from './malformed.ts';

/*
 * stream    = nodes length last-id [first-id greatest-deleted-id entries-added] groups       [...]: from type 19 on
 * nodes     = count *(first-id listpack)             both as strings, the id as 16 bytes, most significant first
 * listpack  = valid deleted fields *name 0 *entry    the names are those of the first entry
 * entry     = flags ms-distance sequence-distance (*value | fields *(name value)) parts      *value: flag 2 is set
 * groups    = count *(name last-id [entries-read] pending consumers)
 * pending   = count *(id(16) delivered-at(8) deliveries)
 * consumers = count *(name seen-at(8) [active-at(8)] count *id(16))                          active-at: type 21
 * id        = ms sequence
 *
 * Source: rdb.c and t_stream.c of redis 7.4.
 */

/** What of a stream travels to a replica, in an order and form that do not depend on the version that wrote it. */
export type StreamContent = {
  /** Entries, last id, groups, and pending entries with consumers: equal if and only if each part is. */
  readonly parts: readonly (Buffer | string)[];
  /** Greatest deleted id and entries added; undefined from servers up to 6.2, which do not know them. */
  readonly counters: string | undefined;
};

const TYPES = new Map([
  [15, 1],
  [19, 2],
  [21, 3],
]);
const [DELETED, SAME_FIELDS] = [1, 2];

/**
 * Reads the payload of a stream, its type byte included and its footer not; undefined for all other types, and for
 * numbers beyond 2^53.
 *
 * Left out are what a server counts for itself, what Redis keeps from its replicas (entries-read), and consumers
 * without pending entries, which are not replicated when a reader waits.
 *
 * @throws source-protocol-error for what is damaged
 */
export function readStreamContent(payload: Buffer): StreamContent | undefined {
  const version = TYPES.get(payload[0] ?? -1);
  if (version === undefined) return undefined;
  const reader = new PayloadReader(payload);
  const parts: (Buffer | string)[] = [];
  for (let nodes = reader.length(); nodes > 0; nodes--) readNode(reader.string(), reader.string(), parts);
  reader.length();
  parts.push(`last ${readId(reader)}`);
  let counters: string | undefined;
  if (version >= 2) {
    readId(reader);
    counters = `${readId(reader)} ${reader.length()}`;
  }
  for (let groups = reader.length(); groups > 0; groups--) readGroup(reader, version, parts);
  reader.assertEnd();
  const texts = [...parts, counters ?? ''].filter((part) => typeof part === 'string');
  return texts.every(isExactText) ? { parts, counters } : undefined;
}

/** Whether all numbers in it are some, and none has so many digits that it may be inexact. */
function isExactText(text: string): boolean {
  return !/\d{16}|e\+|NaN/.test(text);
}

function readId(reader: PayloadReader): string {
  return `${reader.length()}-${reader.length()}`;
}

function readNode(firstId: Buffer, listpack: Buffer, parts: (Buffer | string)[]): void {
  if (firstId.length !== 16) throw malformedRdb('a node of a stream has no id');
  const firstMs = Number(firstId.readBigUInt64BE(0));
  const firstSequence = Number(firstId.readBigUInt64BE(8));
  const elements = listpackElements(listpack);
  const take = () => {
    const next = elements.next();
    if (next.done === true) throw malformedRdb('a node of a stream is cut');
    return next.value;
  };
  const takeNumber = () => Number(take().toString('latin1'));
  let left = takeNumber() + takeNumber();
  const names = Array.from({ length: takeNumber() }, take);
  take();
  for (; left > 0; left--) {
    const flags = takeNumber();
    const id = `${firstMs + takeNumber()}-${firstSequence + takeNumber()}`;
    const isSame = (flags & SAME_FIELDS) !== 0;
    const fields = isSame ? names.length : takeNumber();
    const entry: (Buffer | string)[] = [`entry ${id} ${fields}`];
    for (let field = 0; field < fields; field++) entry.push(isSame ? (names[field] ?? '') : take(), take());
    take();
    if ((flags & DELETED) === 0) parts.push(...entry);
  }
  if (elements.next().done !== true) throw malformedRdb('a node of a stream goes on behind its end');
}

function readGroup(reader: PayloadReader, version: number, parts: (Buffer | string)[]): void {
  parts.push('group', reader.string(), readId(reader));
  if (version >= 2) reader.length();
  for (let pending = reader.length(); pending > 0; pending--) {
    const id = reader.bytes(16);
    reader.bytes(8);
    parts.push('pending', id, String(reader.length()));
  }
  for (let consumers = reader.length(); consumers > 0; consumers--) {
    const name = reader.string();
    reader.bytes(version >= 3 ? 16 : 8);
    const pending = reader.length();
    if (pending > 0) parts.push(`consumer ${pending}`, name);
    for (let index = 0; index < pending; index++) parts.push(reader.bytes(16));
  }
}
