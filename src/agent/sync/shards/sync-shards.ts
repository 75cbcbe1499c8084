import { existsSync, readdirSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { SyncReport } from '../../../contract/reports.ts';
import { isMigrationError, MigrationError } from '../../../core/errors.ts';
import { retry } from '../../../core/retry.ts';
import type { JobContext } from '../../job/context.ts';
import type { Access } from '../../redis/access.ts';
import { openClient } from '../../redis/client.ts';
import {
  isInClusterMode,
  SHARDS_FOLDER,
  SOURCE_SHARDS_MAX,
  SourceCluster,
  type SourceShard,
} from '../../redis/cluster/source-cluster.ts';
import { SOURCE_NOT_READY_POLICY } from '../../redis/replication.ts';
import { TouchedKeys } from '../../touched/touched-keys.ts';
import { CopyBudget } from '../copy-budget.ts';
import { Meter, type SyncLimits } from '../meter.ts';
import { moduleCommands } from '../module-commands.ts';
import { isPassing, Patience } from '../patience.ts';
import type { SyncWorld } from '../session.ts';
import { SourceFeed } from '../source-feed.ts';
import { syncUntilStopped } from '../until-stopped.ts';
import { claimForShards, removeShardClaims } from './claim.ts';
import { CopyTurns } from './copy-turn.ts';
import { type FollowedShard, followShard } from './followed-shard.ts';
import type { ShardMeters } from './shard-meters.ts';

/** What the journals of all shards keep in memory together, as that of one source does, and each at least. */
const JOURNALS_BYTES = 12 * 1024 * 1024;
const JOURNAL_BYTES_MIN = 512 * 1024;
/** How often the sync looks whether the slots of the source are where they were. */
const LAYOUT_MS = 2_000;
const NO_TUNING: SyncWorld['tuning'] = {
  beforeCopy: async () => {},
  atStream: async () => {},
  end: async () => {},
};

/** What all shards have in common. */
export type ShardsOptions = Pick<
  SyncWorld,
  'target' | 'targetNodes' | 'flushTarget' | 'hashFieldTtl' | 'keyDisplay' | 'holder' | 'context'
> & {
  readonly source: Access;
  readonly tuneSource: boolean;
  readonly limits: SyncLimits;
  readonly spoolBytesMax: number;
  /** Shows the shards as one sync. */
  readonly meters: ShardMeters;
};

/** Whether the source is in cluster mode, as far as its user may ask. Throws the codes of a connection to it. */
export async function isSourceCluster(access: Access, { clock, signal }: JobContext): Promise<boolean> {
  const ask = async () => {
    await using client = await openClient(access);
    return await isInClusterMode(client);
  };
  try {
    return await retry(ask, { policy: SOURCE_NOT_READY_POLICY, clock, signal });
  } catch (error) {
    // Replicating needs no INFO.
    if (isMigrationError(error) && /-(permission-denied|protocol-error)$/.test(error.code)) return false;
    throw error;
  }
}

/**
 * Follows every shard of a source in cluster mode, each with a stream, a journal and a claim of its own, until the job
 * is asked to stop. Slots that move at the source end that, and all shards are reconciled as they are then: a key that
 * changes its shard comes from both, in no order.
 *
 * @throws what a sync throws, of the first shard that fails for good; source-slots-moved in the beginning
 */
export async function syncShards(options: ShardsOptions): Promise<SyncReport> {
  const { context, meters, tuneSource } = options;
  if (tuneSource) meters.note('the settings of a source in cluster mode are left as they are');
  const layouts = new CopyBudget(context.clock, {
    remedy: 'Start the migration again when the resharding is over.',
  });
  using touched = new TouchedKeys(context);
  touched.lose('the source is in cluster mode');
  const patience = new Patience(context.clock);
  let cluster = await openCluster(options);
  for (;;) {
    try {
      return await syncLayout(cluster, { ...options, touched, layouts });
    } catch (error) {
      if (context.signal.aborted || !areSlotsMoved(error)) throw error;
      layouts.reason = error.message;
      layouts.begin();
      context.log(`reconciling every shard: ${error.message}`);
      meters.note('reconciling every shard: slots of the source were moved');
      const count = cluster.shards.length;
      await removeShardClaims(options.target, { count, signal: context.signal });
      cluster = await settledCluster(options, { patience, error });
      patience.renew();
    }
  }
}

/** Nodes that do not agree yet, as right after a failover, are asked again. Throws as {@link SourceCluster.open}. */
function openCluster({ source, context }: ShardsOptions): Promise<SourceCluster> {
  const { clock, signal } = context;
  const open = () => SourceCluster.open(source, signal);
  return retry(open, { policy: SOURCE_NOT_READY_POLICY, clock, signal });
}

/** The source as it is when no slot is on its way any more. @throws sync-lost when that takes more than five minutes */
async function settledCluster(
  { source, context }: ShardsOptions,
  { patience, error }: { patience: Patience; error: MigrationError },
): Promise<SourceCluster> {
  for (let reason = error; ; ) {
    await patience.wait(reason, context.signal);
    try {
      return await SourceCluster.open(source, context.signal);
    } catch (failure) {
      if (!areSlotsMoved(failure) && !isPassing(failure)) throw failure;
      reason = failure;
    }
  }
}

function areSlotsMoved(error: unknown): error is MigrationError {
  return isMigrationError(error) && error.code === 'source-slots-moved';
}

type Layout = ShardsOptions & { readonly touched: TouchedKeys; readonly layouts: CopyBudget };

/** Follows the shards as they are. Throws what the first of them fails with. */
async function syncLayout(cluster: SourceCluster, layout: Layout): Promise<SyncReport> {
  const { context, meters, limits } = layout;
  refuseTooMany(cluster);
  await claimForShards(layout, cluster.shards);
  removeOtherFolders(context.directory, cluster.shards);
  const turns = new CopyTurns();
  const of = cluster.shards.length;
  const ended = new AbortController();
  let failure: { readonly error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure ??= { error };
    ended.abort(error);
  };
  const signal = AbortSignal.any([context.signal, ended.signal]);
  const followed = cluster.shards.map((found) => {
    const shard = followShard(found, { of, turns });
    return { shard, meter: new Meter(context.clock, limits) };
  });
  meters.show(followed.map(({ shard, meter }) => ({ slots: shard.slots, meter })));
  const watching = watchLayout(cluster, { ...layout, signal }).catch(fail);
  const runs = followed.map((one) => syncShard(cluster, { ...layout, ...one, signal }).catch(fail));
  await Promise.all(runs);
  ended.abort(new Error('every shard has ended'));
  await watching;
  if (failure !== undefined) throw failure.error;
  return meters.report();
}

type Following = Layout & {
  readonly shard: FollowedShard;
  readonly meter: Meter;
  readonly signal: AbortSignal;
};

async function syncShard(cluster: SourceCluster, following: Following): Promise<void> {
  const { shard, meter, touched, signal, spoolBytesMax, context: whole } = following;
  const context: JobContext = {
    ...whole,
    signal,
    directory: await makeFolder(whole.directory, shard),
    log: (line) => whole.log(`shard ${shard.slots.slice(0, 40)}: ${line}`),
  };
  const locate = () => cluster.locate(shard);
  await using feed = new SourceFeed({
    locate,
    spoolBytesMax: Math.floor(spoolBytesMax / shard.of),
    memoryBytesMax: Math.max(JOURNAL_BYTES_MIN, Math.floor(JOURNALS_BYTES / shard.of)),
    meter,
    context,
  });
  await syncUntilStopped({
    locateSource: locate,
    target: following.target,
    targetNodes: [...following.targetNodes],
    tuning: NO_TUNING,
    flushTarget: false,
    hashFieldTtl: following.hashFieldTtl,
    keyDisplay: following.keyDisplay,
    moduleCommands: moduleCommands(undefined),
    holder: following.holder,
    meter,
    context,
    feed,
    copies: new CopyBudget(context.clock),
    touched,
    shard,
  });
}

/** A folder for what the shard keeps on disk, by its slots: it is of no use to another. */
async function makeFolder(directory: string, { slots, index }: SourceShard): Promise<string> {
  const folder = path.join(directory, SHARDS_FOLDER, folderName({ slots, index }));
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return folder;
}

function folderName({ slots, index }: Pick<SourceShard, 'slots' | 'index'>): string {
  return slots.length <= NAME_LENGTH_MAX ? slots : `${slots.slice(0, NAME_LENGTH_MAX - 20)}_${index}`;
}

const NAME_LENGTH_MAX = 60;

/** What shards have left that are no more. */
function removeOtherFolders(directory: string, shards: readonly SourceShard[]): void {
  const folder = path.join(directory, SHARDS_FOLDER);
  const names = new Set(shards.map(folderName));
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    if (!names.has(name)) rmSync(path.join(folder, name), { recursive: true, force: true });
  }
}

async function watchLayout(
  cluster: SourceCluster,
  { context, meters, layouts, signal }: Layout & { readonly signal: AbortSignal },
): Promise<void> {
  while (!signal.aborted) {
    await context.clock.sleep(LAYOUT_MS, signal).catch(() => {
      // Aborted: the loop ends by itself.
    });
    if (signal.aborted) return;
    if (meters.areCaughtUp) layouts.caughtUp();
    await cluster.assertUnmoved().catch((error: unknown) => {
      // A source that does not answer is a matter of the streams.
      if (areSlotsMoved(error)) throw error;
    });
  }
}

function refuseTooMany({ shards }: SourceCluster): void {
  if (shards.length <= SOURCE_SHARDS_MAX) return;
  throw new MigrationError(
    'source-cluster-unsupported',
    `The source is a cluster of ${shards.length} primaries; at most ${SOURCE_SHARDS_MAX} are served.`,
  );
}
