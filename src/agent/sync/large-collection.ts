import type { HashFieldTtl } from '../../contract/skipped.ts';
import { padBigExpiry } from '../redis/expiry-pad.ts';
import type { Command } from '../redis/raw-connection.ts';
import { encodeCommands } from '../redis/raw-connection.ts';
import { listpackElements } from '../redis/rdb/listpack.ts';
import { malformedRdb } from '../redis/rdb/malformed.ts';
import type { RdbWindow } from '../redis/rdb/window.ts';
import { ziplistElements } from '../redis/rdb/ziplist.ts';
import { BULK_BYTES_MAX, tooLarge } from './copy-encoder.ts';
import { ElementWriter, GATHERED_BYTES_MAX } from './element-writer.ts';
import { stringPieces } from './large-string.ts';
import { hashFieldTtlsUnsupported } from './payload.ts';
import { SLOT_COMMAND_BYTES_MAX, type TargetWriter, type WaitForTarget } from './target-writer.ts';

/** What a collection is carried with: see {@link LargeCopy}; `more` pushes further bytes to `values`. */
type CollectionCopy = {
  readonly values: RdbWindow;
  readonly more: () => Promise<void>;
  readonly writer: TargetWriter;
  readonly waitForTarget: WaitForTarget;
  readonly hasHashFieldTtls: boolean;
  readonly hashFieldTtl: HashFieldTtl;
};
/** `atMs` is padded. */
type FieldExpiry = { readonly field: Buffer; readonly atMs: bigint };
type Elements = CollectionCopy & {
  readonly elements: ElementWriter;
  readonly key: Buffer;
  /** Of the fields that stand in the element writer. */
  readonly expiries: FieldExpiry[];
  /** Counted from this moment on; 0 where each expiry stands for itself. */
  readonly firstExpiryMs: bigint;
};
type Shape = {
  readonly command: string;
  readonly argumentsPerElement: number;
  readonly hasFieldExpiries?: boolean;
  readonly writeOne: (elements: Elements) => Promise<void> | undefined;
};

/** How each type is written: one round of `writeOne` for each of the counted parts of its layout. */
const SHAPES: ReadonlyMap<number, Shape> = new Map<number, Shape>([
  [1, { command: 'RPUSH', argumentsPerElement: 1, writeOne: writeSingle }],
  [2, { command: 'SADD', argumentsPerElement: 1, writeOne: writeSingle }],
  [
    3,
    { command: 'ZADD', argumentsPerElement: 2, writeOne: (elements) => writeScored(elements, takeTextScore) },
  ],
  [4, { command: 'HSET', argumentsPerElement: 2, writeOne: writePair }],
  [
    5,
    {
      command: 'ZADD',
      argumentsPerElement: 2,
      writeOne: (elements) => writeScored(elements, takeBinaryScore),
    },
  ],
  [
    14,
    {
      command: 'RPUSH',
      argumentsPerElement: 1,
      writeOne: (elements) => writeNode(elements, ziplistElements),
    },
  ],
  [18, { command: 'RPUSH', argumentsPerElement: 1, writeOne: writeQuicklistNode }],
  [22, { command: 'HSET', argumentsPerElement: 2, hasFieldExpiries: true, writeOne: writeValkeyField }],
  [24, { command: 'HSET', argumentsPerElement: 2, hasFieldExpiries: true, writeOne: writeRedisField }],
]);
const TYPE_REDIS_HASH_METADATA = 24;

/** Whether values of the type are hashes of which fields expire, which each target takes in another form. */
export function hasFieldExpiries(type: number): boolean {
  return SHAPES.get(type)?.hasFieldExpiries === true;
}

/** Whether values of the type can be written element by element. */
export function hasElements(type: number): boolean {
  return SHAPES.has(type);
}

/**
 * Writes a large collection by commands of bounded size, and its expiry last, so that it cannot expire in the middle.
 *
 * `expiry` is in milliseconds, padded; undefined for none. What must be whole in memory: the member of a sorted set, a
 * field that expires, and a node of a list.
 *
 * @throws source-protocol-error, source-data-unsupported, what the source or the writer failed with
 */
export async function writeElements(
  copy: CollectionCopy,
  { type, key, expiry }: { type: number; key: Buffer; expiry: string | undefined },
): Promise<void> {
  const { values } = copy;
  const shape = SHAPES.get(type);
  if (shape === undefined) throw new Error(`no shape for the type ${type}`);
  const { command, argumentsPerElement, writeOne } = shape;
  const isLosingExpiries = shape.hasFieldExpiries && !copy.hasHashFieldTtls;
  if (isLosingExpiries && copy.hashFieldTtl === 'refuse') throw hashFieldTtlsUnsupported();
  const isRelative = type === TYPE_REDIS_HASH_METADATA;
  const firstExpiryMs = isRelative ? (await whole(copy, () => values.takeBytes(8))).readBigInt64LE() : 0n;
  const count = await length(copy);
  const elements = new ElementWriter(copy, { name: command, key, argumentsPerElement });
  const context: Elements = { ...copy, elements, key, expiries: [], firstExpiryMs };
  await write(copy, ['DEL', key]);
  for (let index = 0; index < count; index++) {
    const wait = writeOne(context);
    if (wait !== undefined) await wait;
  }
  await flush(context);
  if (expiry !== undefined) await write(copy, ['PEXPIREAT', key, expiry]);
}

async function flush(copy: Elements): Promise<void> {
  const { elements, expiries, key } = copy;
  await elements.flush();
  for (const { field, atMs } of expiries.splice(0)) {
    if (!copy.hasHashFieldTtls) continue;
    await write(copy, ['HPEXPIREAT', key, String(atMs), 'FIELDS', 1, field]);
  }
}

async function write({ writer, waitForTarget }: CollectionCopy, command: Command): Promise<void> {
  const bytes = encodeCommands([command]);
  const name = writer.names.id(String(command[0]));
  if (bytes.length > SLOT_COMMAND_BYTES_MAX) await waitForTarget(writer.writeLarge(name, [bytes]));
  else writer.writeBytes(name, bytes, 0, bytes.length);
  if (!writer.hasRoom) await waitForTarget(writer.room());
}

function endElement(elements: Elements): Promise<void> | undefined {
  return elements.elements.endElement() ? flush(elements) : undefined;
}

/** The shortest way for what is short and there; the promise of a longer one otherwise. */
function writeSingle(elements: Elements): Promise<void> | undefined {
  const string = elements.values.takeString();
  if (!Buffer.isBuffer(string)) return writeSingleSlowly(elements, string);
  elements.elements.put(string);
  return endElement(elements);
}

async function writeSingleSlowly(
  elements: Elements,
  begun: ReturnType<RdbWindow['takeString']>,
): Promise<void> {
  await putString(elements, begun);
  await endElement(elements);
}

function writePair(elements: Elements): Promise<void> | undefined {
  const { values } = elements;
  const { place } = values;
  const field = values.takeString();
  const value = Buffer.isBuffer(field) ? values.takeString() : undefined;
  if (!Buffer.isBuffer(field) || !Buffer.isBuffer(value)) {
    values.returnTo(place);
    return writePairSlowly(elements);
  }
  elements.elements.put(field);
  elements.elements.put(value);
  return endElement(elements);
}

async function writePairSlowly(elements: Elements): Promise<void> {
  await putString(elements, undefined);
  await putString(elements, undefined);
  await endElement(elements);
}

/** Adds the next string as an argument, however long; `begun` is what `takeString` has given of it, if anything. */
async function putString(elements: Elements, begun: ReturnType<RdbWindow['takeString']>): Promise<void> {
  const { values } = elements;
  const string = begun ?? (await whole(elements, () => values.takeString()));
  if (Buffer.isBuffer(string)) return elements.elements.put(string);
  if (string.plainBytes > BULK_BYTES_MAX) throw tooLarge(string.plainBytes);
  await elements.elements.putLong(string.plainBytes, stringPieces(elements, string));
}

/** Adds an argument that is whole in memory. */
async function putBytes({ elements }: Elements, bytes: Buffer): Promise<void> {
  if (bytes.length <= GATHERED_BYTES_MAX) elements.put(bytes);
  else await elements.putLong(bytes.length, [bytes]);
}

type TakeScore = (values: RdbWindow) => string | undefined;

/** ZADD wants the score first, and the RDB has it behind the member. */
function writeScored(elements: Elements, takeScore: TakeScore): Promise<void> | undefined {
  const { values } = elements;
  const { place } = values;
  const member = values.takeWhole();
  const score = member === undefined ? undefined : takeScore(values);
  if (member === undefined || score === undefined) {
    values.returnTo(place);
    return elements.more().then(() => writeScored(elements, takeScore));
  }
  elements.elements.putText(score);
  if (member.length > GATHERED_BYTES_MAX) return putBytes(elements, member).then(() => endElement(elements));
  elements.elements.put(member);
  return endElement(elements);
}

function takeBinaryScore(values: RdbWindow): string | undefined {
  const bytes = values.takeBytes(8);
  return bytes === undefined ? undefined : scoreText(bytes.readDoubleLE());
}

/** One byte of length and so much text; 254 and 255 stand for the infinities, 253 for what no score can be. */
function takeTextScore(values: RdbWindow): string | undefined {
  const size = values.takeBytes(1)?.[0];
  if (size === undefined) return undefined;
  if (size === 253) throw malformedRdb('a score is not a number');
  if (size > 253) return size === 254 ? 'inf' : '-inf';
  return values.takeBytes(size)?.toString('latin1');
}

/** The shortest text that is read back as the same double. */
function scoreText(score: number): string {
  if (Number.isNaN(score)) throw malformedRdb('a score is not a number');
  if (Object.is(score, -0)) return '-0';
  return String(score).replace('Infinity', 'inf');
}

/** A node of a list in the old form: a ziplist or listpack. */
async function writeNode(elements: Elements, read: (node: Buffer) => Iterable<Buffer>): Promise<void> {
  const node = await whole(elements, () => elements.values.takeWhole());
  for (const element of read(node)) {
    await putBytes(elements, element);
    const wait = endElement(elements);
    if (wait !== undefined) await wait;
  }
}

const PLAIN_NODE = 1;

/** A node is one plain element or a listpack. */
async function writeQuicklistNode(elements: Elements): Promise<void> {
  const container = await length(elements);
  if (container === PLAIN_NODE) await writeSingleSlowly(elements, undefined);
  else await writeNode(elements, listpackElements);
}

/** `field value expiry(8)`, -1 for none. */
async function writeValkeyField(elements: Elements): Promise<void> {
  const { values } = elements;
  const field = Buffer.from(await whole(elements, () => values.takeWhole()));
  await putBytes(elements, field);
  await putString(elements, undefined);
  const atMs = (await whole(elements, () => values.takeBytes(8))).readBigInt64LE();
  if (atMs !== -1n) elements.expiries.push({ field, atMs: padBigExpiry(atMs) });
  await endElement(elements);
}

/** `distance field value`, 0 for none, else the expiry less the first one, plus 1. */
async function writeRedisField(elements: Elements): Promise<void> {
  const { values } = elements;
  const distance = BigInt(await length(elements));
  const field = Buffer.from(await whole(elements, () => values.takeWhole()));
  await putBytes(elements, field);
  await putString(elements, undefined);
  if (distance !== 0n) {
    elements.expiries.push({ field, atMs: padBigExpiry(elements.firstExpiryMs + distance - 1n) });
  }
  await endElement(elements);
}

async function length({ values, more }: CollectionCopy): Promise<number> {
  for (;;) {
    const value = values.takeLength();
    if (value !== -1) return value;
    await more();
  }
}

/** Takes something as soon as it has all arrived. */
async function whole<Taken>({ more }: CollectionCopy, take: () => Taken | undefined): Promise<Taken> {
  for (;;) {
    const taken = take();
    if (taken !== undefined) return taken;
    await more();
  }
}
