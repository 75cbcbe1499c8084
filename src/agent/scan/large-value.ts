import type { Command } from '../redis/raw-connection.ts';
import { encodeCommands } from '../redis/raw-connection.ts';
import { REPLY_KIND, type ReplyCursor } from '../redis/reply-bytes.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { toBytes } from '../verify/aspect.ts';
import { LENGTH_COMMANDS } from '../verify/compare-key.ts';
import { expiryCommands, readExpiries, readTime } from '../verify/expiry.ts';
import type { SourceCapabilities } from './copier.ts';
import { type Line, requestOf } from './line.ts';
import type { DropFieldTimes } from './source-payload.ts';

/** A large value on its way. */
export type LargeValue = {
  readonly line: Line;
  readonly capabilities: SourceCapabilities;
  /** Whether the target can hold hashes of which fields expire. */
  readonly hasHashFieldTtls: boolean;
  readonly dropFieldTimes: DropFieldTimes;
  readonly db: number;
  readonly key: Buffer;
  readonly signal: AbortSignal;
};

/** How a copy in pieces ended. */
export type Ending = 'copied' | 'without pieces' | { readonly refusal: string };

/** What a piece has at most, as far as sizes are known. */
const PIECE_BYTES = 1024 * 1024;
const PAGE_LENGTH_MAX = 1000;

/**
 * Copies one value piece by piece: the source never holds more than a piece in its output buffer, and never serialises
 * the whole. What the source changes meanwhile makes an event, and the key is then copied again.
 *
 * @throws the codes of {@link Line.carry}, or the signal's reason
 */
export async function copyInPieces(value: LargeValue): Promise<Ending> {
  const { type, pageLength } = await readShape(value);
  const copy = COPIERS[type];
  if (type === 'none') return (await piece(value, [], () => [['UNLINK', value.key]])) ?? 'copied';
  if (copy === undefined) return 'without pieces';
  return (await copy({ ...value, pageLength })) ?? (await writeExpiry(value)) ?? 'copied';
}

type Paged = LargeValue & { readonly pageLength: number };
type Refused = { readonly refusal: string } | undefined;

const COPIERS: Readonly<Record<string, (value: Paged) => Promise<Refused>>> = {
  string: copyString,
  list: copyList,
  set: (value) => copyUnordered(value, SET),
  zset: (value) => copyUnordered(value, SORTED_SET),
  hash: (value) => copyUnordered(value, HASH),
};

/** Reads, and writes what `toWrites` makes of the replies. A key that changed its type meanwhile has an event. */
async function piece(
  { line, db, signal }: LargeValue,
  reads: readonly Command[],
  toWrites: (replies: readonly Reply[]) => readonly Command[],
): Promise<Refused> {
  await line.ready(signal);
  const refusals = await line.carry(db, requestOf(reads), (cursor, writes) => {
    const replies = reads.map(() => readReply(cursor));
    if (replies.some((reply) => reply instanceof ErrorReply)) return;
    for (const command of toWrites(replies)) writes.whole(encodeCommands([command]));
  });
  const [refusal] = refusals.values();
  return refusal === undefined ? undefined : { refusal };
}

async function readShape(value: LargeValue): Promise<{ type: string; pageLength: number }> {
  const { key, capabilities } = value;
  let type = 'none';
  await piece(value, [['TYPE', key]], ([reply]) => {
    type = String(reply);
    return [];
  });
  const command = LENGTH_COMMANDS[type];
  let pageLength = PAGE_LENGTH_MAX;
  if (command === undefined || !capabilities.memoryUsage) return { type, pageLength };
  await piece(
    value,
    [
      ['MEMORY', 'USAGE', key],
      [command, key],
    ],
    ([bytes, length]) => {
      const each = Number(bytes) / Math.max(1, Number(length));
      pageLength = Math.max(1, Math.min(PAGE_LENGTH_MAX, Math.floor(PIECE_BYTES / Math.max(1, each))));
      return [];
    },
  );
  return { type, pageLength };
}

async function copyString(value: Paged): Promise<Refused> {
  const { key } = value;
  for (let from = 0, length = PIECE_BYTES; length === PIECE_BYTES; from += PIECE_BYTES) {
    length = 0;
    const refused = await piece(value, [['GETRANGE', key, from, from + PIECE_BYTES - 1]], ([reply]) => {
      const bytes = toBytes(reply ?? '');
      length = bytes.length;
      if (from === 0) return [['SET', key, bytes]];
      return length === 0 ? [] : [['APPEND', key, bytes]];
    });
    if (refused !== undefined) return refused;
  }
  return undefined;
}

async function copyList(value: Paged): Promise<Refused> {
  const { key, pageLength } = value;
  for (let from = 0, length = pageLength; length === pageLength; from += pageLength) {
    length = 0;
    const refused = await piece(value, [['LRANGE', key, from, from + pageLength - 1]], ([reply]) => {
      const elements = elementsOf(reply);
      length = elements.length;
      const cleared: Command[] = from === 0 ? [['UNLINK', key]] : [];
      return length === 0 ? cleared : [...cleared, ['RPUSH', key, ...elements]];
    });
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/** How a type without order is read and written: a page of SCAN replies makes a command. */
type Unordered = { readonly scan: string; write(key: Buffer, elements: readonly Buffer[]): Command };

const SET: Unordered = { scan: 'SSCAN', write: (key, members) => ['SADD', key, ...members] };
const SORTED_SET: Unordered = {
  scan: 'ZSCAN',
  write: (key, elements) => [
    'ZADD',
    key,
    ...elements.flatMap((member, index) => (index % 2 === 0 ? [elements[index + 1] ?? '0', member] : [])),
  ],
};
const HASH: Unordered = { scan: 'HSCAN', write: (key, pairs) => ['HSET', key, ...pairs] };

async function copyUnordered(value: Paged, type: Unordered): Promise<Refused> {
  const { key, pageLength, capabilities } = value;
  const hasFieldTimes = type === HASH && capabilities.fieldExpiry;
  let cursor = '0';
  let isFirst = true;
  do {
    const from = cursor;
    cursor = '0';
    let names: readonly Buffer[] = [];
    const refused = await piece(value, [[type.scan, key, from, 'COUNT', pageLength]], ([reply]) => {
      const [next, page] = Array.isArray(reply) ? reply : [];
      cursor = toBytes(next ?? '0').toString('latin1');
      const elements = elementsOf(page);
      names = elements.filter((_, index) => index % 2 === 0);
      const cleared: Command[] = isFirst ? [['UNLINK', key]] : [];
      isFirst = false;
      return elements.length === 0 ? cleared : [...cleared, type.write(key, elements)];
    });
    if (refused !== undefined) return refused;
    const late = hasFieldTimes && names.length > 0 ? await writeFieldExpiries(value, names) : undefined;
    if (late !== undefined) return late;
  } while (cursor !== '0');
  return undefined;
}

function writeFieldExpiries(value: Paged, names: readonly Buffer[]): Promise<Refused> {
  const { key } = value;
  return piece(value, [['HPEXPIRETIME', key, 'FIELDS', names.length, ...names]], ([reply]) => {
    const times = Array.isArray(reply) ? reply : [];
    if (!value.hasHashFieldTtls) {
      if (times.some((time) => readTime(time, { paddedExpiry: false }) >= 0)) value.dropFieldTimes(value);
      return [];
    }
    return names.flatMap((name, index): Command[] => {
      const atMs = readTime(times[index], { paddedExpiry: false });
      return atMs < 0 ? [] : [['HPEXPIREAT', key, atMs, 'FIELDS', 1, name]];
    });
  });
}

/** What was written in pieces has no expiry time. */
function writeExpiry(value: LargeValue): Promise<Refused> {
  const { key, capabilities } = value;
  const known = { ...capabilities, paddedExpiry: false };
  return piece(value, expiryCommands([key], known), (replies) => {
    const [expiry] = readExpiries(replies, known);
    if (expiry === undefined || expiry.atMs === NEVER) return [];
    return [expiry.atMs < 0 ? ['UNLINK', key] : ['PEXPIREAT', key, Math.max(1, expiry.atMs)]];
  });
}

const NEVER = -1;

function elementsOf(reply: Reply | undefined): readonly Buffer[] {
  return Array.isArray(reply) ? reply.map(toBytes) : [];
}

/** The reply that comes next, with its elements; strings are views. */
function readReply(cursor: ReplyCursor): Reply {
  cursor.next();
  switch (cursor.kind) {
    case REPLY_KIND.integer:
      return cursor.integer();
    case REPLY_KIND.bulk:
      return cursor.isNull ? null : cursor.view();
    case REPLY_KIND.error:
      return new ErrorReply(cursor.text());
    case REPLY_KIND.array:
      return Array.from({ length: Math.max(0, cursor.integer()) }, () => readReply(cursor));
    default:
      return cursor.text();
  }
}
