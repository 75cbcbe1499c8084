import type { KeyDisplay } from '../../contract/jobs.ts';
import type { HashFieldTtl } from '../../contract/skipped.ts';
import { retry } from '../../core/retry.ts';
import type { JobContext } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { SOURCE_NOT_READY_POLICY } from '../redis/replication.ts';
import { countKeys, type ServerInfo } from '../redis/server-info.ts';
import { endEarlierWriters, writerName } from '../redis/writers.ts';
import type { TouchedKeys } from '../touched/touched-keys.ts';
import type { Tuning } from '../tune/source-tuning.ts';
import { type Holder, markForReconcile, planStart, readTargetContent, type StartPlan } from './claim.ts';
import { runClusterSession } from './cluster/session.ts';
import type { CopyBudget } from './copy-budget.ts';
import type { Meter } from './meter.ts';
import type { ModuleCommands } from './module-commands.ts';
import { reachStream } from './reach-stream.ts';
import { inspectSource, inspectTarget, openTarget, probeDatabase, type TargetFacts } from './servers.ts';
import type { FollowedShard } from './shards/followed-shard.ts';
import { Skips } from './skips.ts';
import type { FeedStart, SourceFeed } from './source-feed.ts';
import { explainClaimCheck } from './standing-claim.ts';
import { StreamApplier } from './stream-applier.ts';
import { applyUntilStopped, markDiverged, supervise } from './supervision.ts';
import { TargetWriter, type WriteFailure } from './target-writer.ts';
import { readTouchKeys } from './touching.ts';

/** What stays the same over all connections of one sync. */
export type SyncWorld = {
  /** Where the source is: of a shard it may be elsewhere after a failover. */
  locateSource(): Promise<Access>;
  readonly target: Access;
  readonly tuning: Tuning;
  /** Nodes that a target in cluster mode had when it was last seen: asked when the target's own address is silent. */
  readonly targetNodes: Access[];
  readonly flushTarget: boolean;
  readonly hashFieldTtl: HashFieldTtl;
  /** How the names of what is left out are shown. */
  readonly keyDisplay: KeyDisplay;
  /** As the last look at the source told. */
  moduleCommands: ModuleCommands;
  readonly holder: Holder;
  readonly meter: Meter;
  readonly context: JobContext;
  /** What comes from the source; it outlives the connections to the target. */
  readonly feed: SourceFeed;
  readonly copies: CopyBudget;
  readonly touched: TouchedKeys;
  /** Which shard of the source is followed; undefined for a source that is not in cluster mode. */
  readonly shard?: FollowedShard;
};

/**
 * Syncs over one connection to the target: takes up what the claim in it says, copies if it must, then applies the
 * stream until the job is asked to stop.
 *
 * @throws the signal's reason when stopped before the stream has begun; {@link HistoryLost} when the next session finds
 *   a new beginning; else what went wrong; the claim in the target then says from where the next session goes on
 */
export async function runSession(world: SyncWorld): Promise<void> {
  const { meter, feed } = world;
  meter.stage = 'connecting';
  await using target = await openTarget(world);
  const facts = await inspectTarget(target);
  if (facts.isCluster || world.shard !== undefined)
    return runClusterSession(world, { client: target, facts });
  const source = feed.hasBegun ? undefined : await lookAtSource(world, facts);
  const plan = await prepareTarget(target, world);
  if (plan.kind !== 'resume') await world.tuning.beforeCopy();
  const { directory } = world.context;
  const counts = plan.kind === 'resume' ? plan.skipped : [];
  const skips = new Skips({ directory, keyDisplay: world.keyDisplay, counts });
  meter.skips = skips;
  meter.stage = 'waiting';
  const begun = plan.kind === 'resume' ? await feed.resume(plan.checkpoint) : await feed.begin();
  const info = begun.kind === 'full' ? (source ?? (await lookAtSource(world, facts))) : undefined;
  const sourceKeys = info === undefined ? undefined : countKeys(info.fields);
  await syncFrom(begun, { world, target, facts, plan, skips, sourceKeys });
}

type Prepared = {
  world: SyncWorld;
  target: Client;
  facts: TargetFacts;
  plan: StartPlan;
  skips: Skips;
  sourceKeys: number | undefined;
};

async function syncFrom(begun: FeedStart, prepared: Prepared): Promise<void> {
  const { world, facts } = prepared;
  const { context, meter } = world;
  const { clock } = context;
  const link = begun.stream;
  const ended = new AbortController();
  let failure: WriteFailure | undefined;
  let applier: StreamApplier | undefined;
  const signal = AbortSignal.any([context.signal, ended.signal, link.ended]);
  await using writer = await TargetWriter.open({
    access: world.target,
    clientName: writerName(world.holder.migrationId),
    clock,
    limit: meter.limits.target,
    onFailure: (happened) => {
      failure = happened;
      ended.abort(happened.error);
    },
    explain: (refusal) => explainClaimCheck(world.target, refusal),
    onAnswers: () => applier?.onAnswers(),
    signal,
  });
  // A write that waits for a target that does not answer would keep the session.
  link.ended.addEventListener('abort', () => writer.abandon(link.ended.reason), { signal: ended.signal });
  const supervision = supervise({ world, writers: [writer], signal: ended.signal });
  try {
    const start = await reachStream({ ...prepared, begun, writer, signal });
    await world.tuning.atStream();
    meter.startStream(start);
    const probe = (db: number) => probeDatabase(world.target, db);
    const keys = await readTouchKeys(prepared.target);
    const { skips } = prepared;
    const stream = { link, writer, start, skips, keys, probeDatabase: probe, signal };
    applier = new StreamApplier({ ...world, ...facts, ...context, ...stream });
    await applyUntilStopped(applier, world);
  } catch (error) {
    if (failure?.isDivergence) await markDiverged(() => markForReconciling(world), world);
    // What the writer was abandoned for comes back from it under another name.
    throw link.ended.aborted ? link.ended.reason : error;
  } finally {
    ended.abort(new Error('the session has ended'));
    await supervision;
  }
}

/** Looks at the source before anything is changed; undefined when it does not say what it is. */
export async function lookAtSource(world: SyncWorld, facts: TargetFacts): Promise<ServerInfo | undefined> {
  const { target, hashFieldTtl, context } = world;
  const form = { ...facts, hashFieldTtl, address: target.address, isShard: world.shard !== undefined };
  const inspect = async () => inspectSource(await world.locateSource(), form);
  const { info, moduleCommands } = await retry(inspect, {
    policy: SOURCE_NOT_READY_POLICY,
    clock: context.clock,
    signal: context.signal,
  });
  world.moduleCommands = moduleCommands;
  return info;
}

/** Reads the claim twice: what is found first may still be changed by an earlier writer, which is ended in between. */
async function prepareTarget(target: Client, world: SyncWorld): Promise<StartPlan> {
  const { context, holder, flushTarget } = world;
  const decide = async () =>
    planStart(await readTargetContent(target), { holder, flushTarget, address: target.access.address });
  await decide();
  const ended = await endEarlierWriters(target, holder.migrationId);
  if (ended === undefined) context.log('the user at the target may not end connections of earlier syncs');
  else if (ended > 0) context.log(`ended ${ended} connections of an earlier sync to the target`);
  return decide();
}

async function markForReconciling({ target, holder }: SyncWorld): Promise<void> {
  await using client = await openClient(target);
  await markForReconcile(client, holder);
}
