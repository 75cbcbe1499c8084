import type { Route } from '../../contract/finding.ts';
import { assert } from '../../core/assert.ts';
import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import type { SiblingJobs } from '../job/context.ts';
import { readClaim, SCAN_HISTORY } from '../redis/checkpoint.ts';
import type { Client } from '../redis/client.ts';
import { readServerInfo, type ServerInfo } from '../redis/server-info.ts';

const POLL_MS = 20;

/** A place in the source's history. */
export type Position = { readonly replid: string; readonly offset: number };

/** What a drain looks at, and whom it tells. */
export type DrainContext = {
  readonly source: Client;
  readonly target: Client;
  /** Under which the sync says how far it is; of a shard of the source another one. */
  readonly claimKey?: Buffer;
  readonly siblings: Pick<SiblingJobs, 'state'>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told after every look: how far the target is behind. */
  reportLag(lagBytes: number): void;
};

/**
 * Waits until the target has committed everything that the fenced source had written, and returns both places.
 *
 * The source's place is read once, behind the fence: what it writes after it are PINGs to its replicas and the DELs
 * of keys that expire. Its replid is read again at the end: a failover of the source in between means another history.
 *
 * @throws sync-not-running, sync-lost, and the signal's reason
 */
export async function drain(
  route: Route,
  context: DrainContext,
): Promise<{ source: Position; targetOffset: number }> {
  const source = await readPosition(route, context);
  const readTarget = route === 'native' ? readNativeOffset : readCommittedOffset;
  for (;;) {
    context.signal.throwIfAborted();
    const targetOffset = await readTarget(source, context);
    if (route !== 'scan') context.reportLag(Math.max(0, source.offset - (targetOffset ?? 0)));
    if (targetOffset !== undefined && targetOffset >= source.offset) {
      await assertSameHistory(source, route, context);
      return { source, targetOffset };
    }
    // Another history at the target: the source may have gone on to it meanwhile, and is waited for in vain.
    if (targetOffset === undefined) await assertSameHistory(source, route, context);
    await context.clock.sleep(POLL_MS, context.signal);
  }
}

/**
 * Whether the server follows the other one as a native replica with its link up, by what INFO says of it.
 *
 * `master_replid` of a replica is its master's.
 */
export function isLinkUp(info: ServerInfo): boolean {
  return info.fields.get('role') === 'slave' && info.fields.get('master_link_status') === 'up';
}

/** Reads where the source is: `master_replid` and `master_repl_offset` of INFO; of the route `scan` a place is a time. */
async function readPosition(
  route: Route,
  { source, clock }: Pick<DrainContext, 'source' | 'clock'>,
): Promise<Position> {
  if (route === 'scan') return { replid: SCAN_HISTORY, offset: clock.nowMs() };
  const { fields } = await readServerInfo(source);
  const replid = fields.get('master_replid');
  const offset = Number(fields.get('master_repl_offset'));
  assert(
    replid !== undefined && Number.isSafeInteger(offset),
    'INFO of the source names no replication offset',
  );
  return { replid, offset };
}

/** How far the sync has committed in the target; undefined while its checkpoint is of another history. */
async function readCommittedOffset(source: Position, context: DrainContext): Promise<number | undefined> {
  const checkpoint = (await readClaim(context.target, context.claimKey))?.checkpoint;
  if (checkpoint?.replid === source.replid && checkpoint.offset >= source.offset) return checkpoint.offset;
  const sync = await context.siblings.state('sync');
  if (sync?.status !== 'running') {
    throw new MigrationError(
      'sync-not-running',
      `The sync ended while the target was draining (${sync?.status ?? 'there is none'}).`,
    );
  }
  return checkpoint?.replid === source.replid ? checkpoint.offset : undefined;
}

/** How far the target has come as a native replica; undefined while it follows another history or its link is down. */
async function readNativeOffset(source: Position, { target }: DrainContext): Promise<number | undefined> {
  const info = await readServerInfo(target);
  if (!isLinkUp(info) || info.fields.get('master_replid') !== source.replid) return undefined;
  return Number(info.fields.get('slave_repl_offset'));
}

async function assertSameHistory(before: Position, route: Route, context: DrainContext): Promise<void> {
  const { replid } = await readPosition(route, context);
  if (replid === before.replid) return;
  throw new MigrationError(
    'sync-lost',
    `The source ${context.source.access.address} changed its replication id from ${before.replid} to ${replid} during the drain: it failed over or was restarted.`,
  );
}
