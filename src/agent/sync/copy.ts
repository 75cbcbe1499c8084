import { HASH_FIELD_TTL, type HashFieldTtl } from '../../contract/skipped.ts';
import type { Journal } from '../redis/journal.ts';
import { type Command, encodeCommands } from '../redis/raw-connection.ts';
import { TYPE_MODULE } from '../redis/rdb/layouts.ts';
import { malformedRdb } from '../redis/rdb/malformed.ts';
import { type RdbItem, RdbReader } from '../redis/rdb/reader.ts';
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
  const run = beginRun(copy);
  const { reader, lanes, meter } = run;
  for (;;) {
    const item = carryKeys(run);
    if (typeof item !== 'string') {
      await meter.waitForTarget(item);
      continue;
    }
    switch (item) {
      case 'need-more':
        await run.more();
        break;
      case 'large':
        await carryLarge(run);
        break;
      case 'end':
        for (const { encoder } of lanes) encoder.flush();
        meter.copiedBytes = reader.consumed;
        await finish(copy, reader);
        return { streamDb: run.streamDb };
      default:
        await takeOther(run, item);
    }
  }
}

/** A copy under way. */
type Run = Copy & {
  readonly reader: RdbReader;
  readonly lanes: readonly CopyLane[];
  /** Hands the next bytes of the source to the reader. */
  more(): Promise<void>;
  streamDb: number;
  announcedKeys: number;
};
type CopyLane = { readonly writer: TargetWriter; readonly encoder: CopyEncoder };

function beginRun(copy: Copy): Run {
  const { link, writers, meter, signal } = copy;
  const reader = new RdbReader();
  const form = { ...copy, isCluster: writers.isCluster };
  const lanes = writers.all.map((writer) => ({ writer, encoder: new CopyEncoder(writer, form) }));
  const more = async () => {
    meter.copiedBytes = reader.consumed;
    if (link.incoming.waitingBytes === 0) {
      for (const { writer } of lanes) if (writer.unflushedBytes >= WORTH_FLUSHING_BYTES) writer.flush();
    }
    reader.push(await meter.waitForSource(link.incoming.read(signal)));
  };
  return { ...copy, reader, lanes, more, streamDb: 0, announcedKeys: 0 };
}

/**
 * Carries keys up to what is no ordinary one, or must be waited for. Apart from the rest, because it runs for every
 * key: as part of a long function it is compiled three times over before it is fast, which a small copy never is.
 */
function carryKeys(run: Run): Exclude<RdbItem, 'key'> | Promise<void> {
  const { reader, meter, onKey } = run;
  for (;;) {
    const item = reader.next();
    if (item !== 'key') return item;
    if (isLeftOut(run)) continue;
    meter.copiedKeys += 1;
    onKey?.(reader.db, reader.key);
    const { writer, encoder } = laneOf(run);
    const large = encoder.write(reader);
    if (large !== undefined) return large;
    if (!writer.hasRoom) return writer.room();
  }
}

async function carryLarge(run: Run): Promise<void> {
  const { reader, meter, onKey, more } = run;
  if (isLeftOut(run)) return passOver({ reader, more });
  meter.copiedKeys += 1;
  onKey?.(reader.db, reader.key);
  const { writer } = laneOf(run);
  await writeLargeValue({ ...run, writer, waitForTarget: (wait) => meter.waitForTarget(wait) });
  if (!writer.hasRoom) await meter.waitForTarget(writer.room());
}

/** What is no key. */
async function takeOther(run: Run, item: 'database' | 'sizes' | 'function' | 'aux' | 'module-data') {
  const { reader, lanes, writers, meter, skips } = run;
  switch (item) {
    case 'database':
      enterDatabase(lanes, writers.enterDatabase(reader.db));
      // A target that does not have it would take what follows into the database before.
      for (const { writer } of lanes) await meter.waitForTarget(writer.settle());
      break;
    case 'sizes':
      run.announcedKeys += reader.databaseKeys;
      meter.expectKeys(run.announcedKeys);
      break;
    case 'function':
      for (const { writer } of lanes) await loadFunction(writer, reader.text);
      break;
    case 'aux':
      if (reader.auxName === 'repl-stream-db') run.streamDb = databaseNumber(reader.text);
      // Scripts of Redis up to 6.2, which clients call by their hash.
      if (reader.auxName === 'lua') {
        for (const { writer } of lanes) writer.write(['SCRIPT', 'LOAD', reader.text]);
      }
      break;
    case 'module-data':
      skips.add({ what: 'module-data', reason: `module ${reader.moduleName}` });
      break;
  }
}

/** Who writes the key that the reader stands on. */
function laneOf({ reader, lanes, writers }: Run): CopyLane {
  const lane = lanes[writers.indexOf(reader.key)];
  if (lane === undefined) throw new Error('a key that nobody writes');
  return lane;
}

/** Keys of one database are not written together with those of another. */
function enterDatabase(lanes: readonly CopyLane[], command: Command | undefined): void {
  for (const { writer, encoder } of lanes) {
    encoder.flush();
    if (command !== undefined) writer.write(command);
  }
}

/** Whether the key is not carried at all; also takes note of one that is carried without the expiry of its fields. */
function isLeftOut({ reader, skips, hasHashFieldTtls }: Run): boolean {
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
