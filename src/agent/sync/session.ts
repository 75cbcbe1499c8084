import path from 'node:path';
import type { Checkpoint } from '../../contract/reports.ts';
import { retry } from '../../core/retry.ts';
import type { JobContext } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import { encodeClaim } from '../redis/checkpoint.ts';
import { type Client, openClient } from '../redis/client.ts';
import { openReplication, type ReplicationLink, SOURCE_NOT_READY_POLICY } from '../redis/replication.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { countKeys } from '../redis/server-info.ts';
import { Spool } from '../redis/spool.ts';
import { endEarlierWriters, writerName } from '../redis/writers.ts';
import {
  claimForCopy,
  type Holder,
  markForCopy,
  planStart,
  readTargetContent,
  refuseShrunkSource,
  type StartPlan,
} from './claim.ts';
import { runClusterSession } from './cluster/session.ts';
import { copyDataSet, singleWriter } from './copy.ts';
import type { Meter } from './meter.ts';
import { inspectSource, inspectTarget, openTarget, type TargetFacts } from './servers.ts';
import { followSourceOffset } from './source-offset.ts';
import { StreamApplier } from './stream-applier.ts';
import { TargetWriter, type WriteFailure } from './target-writer.ts';

/** What stays the same over all connections of one sync. */
export type SyncWorld = {
  readonly source: Access;
  readonly target: Access;
  /** Nodes that a target in cluster mode had when it was last seen: asked when the target's own address is silent. */
  readonly targetNodes: Access[];
  readonly flushTarget: boolean;
  /** See {@link Spool}. */
  readonly spoolBytesMax: number;
  readonly holder: Holder;
  readonly meter: Meter;
  readonly context: JobContext;
};

const SUPERVISE_MS = 1_000;
/** How long a stopping sync waits for the target to answer what is on its way. */
const FINISH_MS = 10_000;
const MARK_ATTEMPTS = 3;

/**
 * Syncs over one pair of connections: takes up what the claim in the target says, copies if it must, then applies
 * the stream until the job is asked to stop.
 *
 * @throws the signal's reason when stopped before the stream has begun, else what went wrong; the claim in the target
 *   then says from where the next session goes on
 */
export async function runSession(world: SyncWorld): Promise<void> {
  const { context, meter } = world;
  const { clock } = context;
  meter.stage = 'connecting';
  await using target = await openTarget(world);
  const facts = await inspectTarget(target);
  if (facts.isCluster) return runClusterSession(world, { client: target, facts });
  const sourceInfo = await retry(
    () => inspectSource(world.source, { runId: facts.runId, address: world.target.address }),
    { policy: SOURCE_NOT_READY_POLICY, clock, signal: context.signal },
  );
  const sourceKeys = sourceInfo === undefined ? 0 : countKeys(sourceInfo.fields);
  const plan = await prepareTarget(target, world);

  const ended = new AbortController();
  let failure: WriteFailure | undefined;
  let applier: StreamApplier | undefined;
  const signal = AbortSignal.any([context.signal, ended.signal]);
  const from = plan.kind === 'resume' ? plan.checkpoint : undefined;
  meter.stage = 'waiting';
  using spool = new Spool({
    directory: path.join(context.directory, 'spool'),
    bytesMax: world.spoolBytesMax,
  });
  meter.spool = spool;
  let abandonWriter: ((error: unknown) => void) | undefined;
  const onSpoolFailure = (error: unknown) => {
    ended.abort(error);
    // A write that waits for a target that does not answer would keep the session.
    abandonWriter?.(error);
  };
  const linkOptions = { from, spool, onSpoolFailure, clock, signal };
  await using link = await openReplication({ access: world.source, ...linkOptions });
  await using writer = await TargetWriter.open({
    access: world.target,
    clientName: writerName(world.holder.migrationId),
    clock,
    onFailure: (happened) => {
      failure = happened;
      ended.abort(happened.error);
    },
    onAnswers: () => applier?.onAnswers(),
    signal,
  });
  abandonWriter = (error) => writer.abandon(error);
  const supervision = supervise({
    world,
    link,
    writer,
    signal: ended.signal,
    committed: () => applier?.committed,
  });
  try {
    const start = await reachStream({ world, target, facts, plan, sourceKeys, link, writer, signal });
    meter.startStream(start);
    applier = new StreamApplier({ ...world, ...facts, ...context, link, writer, start, signal });
    await applyUntilStopped(applier, world);
  } catch (error) {
    if (failure?.isDivergence) await markDiverged(world);
    throw error;
  } finally {
    ended.abort(new Error('the session has ended'));
    await supervision;
  }
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

type Reaching = {
  world: SyncWorld;
  target: Client;
  facts: TargetFacts;
  plan: StartPlan;
  sourceKeys: number;
  link: ReplicationLink;
  writer: TargetWriter;
  signal: AbortSignal;
};

/** Brings the target to where the stream begins, and returns that place. */
async function reachStream(reaching: Reaching): Promise<Checkpoint> {
  const { world, plan, link } = reaching;
  const { context, meter } = world;
  if (plan.kind === 'resume' && link.start.kind === 'continue') {
    const checkpoint = { ...plan.checkpoint, replid: link.start.replid ?? plan.checkpoint.replid };
    context.log(`resumed at offset ${checkpoint.offset} of ${checkpoint.replid}`);
    return checkpoint;
  }
  if (plan.kind === 'resume') {
    refuseShrunkSource({
      sourceKeys: reaching.sourceKeys,
      targetKeys: (await readTargetContent(reaching.target)).keys,
    });
    meter.note('copied anew: the source no longer holds what followed the checkpoint');
    context.log('the source cannot resume from the checkpoint: copying anew');
  }
  return copy(reaching, { mustFlush: plan.kind === 'resume' || plan.mustFlush });
}

async function copy(reaching: Reaching, { mustFlush }: { mustFlush: boolean }): Promise<Checkpoint> {
  const { world, target, facts, link, writer, signal } = reaching;
  const { holder, meter, context } = world;
  if (link.start.kind !== 'full') throw new Error('a copy needs a full resync');
  const { replid, offset } = link.start;
  await claimForCopy(target, { holder, mustFlush, hasFunctions: facts.commands.has('FUNCTION') });
  const framing = await link.readRdbFraming(signal);
  const rdbBytes = framing.kind === 'length' ? framing.bytes : undefined;
  meter.startCopy({ rdbBytes, expectedKeys: reaching.sourceKeys });
  const { streamDb } = await copyDataSet({
    link,
    framing,
    writers: singleWriter(writer),
    hasHashFieldTtls: facts.hasHashFieldTtls,
    restoreBytesMax: facts.restoreBytesMax,
    directory: path.join(context.directory, 'spool'),
    meter,
    signal,
  });
  const start = { replid, offset, db: streamDb };
  writer.write(['SELECT', 0]);
  writer.write(['SET', RESERVED_KEY, encodeClaim({ ...holder, state: 'live', checkpoint: start })]);
  await meter.waitForTarget(writer.settle());
  // Without it a source that sent its RDB without a file keeps its stream back; lost ones are made good every second.
  link.acknowledge(offset);
  meter.finishCopy();
  context.log(`copied ${meter.copiedKeys} keys in ${meter.copyDurationMs} ms`);
  return start;
}

async function applyUntilStopped(applier: StreamApplier, { context }: SyncWorld): Promise<void> {
  try {
    await applier.run();
  } catch (error) {
    if (!context.signal.aborted || error !== context.signal.reason) throw error;
    await applier.finish();
  }
}

type Supervised = {
  world: SyncWorld;
  link: ReplicationLink;
  writer: TargetWriter;
  signal: AbortSignal;
  committed: () => Checkpoint | undefined;
};

/** Every second: tells the source what is committed, looks whether the target has gone silent, and ends a long stop. */
async function supervise({ world, link, writer, signal, committed }: Supervised): Promise<void> {
  const { clock, log } = world.context;
  const following = followSourceOffset({ access: world.source, meter: world.meter, clock, log, signal });
  let stoppingSinceMs: number | undefined;
  while (!signal.aborted) {
    await clock.sleep(SUPERVISE_MS, signal).catch(() => {
      // Aborted: the loop ends by itself.
    });
    writer.checkSilence();
    if (world.context.signal.aborted) stoppingSinceMs ??= clock.nowMs();
    // A target that does not answer must not keep a stopping job: what is not committed is applied by the next one.
    if (clock.nowMs() - (stoppingSinceMs ?? Number.POSITIVE_INFINITY) > FINISH_MS)
      await writer[Symbol.asyncDispose]();
    // While the copy goes on nothing is committed. Saying so keeps the connection alive and brings the stream, which
    // would otherwise fill the source's output buffer for as long as the RDB waits here for the target.
    if (!signal.aborted) link.acknowledge(committed()?.offset ?? 0);
  }
  await following;
}

/** The checkpoint stands for data that is not there: the next start must not resume from it. */
async function markDiverged({ target, holder, context }: SyncWorld): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await using client = await openClient(target);
      return await markForCopy(client, holder);
    } catch (error) {
      if (attempt === MARK_ATTEMPTS) throw error;
      context.log('the target could not be marked for a new copy; trying again');
      await context.clock.sleep(SUPERVISE_MS, context.signal);
    }
  }
}
