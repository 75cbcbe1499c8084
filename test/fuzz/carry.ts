import { RdbReader } from '../../src/agent/redis/rdb/reader.ts';
import { CopyEncoder } from '../../src/agent/sync/copy-encoder.ts';
import { writeLargeValue } from '../../src/agent/sync/large-value.ts';
import type { TargetWriter } from '../../src/agent/sync/target-writer.ts';

/** An RDB in pieces, and how it is carried to where the writer leads. */
export type Carriage = {
  readonly pieces: readonly Buffer[];
  readonly writer: TargetWriter;
  readonly hasHashFieldTtls: boolean;
  /** Values beyond it go by the way of large ones. */
  readonly wholeValueBytesMax: number;
  /** Large collections beyond it go element by element. */
  readonly restoreBytesMax: number;
  /** Where bytes may be held on disk. */
  readonly directory: string;
};

/** How far a carriage came: the RDB may end too early. */
export type Carried = { readonly isComplete: boolean; readonly keys: number; readonly windowBytes: number };

/** The RDB ends before it should. */
class CutShort extends Error {}

/** Carries an RDB as a full copy does, with a bound of its own for what is large. */
export async function carryRdb(carriage: Carriage): Promise<Carried> {
  const reader = new RdbReader({ wholeValueBytesMax: carriage.wholeValueBytesMax });
  const progress = { keys: 0, windowBytes: 0 };
  const pieces = carriage.pieces.values();
  const more = async () => {
    const { value, done } = pieces.next();
    if (done) throw new CutShort();
    reader.push(value);
    progress.windowBytes = Math.max(progress.windowBytes, reader.window.length);
  };
  try {
    await carryItems(carriage, reader, more, progress);
    return { ...progress, isComplete: true };
  } catch (error) {
    if (error instanceof CutShort) return { ...progress, isComplete: false };
    throw error;
  }
}

async function carryItems(
  { writer, hasHashFieldTtls, restoreBytesMax, directory }: Carriage,
  reader: RdbReader,
  more: () => Promise<void>,
  progress: { keys: number },
): Promise<void> {
  const encoder = new CopyEncoder(writer, { hasHashFieldTtls, hashFieldTtl: 'refuse' });
  const waitForTarget = (wait: Promise<void>) => wait;
  for (;;) {
    const item = reader.next();
    switch (item) {
      case 'need-more':
        await more();
        break;
      case 'database':
        encoder.flush();
        writer.write(['SELECT', reader.db]);
        break;
      case 'key':
        progress.keys += 1;
        await encoder.write(reader);
        break;
      case 'large':
        progress.keys += 1;
        await writeLargeValue({
          reader,
          more,
          writer,
          waitForTarget,
          hasHashFieldTtls,
          hashFieldTtl: 'refuse',
          restoreBytesMax,
          directory,
        });
        break;
      case 'end':
        encoder.flush();
        return;
    }
    if (!writer.hasRoom) await writer.room();
  }
}
