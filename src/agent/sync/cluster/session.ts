import path from 'node:path';
import type { Checkpoint } from '../../../contract/reports.ts';
import type { SkippedCount } from '../../../contract/skipped.ts';
import { type Claim, readClaim } from '../../redis/checkpoint.ts';
import type { Client } from '../../redis/client.ts';
import { countKeys, type ServerInfo } from '../../redis/server-info.ts';
import { SPOOL_FOLDER } from '../../redis/spool.ts';
import { writerName } from '../../redis/writers.ts';
import { planStart } from '../claim.ts';
import { inspectTarget, openTarget, type TargetFacts } from '../servers.ts';
import { lookAtSource, type SyncWorld } from '../session.ts';
import { assertShardsHeld } from '../shards/claim.ts';
import { CopyTurn } from '../shards/copy-turn.ts';
import type { FollowedShard } from '../shards/followed-shard.ts';
import { removeShard } from '../shards/remove-shard.ts';
import { Skips } from '../skips.ts';
import type { FeedStart } from '../source-feed.ts';
import { applyUntilStopped, closeAll, markDiverged, supervise } from '../supervision.ts';
import { TargetWriter, type WriteFailure } from '../target-writer.ts';
import { ClusterApplier } from './applier.ts';
import { explainBatchRefusal } from './batch-script.ts';
import {
  type ClusterTarget,
  endClusterWriters,
  markClusterForReconcile,
  openClusterTarget,
  readClusterContent,
} from './cluster-target.ts';
import { readCommandKeys } from './command-keys.ts';
import { databasesTooFew } from './data-commands.ts';
import { loadBatchScript, runEverywhere } from './everywhere.ts';
import { type Generation, readClusterPositions } from './generation.ts';
import { Lane } from './lane.ts';
import { checkpointSlotOf } from './positions.ts';
import { type ClusterPlan, reachClusterStream } from './reach-stream.ts';

type Prepared = {
  readonly world: SyncWorld;
  readonly target: ClusterTarget;
  readonly facts: TargetFacts;
  readonly plan: ClusterPlan;
  readonly skips: Skips;
  readonly sourceKeys: number | undefined;
  /** Held from before the source is asked for a copy until that stands in the target. */
  readonly turn: CopyTurn;
};

/**
 * Syncs to a target in cluster mode, as `runSession` does to one that is not, over one connection to each primary. It
 * ends when a slot has moved or a replica was promoted, and the next one goes on. A shard of the source is synced so to
 * any target.
 *
 * @throws what `runSession` throws; target-databases-too-few when the source has data that no cluster has a database for
 */
export async function runClusterSession(
  world: SyncWorld,
  { client, facts }: { client: Client; facts: TargetFacts },
): Promise<void> {
  const { meter, feed, shard, context } = world;
  const { isCluster } = facts;
  await using target = await openClusterTarget(client, { isCluster, ...(shard && { keys: shard.keys }) });
  rememberNodes(world, target);
  const source = feed.hasBegun ? undefined : await lookAtSource(world, facts);
  refuseOtherDatabases(source);
  const { plan, counts } =
    shard === undefined ? await prepareTarget(target, world) : await prepareShard(target, { world, shard });
  using turn = new CopyTurn(shard?.turns);
  if (plan.kind !== 'resume') {
    meter.stage = 'waiting';
    await turn.take(context.signal);
    await world.tuning.beforeCopy();
  }
  const { directory } = context;
  const skips = new Skips({ directory, keyDisplay: world.keyDisplay, counts });
  meter.skips = skips;
  meter.stage = 'waiting';
  const begun =
    plan.kind === 'resume'
      ? await feed.resume({ replid: plan.replid, ...plan.positions.lowest })
      : await feed.begin();
  const info = begun.kind === 'full' ? (source ?? (await lookAtSource(world, facts))) : undefined;
  const sourceKeys = info === undefined ? undefined : countKeys(info.fields);
  await syncFrom(begun, { world, target, facts, plan, skips, sourceKeys, turn });
}

async function syncFrom(begun: FeedStart, prepared: Prepared): Promise<void> {
  const { world, target, facts } = prepared;
  const { context, meter } = world;
  const link = begun.stream;
  const ended = new AbortController();
  let failure: WriteFailure | undefined;
  let applier: ClusterApplier | undefined;
  let lanes: readonly Lane[] = [];
  const onFailure = (happened: WriteFailure) => {
    failure ??= happened;
    ended.abort(happened.error);
  };
  const onAnswers = (index: number) => {
    const lane = lanes[index];
    if (lane !== undefined) applier?.onAnswers(lane);
  };
  const signal = AbortSignal.any([context.signal, ended.signal, link.ended]);
  const writers: TargetWriter[] = [];
  await using _ = { [Symbol.asyncDispose]: () => closeAll(writers) };
  for (const node of target.topology.nodes) {
    writers.push(await openWriter(prepared, { index: node.index, onFailure, onAnswers, signal }));
  }
  // A write that waits for a primary that does not answer would keep the session.
  const abandon = () => {
    for (const writer of writers) writer.abandon(link.ended.reason);
  };
  link.ended.addEventListener('abort', abandon, { signal: ended.signal });
  const supervision = supervise({ world, writers, signal: ended.signal });
  try {
    if (begun.kind === 'full') await prepared.turn.take(signal);
    const generation = await reachClusterStream({
      ...prepared,
      begun,
      writers,
      lookAtSource: () => lookAtSource(world, facts),
      signal,
    });
    prepared.turn[Symbol.dispose]();
    await world.tuning.atStream();
    meter.startStream(generation.start);
    lanes = openLanes(prepared, { writers, generation });
    const emptyShard = (isDue: (slot: number) => boolean) =>
      removeShard({ world, target, writers, isDue, signal });
    applier = await openApplier(prepared, { link, lanes, generation, emptyShard, onFailure, signal });
    await applyUntilStopped(applier, world);
  } catch (error) {
    if (failure?.isDivergence) await markDiverged(() => markForReconciling(world), world);
    // What the writers were abandoned for comes back from them under another name.
    throw link.ended.aborted ? link.ended.reason : error;
  } finally {
    ended.abort(new Error('the session has ended'));
    await supervision;
  }
}

function rememberNodes({ targetNodes }: SyncWorld, { topology }: ClusterTarget): void {
  const nodes = topology.nodes.flatMap(({ access, replicas }) => [access, ...replicas]);
  targetNodes.splice(0, targetNodes.length, ...nodes);
}

function refuseOtherDatabases(source: ServerInfo | undefined): void {
  for (const [name, value] of source?.fields ?? []) {
    const keys = Number(/^keys=(\d+)/.exec(value)?.[1] ?? 0);
    if (/^db[1-9]\d*$/.test(name) && keys > 0) {
      throw databasesTooFew(`${keys} keys in database ${name.slice(2)}`);
    }
  }
}

type Planned = { readonly plan: ClusterPlan; readonly counts: readonly SkippedCount[] };

/** Reads the claim twice: what is found first may still be changed by earlier writers, which are ended in between. */
async function prepareTarget(target: ClusterTarget, world: SyncWorld): Promise<Planned> {
  const { context, holder, flushTarget } = world;
  const { address } = world.target;
  const decide = async () => {
    const content = await readClusterContent(target);
    return { content, plan: planStart(content, { holder, flushTarget, address }) };
  };
  await decide();
  const ended = await endClusterWriters(target, holder.migrationId);
  if (ended === undefined) context.log('the user at the target may not end connections of earlier syncs');
  else if (ended > 0) context.log(`ended ${ended} connections of an earlier sync to the target`);
  const { content, plan } = await decide();
  if (plan.kind !== 'resume') return { plan, counts: [] };
  return planResume(target, { world, claim: content.claim, plan });
}

/** How to go on with one shard of the source, whose claim lies beside the one that all of them have. */
async function prepareShard(
  target: ClusterTarget,
  { world, shard }: { world: SyncWorld; shard: FollowedShard },
): Promise<Planned> {
  const { holder } = world;
  await endClusterWriters(target, holder.migrationId, shard.index);
  await assertShardsHeld(target, { world, shard });
  const claim = await readClaim(target.holder, shard.keys.claim);
  if (claim?.state === 'copying') return { plan: { kind: 'copy', mustFlush: false }, counts: [] };
  const { checkpoint, skipped = [] } = claim ?? {};
  if (claim?.state !== 'live' || checkpoint === undefined) return { plan: { kind: 'reconcile' }, counts: [] };
  return planResume(target, { world, claim, plan: { checkpoint, skipped } });
}

/** Where every slot stands; when that is not known the target is reconciled. */
async function planResume(
  target: ClusterTarget,
  found: {
    world: SyncWorld;
    claim: Claim | undefined;
    plan: { checkpoint: Checkpoint; skipped: readonly SkippedCount[] };
  },
): Promise<Planned> {
  const before = found.claim?.cluster;
  const positions = await readClusterPositions(target, before);
  if (positions !== undefined) {
    const { checkpoint, skipped } = found.plan;
    return { plan: { kind: 'resume', positions, before, replid: checkpoint.replid }, counts: skipped };
  }
  found.world.context.log('the checkpoints of the primaries do not fit the claim: reconciling the target');
  return { plan: { kind: 'reconcile' }, counts: [] };
}

type WriterOpening = {
  readonly index: number;
  readonly onFailure: (failure: WriteFailure) => void;
  readonly onAnswers: (index: number) => void;
  readonly signal: AbortSignal;
};

function openWriter({ world, target }: Prepared, opening: WriterOpening): Promise<TargetWriter> {
  const { index, onFailure, onAnswers, signal } = opening;
  const { nodes } = target.topology;
  const access = nodes[index]?.access;
  if (access === undefined) throw new Error(`there is no node ${index}`);
  return TargetWriter.open({
    access,
    clientName: writerName(world.holder.migrationId, world.shard?.index),
    clock: world.context.clock,
    sharedBy: nodes.length * (world.shard?.of ?? 1),
    limit: world.meter.limits.target,
    explain: ({ text }) => explainBatchRefusal(access, text),
    onFailure,
    onAnswers: () => onAnswers(index),
    signal,
  });
}

function openLanes(
  { target, world }: Prepared,
  { writers, generation }: { writers: readonly TargetWriter[]; generation: Generation },
): Lane[] {
  return target.topology.nodes.map((node, index) => {
    const writer = writers[index];
    const checkpoint = generation.checkpoints[index];
    if (writer === undefined || checkpoint === undefined) throw new Error(`nobody writes to node ${index}`);
    return new Lane({
      node,
      writer,
      generation: generation.number,
      checkpointKey: target.keys.checkpoint(checkpointSlotOf(node.ranges)),
      checkpoint,
      offset: generation.start.offset,
      nowMs: () => world.context.clock.nowMs(),
      beforeCheckpoint: (offset) => world.touched.flush(offset),
    });
  });
}

type Opening = Pick<
  ConstructorParameters<typeof ClusterApplier>[0],
  'link' | 'lanes' | 'generation' | 'onFailure' | 'signal' | 'emptyShard'
>;

async function openApplier(
  { world, target, facts, skips }: Prepared,
  opening: Opening,
): Promise<ClusterApplier> {
  for (const client of target.clients) await loadBatchScript(client);
  return new ClusterApplier({
    ...opening,
    ...facts,
    topology: target.topology,
    clientOf: target.clientOf,
    runEverywhere: (args) => runEverywhere(target.clients, args),
    keys: await readCommandKeys(target.holder),
    hashFieldTtl: world.hashFieldTtl,
    moduleCommands: world.moduleCommands,
    skips,
    touched: world.touched,
    holder: world.holder,
    claimKey: target.keys.claim,
    shard: world.shard,
    meter: world.meter,
    clock: world.context.clock,
    directory: path.join(world.context.directory, SPOOL_FOLDER),
  });
}

async function markForReconciling(world: SyncWorld): Promise<void> {
  await using client = await openTarget(world);
  const { isCluster } = await inspectTarget(client);
  await using target = await openClusterTarget(client, {
    isCluster,
    ...(world.shard && { keys: world.shard.keys }),
  });
  await markClusterForReconcile(target);
}
