import { HASH_FIELD_TTL, type HashFieldTtl } from '../../contract/skipped.ts';
import type { Journal } from '../redis/journal.ts';
import { encodeCommands } from '../redis/raw-connection.ts';
import { TYPE_MODULE } from '../redis/rdb/layouts.ts';
import { malformedRdb } from '../redis/rdb/malformed.ts';
import { RdbReader } from '../redis/rdb/reader.ts';
import type { RdbFraming } from '../redis/replication.ts';
import { CopyEncoder } from './copy-encoder.ts';
import { passOver, writeLargeValue } from './large-value.ts';
import type { Meter } from './meter.ts';
import { isExpiringHash } from './payload.ts';
import type { Skips } from './skips.ts';
import type { TargetWriter } from './target-writer.ts';

/** While the source is slower than the target, less than this is kept back to be written with what comes next. */
const WORTH_FLUSHING_BYTES = 64 * 1024;

/** What a full copy works with; the RDB, framed so, is what comes next. */
export type Copy = {
  readonly link: { readonly incoming: Pick<Journal, 'read' | 'take' | 'unread' | 'waitingBytes'> };
  readonly framing: RdbFraming;
  readonly writer: TargetWriter;
  readonly hasHashFieldTtls: boolean;
  /** Collections that are larger, serialised, are not restored at once. */
  readonly restoreBytesMax: number;
  readonly hashFieldTtl: HashFieldTtl;
  readonly skips: Skips;
  /** Where bytes may be held on disk. */
  readonly directory: string;
  /** Told of every key of the RDB; the range holds for the call. */
  readonly onKey?: (db: number, key: RdbReader['key']) => void;
  readonly meter: Meter;
  readonly signal: AbortSignal;
};

/**
 * Carries the RDB of the source to the target, and leaves the link at the first byte of the command stream.
 *
 * Returns the database that the stream starts in: one that comes from a replica does not begin with SELECT.
 *
 * @throws source-protocol-error, source-data-unsupported, source-version-unsupported, what the link or the writer
 *   failed with, or the signal's reason
 */
export async function copyDataSet(copy: Copy): Promise<{ streamDb: number }> {
  const { link, writer, meter, signal, onKey } = copy;
  const reader = new RdbReader();
  const encoder = new CopyEncoder(writer, copy);
  let streamDb = 0;
  let announcedKeys = 0;
  const waitForTarget = (wait: Promise<void>) => meter.waitForTarget(wait);
  const more = async () => {
    meter.copiedBytes = reader.consumed;
    if (link.incoming.waitingBytes === 0 && writer.unflushedBytes >= WORTH_FLUSHING_BYTES) writer.flush();
    reader.push(await meter.waitForSource(link.incoming.read(signal)));
  };
  for (;;) {
    const item = reader.next();
    switch (item) {
      case 'need-more':
        await more();
        continue;
      case 'large':
        if (isLeftOut(reader, copy)) {
          await passOver({ reader, more });
          break;
        }
        meter.copiedKeys += 1;
        onKey?.(reader.db, reader.key);
        await writeLargeValue({ ...copy, reader, more, waitForTarget });
        break;
      case 'key': {
        if (isLeftOut(reader, copy)) break;
        meter.copiedKeys += 1;
        onKey?.(reader.db, reader.key);
        const large = encoder.write(reader);
        if (large !== undefined) await meter.waitForTarget(large);
        break;
      }
      case 'database':
        encoder.flush();
        writer.write(['SELECT', reader.db]);
        break;
      case 'sizes':
        announcedKeys += reader.databaseKeys;
        meter.expectKeys(announcedKeys);
        break;
      case 'function':
        await loadFunction(writer, reader.text);
        break;
      case 'aux':
        if (reader.auxName === 'repl-stream-db') streamDb = databaseNumber(reader.text);
        // Scripts of Redis up to 6.2, which clients call by their hash.
        if (reader.auxName === 'lua') writer.write(['SCRIPT', 'LOAD', reader.text]);
        break;
      case 'module-data':
        copy.skips.add({ what: 'module-data', reason: `module ${reader.moduleName}` });
        break;
      case 'end':
        encoder.flush();
        meter.copiedBytes = reader.consumed;
        await finish(copy, reader);
        return { streamDb };
    }
    if (!writer.hasRoom) await meter.waitForTarget(writer.room());
  }
}

/** Whether the key is not carried at all; also takes note of one that is carried without the expiry of its fields. */
function isLeftOut(reader: RdbReader, { skips, hasHashFieldTtls }: Copy): boolean {
  const { type, db, key } = reader;
  const isOfModule = type === TYPE_MODULE;
  if (!isOfModule && (hasHashFieldTtls || !isExpiringHash(type))) return false;
  const name = key.bytes.subarray(key.start, key.end);
  const reason = isOfModule ? `module ${reader.moduleName}` : HASH_FIELD_TTL;
  skips.add({ what: 'keys', reason, key: { db, name } });
  return isOfModule;
}

async function loadFunction(writer: TargetWriter, code: Buffer): Promise<void> {
  const command = encodeCommands([['FUNCTION', 'LOAD', 'REPLACE', code]]);
  await writer.writeLarge(writer.names.id('FUNCTION LOAD'), [command]);
}

/**
 * Checks that the RDB ends where its framing says, and gives back what belongs to the stream.
 *
 * The mark is compared and never searched: it repeats from one full resync to the next, and could be in the data.
 */
async function finish({ framing, link, signal }: Copy, reader: RdbReader): Promise<void> {
  link.incoming.unread(reader.rest().length);
  if (framing.kind === 'length') {
    if (reader.consumed !== framing.bytes) {
      throw malformedRdb(`it ends after ${reader.consumed} of the announced ${framing.bytes} bytes`);
    }
    return;
  }
  const found = await link.incoming.take(framing.mark.length, signal);
  if (!found.equals(framing.mark)) throw malformedRdb('its end mark is missing');
}

/** `-1` and anything else that is no database stands for none chosen yet. */
function databaseNumber(text: Buffer): number {
  return /^\d{1,9}$/.test(text.toString('latin1')) ? Number(text.toString('latin1')) : 0;
}
