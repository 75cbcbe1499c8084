import { HASH_FIELD_TTL, type HashFieldTtl } from '../../contract/skipped.ts';
import type { Journal } from '../redis/journal.ts';
import { type Command, encodeCommands } from '../redis/raw-connection.ts';
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

/** Who writes what: one for a target, and one for each primary of a target in cluster mode. */
export type CopyWriters = {
  readonly all: readonly TargetWriter[];
  readonly isCluster: boolean;
  /** Which of them writes a key, by its place among all. */
  indexOf(key: RdbReader['key']): number;
  /** What goes to each of them before the keys of a database. Throws for one that the target does not have. */
  enterDatabase(db: number): Command | undefined;
};

/** The writers of a target that is no cluster. */
export function singleWriter(writer: TargetWriter): CopyWriters {
  const enterDatabase = (db: number): Command => ['SELECT', db];
  return { all: [writer], isCluster: false, indexOf: () => 0, enterDatabase };
}

/** What a full copy works with; the RDB, framed so, is what comes next. */
export type Copy = {
  readonly link: { readonly incoming: Pick<Journal, 'read' | 'take' | 'unread' | 'waitingBytes'> };
  readonly framing: RdbFraming;
  readonly writers: CopyWriters;
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
  const { link, writers, meter, signal, onKey } = copy;
  const reader = new RdbReader();
  const lanes = writers.all.map((writer) => ({
    writer,
    encoder: new CopyEncoder(writer, { ...copy, isCluster: writers.isCluster }),
  }));
  const laneOf = (key: RdbReader['key']): CopyLane => {
    const lane = lanes[writers.indexOf(key)];
    if (lane === undefined) throw new Error('a key that nobody writes');
    return lane;
  };
  let streamDb = 0;
  let announcedKeys = 0;
  const waitForTarget = (wait: Promise<void>) => meter.waitForTarget(wait);
  const more = async () => {
    meter.copiedBytes = reader.consumed;
    if (link.incoming.waitingBytes === 0) {
      for (const { writer } of lanes) if (writer.unflushedBytes >= WORTH_FLUSHING_BYTES) writer.flush();
    }
    reader.push(await meter.waitForSource(link.incoming.read(signal)));
  };
  for (;;) {
    const item = reader.next();
    switch (item) {
      case 'need-more':
        await more();
        continue;
      case 'large': {
        if (isLeftOut(reader, copy)) {
          await passOver({ reader, more });
          break;
        }
        meter.copiedKeys += 1;
        onKey?.(reader.db, reader.key);
        const { writer } = laneOf(reader.key);
        await writeLargeValue({ ...copy, writer, reader, more, waitForTarget });
        if (!writer.hasRoom) await meter.waitForTarget(writer.room());
        break;
      }
      case 'key': {
        if (isLeftOut(reader, copy)) break;
        meter.copiedKeys += 1;
        onKey?.(reader.db, reader.key);
        const { writer, encoder } = laneOf(reader.key);
        const large = encoder.write(reader);
        if (large !== undefined) await meter.waitForTarget(large);
        if (!writer.hasRoom) await meter.waitForTarget(writer.room());
        break;
      }
      case 'database':
        enterDatabase(lanes, writers.enterDatabase(reader.db));
        break;
      case 'sizes':
        announcedKeys += reader.databaseKeys;
        meter.expectKeys(announcedKeys);
        break;
      case 'function':
        for (const { writer } of lanes) await loadFunction(writer, reader.text);
        break;
      case 'aux':
        if (reader.auxName === 'repl-stream-db') streamDb = databaseNumber(reader.text);
        // Scripts of Redis up to 6.2, which clients call by their hash.
        if (reader.auxName === 'lua') {
          for (const { writer } of lanes) writer.write(['SCRIPT', 'LOAD', reader.text]);
        }
        break;
      case 'module-data':
        copy.skips.add({ what: 'module-data', reason: `module ${reader.moduleName}` });
        break;
      case 'end':
        for (const { encoder } of lanes) encoder.flush();
        meter.copiedBytes = reader.consumed;
        await finish(copy, reader);
        return { streamDb };
    }
  }
}

type CopyLane = { readonly writer: TargetWriter; readonly encoder: CopyEncoder };

/** Keys of one database are not written together with those of another. */
function enterDatabase(lanes: readonly CopyLane[], command: Command | undefined): void {
  for (const { writer, encoder } of lanes) {
    encoder.flush();
    if (command !== undefined) writer.write(command);
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
