import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import { decodeClaim, SCAN_HISTORY } from '../redis/checkpoint.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { RESERVED_KEY, shardClaimKeys } from '../redis/reserved-key.ts';
import type { Session } from './session.ts';

type StreamMark = { readonly replid: string; readonly offset: number };
/** A place in the replication stream of the source; of one in cluster mode in that of each primary, by their slots. */
export type Mark = StreamMark | { readonly shards: readonly StreamMark[] };

/** The longest that a comparison waits until the target has applied what the source had at a mark. */
export const LAG_WAIT_MAX_MS = 120_000;
const POLL_MS = 200;

/** Where the source's stream is now; undefined where that cannot be told. Of a sync by scanning a place is a time. */
export async function markSource(
  { source, target }: { source: Session; target: Session },
  clock: Clock,
): Promise<Mark | undefined> {
  if (target.capabilities.scanned) return { replid: SCAN_HISTORY, offset: clock.nowMs() };
  if (!source.isCluster) return markOf(await readReplication(source));
  const marks = (await source.askEvery(['INFO', 'replication'])).map((reply) => markOf(fieldsOf(reply)));
  const shards = marks.filter((mark) => mark !== undefined);
  return shards.length < marks.length ? undefined : { shards };
}

function markOf(fields: ReadonlyMap<string, string>): StreamMark | undefined {
  const replid = fields.get('master_replid');
  const offset = Number(fields.get('master_repl_offset'));
  return replid === undefined || !Number.isSafeInteger(offset) ? undefined : { replid, offset };
}

/**
 * Waits until everything before the mark has reached the target, as far as anybody knows: the target itself when it is
 * a replica of the source, else the checkpoint that a sync commits in it, else every replica that the source has.
 * Without any it returns at once, and only time tells.
 *
 * @throws sync-behind when that takes longer than {@link LAG_WAIT_MAX_MS}
 */
export async function waitForMark(
  { source, target }: { source: Session; target: Session },
  mark: Mark | undefined,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<void> {
  if (mark === undefined) return;
  const untilMs = clock.nowMs() + LAG_WAIT_MAX_MS;
  const wait = async (at: StreamMark, readOffset: () => Promise<number | undefined>) => {
    for (;;) {
      const offset = await readOffset();
      if (offset === undefined || offset >= at.offset) return;
      if (clock.nowMs() >= untilMs) throw syncBehind(target, at, offset);
      await clock.sleep(POLL_MS, signal);
    }
  };
  if ('shards' in mark) {
    for (const [shard, at] of mark.shards.entries()) {
      await wait(at, () => offsetOfSync(target, at, shardClaimKeys(shard).claim));
    }
    return;
  }
  await wait(
    mark,
    async () =>
      offsetOfReplica(await readReplication(target), mark) ??
      (await offsetOfSync(target, mark, RESERVED_KEY)) ??
      offsetOfSlowest(await readReplication(source), mark),
  );
}

function syncBehind(target: Session, mark: StreamMark, offset: number): MigrationError {
  return new MigrationError(
    'sync-behind',
    `The target ${target.access.address} did not reach offset ${mark.offset} of the source in ${formatDuration(LAG_WAIT_MAX_MS)}; it is at ${offset}.`,
  );
}

async function readReplication(session: Session): Promise<ReadonlyMap<string, string>> {
  const [reply] = await session.ask(0, [['INFO', 'replication']]);
  return fieldsOf(reply);
}

function fieldsOf(reply: Reply | undefined): ReadonlyMap<string, string> {
  const lines = Buffer.isBuffer(reply) ? reply.toString('latin1').matchAll(/^([^#:\r\n]+):([^\r\n]*)/gm) : [];
  return new Map(Array.from(lines, ([, name = '', value = '']) => [name, value]));
}

/** What a native replica has applied; a target that follows another stream says nothing about ours. */
function offsetOfReplica(fields: ReadonlyMap<string, string>, mark: StreamMark): number | undefined {
  if (fields.get('role') !== 'slave' || fields.get('master_replid') !== mark.replid) return undefined;
  return Number(fields.get('slave_repl_offset'));
}

/** What a sync of ours has committed; other replicas of the source, which may be slow, say nothing about our target. */
async function offsetOfSync(target: Session, mark: StreamMark, claim: Buffer): Promise<number | undefined> {
  const [reply] = await target.ask(0, [['GET', claim]]);
  if (!Buffer.isBuffer(reply)) return undefined;
  try {
    const { checkpoint } = decodeClaim(reply.toString(), target.access.address);
    return checkpoint?.replid === mark.replid ? checkpoint.offset : undefined;
  } catch {
    // A claim of another version tells nothing here; who takes the target says so.
    return undefined;
  }
}

/** `slave0:ip=...,port=...,state=online,offset=...,lag=...`: what the replicas of the source have acknowledged. */
function offsetOfSlowest(fields: ReadonlyMap<string, string>, mark: StreamMark): number | undefined {
  // After a failover of the source offsets of the old stream mean nothing.
  if (fields.get('master_replid') !== mark.replid) return undefined;
  const offsets = [...fields]
    .filter(([name, value]) => /^slave\d+$/.test(name) && value.includes('state=online'))
    .map(([, value]) => Number(/offset=(\d+)/.exec(value)?.[1]));
  return offsets.length === 0 ? undefined : Math.min(...offsets);
}
