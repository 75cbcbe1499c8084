import path from 'node:path';
import type { HashFieldTtl } from '../../contract/skipped.ts';
import { padExpiry } from '../redis/expiry-pad.ts';
import { HeldBytes } from '../redis/held-bytes.ts';
import { encodeCommands } from '../redis/raw-connection.ts';
import { Crc64 } from '../redis/rdb/crc64.ts';
import { FOOTER_BYTES, FOOTER_VERSION } from '../redis/rdb/footer.ts';
import { malformedRdb } from '../redis/rdb/malformed.ts';
import type { RdbReader } from '../redis/rdb/reader.ts';
import { readStringHead, type StringHead } from '../redis/rdb/string.ts';
import { RdbWindow } from '../redis/rdb/window.ts';
import { BULK_BYTES_MAX, integerText, isReserved, tooLarge } from './copy-encoder.ts';
import { hasElements, hasFieldExpiries, writeElements } from './large-collection.ts';
import { stringPieces } from './large-string.ts';
import type { TargetWriter, WaitForTarget } from './target-writer.ts';

/** What a large value is carried with; `more` waits for the next bytes of the source and pushes them to the reader. */
export type LargeCopy = {
  readonly reader: RdbReader;
  readonly more: () => Promise<void>;
  readonly writer: TargetWriter;
  /** Counts the time that a promise takes as waiting for the target. */
  readonly waitForTarget: WaitForTarget;
  readonly hasHashFieldTtls: boolean;
  readonly hashFieldTtl: HashFieldTtl;
  /** Collections that are larger, serialised, are not restored at once. */
  readonly restoreBytesMax: number;
  /** Where bytes may be held on disk. */
  readonly directory: string;
};

/** Types of which the value is a single string, so that its length is known from the head: blobs of small elements. */
const SINGLE_STRING_TYPES: ReadonlySet<number> = new Set([9, 10, 11, 12, 13, 16, 17, 20]);
const STRING_TYPE = 0;

/**
 * Carries the large value that the reader stands before to the target, in a memory that does not depend on its size:
 *
 * - plain strings by SET, of which the bytes are passed on as they come
 * - compressed strings and blobs by RESTORE in the same way: their length is known beforehand
 * - everything else by RESTORE too, from disk, because its length shows only at the end
 * - hashes of which fields expire, and collections too large for the target to restore at once, by commands of bounded
 *   size, the expiry last: several times the work for both sides. A stream is never among them, since nothing but
 *   RESTORE brings back all of its groups
 *
 * The commands of one key are not atomic: until the copy is whole, the claim in the target says that it is not.
 *
 * @throws source-protocol-error, source-data-unsupported, spool-full, spool-failed, what the source or the writer
 *   failed with
 */
export async function writeLargeValue(copy: LargeCopy): Promise<void> {
  const { reader, more } = copy;
  const { type } = reader;
  if (reader.db === 0 && isReserved(reader.key)) return passOver(copy);
  const expiry = reader.expireAtMs === -1 ? undefined : integerText(padExpiry(reader.expireAtMs));
  const key = reader.key.bytes;
  if (hasFieldExpiries(type)) return writeElements({ ...copy, values: reader }, { type, key, expiry });
  if (type !== STRING_TYPE && !SINGLE_STRING_TYPES.has(type)) return holdAndRestore(copy, { key, expiry });
  let head: StringHead | undefined;
  for (;;) {
    head = readStringHead(reader.window, reader.place, reader.filledTo);
    if (head !== undefined) break;
    await more();
  }
  const { isCompressed, headBytes, rawBytes } = head;
  if (type === STRING_TYPE && !isCompressed) {
    reader.takeSome(headBytes);
    return setStreamed(copy, { key, expiry, head });
  }
  return restoreStreamed(copy, {
    key,
    expiry,
    size: headBytes + rawBytes,
    pieces: rawPieces(copy, headBytes + rawBytes),
  });
}

/** `expiry`: padded, in milliseconds; undefined for none. */
type LargeKey = { readonly key: Buffer; readonly expiry: string | undefined };

/** Lets the large value that the reader stands before go by, as it comes. */
export async function passOver({ reader, more }: Pick<LargeCopy, 'reader' | 'more'>): Promise<void> {
  while (!reader.takeRaw().isLast) await more();
}

async function setStreamed(
  copy: LargeCopy,
  { key, expiry, head }: LargeKey & { head: StringHead },
): Promise<void> {
  const { writer, waitForTarget } = copy;
  if (head.plainBytes > BULK_BYTES_MAX) throw tooLarge(head.plainBytes);
  const [before, after] = commandAround(
    expiry === undefined ? ['SET', key, VALUE_MARK] : ['SET', key, VALUE_MARK, 'PXAT', expiry],
    head.plainBytes,
  );
  writer.beginLarge(writer.names.id('SET'));
  await waitForTarget(writer.writePart(before));
  for await (const piece of stringPieces({ ...copy, values: copy.reader }, head))
    await waitForTarget(writer.writePart(piece));
  await waitForTarget(writer.writePart(after));
  writer.endLarge();
}

type Payload = LargeKey & {
  readonly size: number;
  readonly pieces: AsyncIterable<Buffer> | Iterable<Buffer>;
};

/** RESTORE of `type value version(2) checksum(8)`, the checksum taken while the value goes by. */
async function restoreStreamed(copy: LargeCopy, { key, expiry, size, pieces }: Payload): Promise<void> {
  const { writer, reader, waitForTarget } = copy;
  const payloadBytes = 1 + size + FOOTER_BYTES;
  if (payloadBytes > BULK_BYTES_MAX) throw tooLarge(size);
  const options = expiry === undefined ? ['REPLACE'] : ['REPLACE', 'ABSTTL'];
  const [before, after] = commandAround(
    ['RESTORE', key, expiry ?? '0', VALUE_MARK, ...options],
    payloadBytes,
  );
  const sum = new Crc64();
  const type = Buffer.of(reader.type);
  sum.update(type, 0, 1);
  writer.beginLarge(writer.names.id('RESTORE'));
  await waitForTarget(writer.writePart(Buffer.concat([before, type])));
  let left = size;
  for await (const piece of pieces) {
    sum.update(piece, 0, piece.length);
    left -= piece.length;
    await waitForTarget(writer.writePart(piece));
  }
  if (left !== 0) throw malformedRdb(`a value is ${left} bytes shorter than it says`);
  const footer = Buffer.alloc(FOOTER_BYTES);
  footer.writeUInt16LE(FOOTER_VERSION);
  sum.update(footer, 0, 2);
  sum.writeTo(footer, 2);
  await waitForTarget(writer.writePart(Buffer.concat([footer, after])));
  writer.endLarge();
}

async function holdAndRestore(copy: LargeCopy, { key, expiry }: LargeKey): Promise<void> {
  const { reader, more, directory, restoreBytesMax } = copy;
  const { type } = reader;
  using held = new HeldBytes(path.join(directory, 'held'));
  for (;;) {
    const { bytes, isLast } = reader.takeRaw();
    held.push(bytes);
    if (hasElements(type) && held.size > restoreBytesMax)
      // Awaited here: else what is held would be given back before it is read.
      return await writeHeld(copy, { key, expiry, held, isLast });
    if (held.size > BULK_BYTES_MAX) throw tooLarge(held.size);
    if (isLast) break;
    await more();
  }
  await restoreStreamed(copy, { key, expiry, size: held.size, pieces: held.pieces() });
}

type Held = LargeKey & { readonly held: HeldBytes; readonly isLast: boolean };

/** Writes a collection element by element of which the first bytes are on disk, and all of them when `isLast`. */
async function writeHeld(copy: LargeCopy, { key, expiry, held, isLast }: Held): Promise<void> {
  const { reader } = copy;
  const values = new RdbWindow();
  const pieces = held.pieces();
  let isComplete = isLast;
  const more = async () => {
    const piece = pieces.next();
    if (!piece.done) return values.push(piece.value);
    if (isComplete) throw malformedRdb('a collection ends before its last element');
    await copy.more();
    const raw = reader.takeRaw();
    isComplete = raw.isLast;
    values.push(raw.bytes);
  };
  await writeElements({ ...copy, values, more }, { type: reader.type, key, expiry });
}

/** The next `size` bytes as they are serialised. */
async function* rawPieces({ reader, more }: LargeCopy, size: number): AsyncGenerator<Buffer> {
  let left = size;
  while (left > 0) {
    const piece = reader.takeSome(left);
    left -= piece.length;
    if (piece.length > 0) yield piece;
    else await more();
  }
}

/** Stands for the value where a command is encoded without it. */
const VALUE_MARK = Buffer.from('value that comes later');

/** A command as it is before and after the bytes of its value, which are so many. */
function commandAround(command: readonly (string | Buffer)[], valueBytes: number): [Buffer, Buffer] {
  const at = command.indexOf(VALUE_MARK);
  const count = Buffer.from(`*${command.length}\r\n`, 'latin1');
  const before = bulks(command.slice(0, at));
  const after = bulks(command.slice(at + 1));
  return [
    Buffer.concat([count, before, Buffer.from(`$${valueBytes}\r\n`, 'latin1')]),
    Buffer.concat([Buffer.from('\r\n'), after]),
  ];
}

function bulks(args: readonly (string | Buffer)[]): Buffer {
  const encoded = encodeCommands([args]);
  return encoded.subarray(encoded.indexOf('\n') + 1);
}
