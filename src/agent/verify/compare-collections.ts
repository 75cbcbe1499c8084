import { FOOTER_BYTES } from '../redis/rdb/footer.ts';
import { REPLY_KIND, type ReplyCursor } from '../redis/reply-bytes.ts';
import { type Batch, type Collection, countType, keyAt, STANDING } from './compare-batch.ts';
import { LENGTH_COMMANDS } from './compare-key.ts';
import { comparePayloads } from './compare-payloads.ts';
import { exchangeBoth } from './exchange.ts';
import { type CommandFrame, commandAround, Request } from './request.ts';

/** Up to here a collection is dumped at once, beyond it its elements are read in pages: a DUMP holds up its server. */
const SMALL_BYTES = 256 * 1024;
/** The same where the source does not tell bytes. */
const SMALL_ELEMENTS = 1000;
/** What one round of payloads has at each side, as far as sizes are known. */
const ROUND_BYTES = 512 * 1024;

const DUMP = commandAround(['DUMP']);
const MEMORY_USAGE = commandAround(['MEMORY', 'USAGE']);
const LENGTHS: ReadonlyMap<string, CommandFrame> = new Map(
  Object.entries(LENGTH_COMMANDS).map(([type, command]) => [type, commandAround([command])]),
);

/** Compares collections by their payloads; the large ones are left to be read page by page. */
export async function compareCollections(batch: Batch, collections: readonly Collection[]): Promise<void> {
  if (collections.length === 0) return;
  const sizes = await readSizes(batch, collections);
  let round: Collection[] = [];
  let roundBytes = 0;
  for (const [position, collection] of collections.entries()) {
    const bytes = sizes[position] ?? 0;
    if (bytes > SMALL_BYTES) {
      batch.standings[collection.index] = STANDING.large;
      continue;
    }
    if (roundBytes + bytes > ROUND_BYTES) {
      await compareRound(batch, round);
      round = [];
      roundBytes = 0;
    }
    round.push(collection);
    roundBytes += bytes;
  }
  if (round.length > 0) await compareRound(batch, round);
}

/**
 * Bytes in memory, or what stands for them; nothing for a key that is gone. The target tells them, since it is dear to
 * find out; the source only counts its elements, and one with more of them than there are bytes is as large as can be.
 */
async function readSizes(batch: Batch, collections: readonly Collection[]): Promise<Float64Array> {
  const { pair, db } = batch;
  const { memoryUsage } = pair.target.capabilities;
  const request = new Request();
  const requestAtTarget = new Request();
  for (const { index, type } of collections) {
    const count = LENGTHS.get(type);
    if (count === undefined) throw new Error(`${type} has no elements`);
    request.add(count, keyAt(batch, index));
    requestAtTarget.add(memoryUsage ? MEMORY_USAGE : count, keyAt(batch, index));
  }
  return exchangeBoth(pair, { db, request, requestAtTarget }, ({ source, target }) =>
    Float64Array.from(collections, () => {
      const [length, size] = [nextInteger(source), nextInteger(target)];
      const bytes = memoryUsage ? size : (size / SMALL_ELEMENTS) * SMALL_BYTES;
      return length > bytes ? Number.POSITIVE_INFINITY : bytes;
    }),
  );
}

function nextInteger(replies: ReplyCursor): number {
  replies.next();
  return replies.kind === REPLY_KIND.integer ? replies.integer() : 0;
}

async function compareRound(batch: Batch, round: readonly Collection[]): Promise<void> {
  const { pair, db, standings } = batch;
  const request = new Request();
  for (const { index } of round) request.add(DUMP, keyAt(batch, index));
  await exchangeBoth(pair, { db, request }, ({ source, target }) => {
    for (const { index, type } of round) {
      source.next();
      target.next();
      const isBulk = source.kind === REPLY_KIND.bulk && target.kind === REPLY_KIND.bulk;
      if (!isBulk || source.isNull || target.isNull) {
        // Gone at one side or both, or not to be dumped.
        standings[index] = STANDING.unclear;
        continue;
      }
      const [aEnd, bEnd] = [source.end - FOOTER_BYTES, target.end - FOOTER_BYTES];
      const isSame = source.bytes.compare(target.bytes, target.start, bEnd, source.start, aEnd) === 0;
      const verdict = isSame
        ? 'equal'
        : comparePayloads(
            source.bytes.subarray(source.start, aEnd),
            target.bytes.subarray(target.start, bEnd),
          );
      if (verdict === 'undecided') standings[index] = STANDING.unclear;
      else countType(batch, type);
      if (verdict === 'different') standings[index] = STANDING.suspect;
    }
  });
}
