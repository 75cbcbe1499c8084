import path from 'node:path';
import { MigrationError } from '../../../core/errors.ts';
import { retry } from '../../../core/retry.ts';
import type { Client } from '../../redis/client.ts';
import { keySlot } from '../../redis/cluster/slots.ts';
import { openReplication, type ReplicationLink, SOURCE_NOT_READY_POLICY } from '../../redis/replication.ts';
import { countKeys, type ServerInfo } from '../../redis/server-info.ts';
import { Spool } from '../../redis/spool.ts';
import { writerName } from '../../redis/writers.ts';
import { markForCopy, planStart, refuseShrunkSource } from '../claim.ts';
import { type CopyWriters, copyDataSet } from '../copy.ts';
import { inspectSource, openTarget, type TargetFacts } from '../servers.ts';
import type { SyncWorld } from '../session.ts';
import { followSourceOffset } from '../source-offset.ts';
import { TargetWriter, type WriteFailure } from '../target-writer.ts';
import { ClusterApplier, databasesTooFew } from './applier.ts';
import { explainBatchRefusal } from './batch-script.ts';
import {
  type ClusterTarget,
  claimClusterForCopy,
  endClusterWriters,
  openClusterTarget,
  readClusterContent,
} from './cluster-target.ts';
import { readCommandKeys } from './command-keys.ts';
import { loadBatchScript, runEverywhere } from './everywhere.ts';
import { type Beginning, beginGeneration, type Generation, readClusterPositions } from './generation.ts';
import { Lane } from './lane.ts';
import { checkpointSlotOf, Positions } from './positions.ts';

const SUPERVISE_MS = 1_000;
/** How long a stopping sync waits for the target to answer what is on its way. */
const FINISH_MS = 10_000;
const MARK_ATTEMPTS = 3;

/** What a session finds before it touches anything. */
type Found = {
  readonly target: ClusterTarget;
  readonly facts: TargetFacts;
  readonly source: ServerInfo | undefined;
  /** Where an earlier sync stands; undefined when everything is to be copied. */
  readonly resume: Pick<Beginning, 'positions' | 'before' | 'replid'> | undefined;
  readonly mustFlush: boolean;
};

/** What the parts of a session share. */
type Session = Found & {
  readonly world: SyncWorld;
  readonly link: ReplicationLink;
  readonly writers: readonly TargetWriter[];
  readonly signal: AbortSignal;
};

/**
 * Syncs to a target in cluster mode, as `runSession` does to one that is not: over one connection to the source and one
 * to each primary. It ends when a slot has moved or a replica was promoted, and the next one goes on.
 *
 * @throws the signal's reason when stopped before the stream has begun, else what went wrong
 */
export async function runClusterSession(
  world: SyncWorld,
  { client, facts }: { client: Client; facts: TargetFacts },
): Promise<void> {
  const { context, meter } = world;
  const { clock } = context;
  await using target = await openClusterTarget(client);
  rememberNodes(world, target);
  const found = await findStart(world, { target, facts });
  const ended = new AbortController();
  let failure: WriteFailure | undefined;
  let applier: ClusterApplier | undefined;
  let lanes: readonly Lane[] = [];
  const fail = (happened: WriteFailure) => {
    failure ??= happened;
    ended.abort(happened.error);
  };
  const signal = AbortSignal.any([context.signal, ended.signal]);
  meter.stage = 'waiting';
  using spool = new Spool({
    directory: path.join(context.directory, 'spool'),
    bytesMax: world.spoolBytesMax,
  });
  meter.spool = spool;
  const writers: TargetWriter[] = [];
  const onSpoolFailure = (error: unknown) => {
    ended.abort(error);
    // A write that waits for a primary that does not answer would keep the session.
    for (const writer of writers) writer.abandon(error);
  };
  const from = found.resume && { replid: found.resume.replid, ...found.resume.positions.lowest };
  const linkOptions = { from, spool, onSpoolFailure, clock, signal };
  await using link = await openReplication({ access: world.source, ...linkOptions });
  await using _ = { [Symbol.asyncDispose]: () => disposeAll(writers) };
  for (const { index, access } of target.topology.nodes) {
    const writer = await TargetWriter.open({
      access,
      clientName: writerName(world.holder.migrationId),
      clock,
      sharedBy: target.topology.nodes.length,
      explain: ({ text }) => explainBatchRefusal(access, text),
      onFailure: fail,
      onAnswers: () => {
        const lane = lanes[index];
        if (lane !== undefined) applier?.onAnswers(lane);
      },
      signal,
    });
    writers.push(writer);
  }
  const session: Session = { ...found, world, link, writers, signal };
  const supervision = supervise(session, {
    signal: ended.signal,
    committed: () => applier?.committed.offset,
  });
  try {
    const generation = await reachStream(session);
    meter.startStream(generation.start);
    lanes = openLanes(session, generation);
    applier = await openApplier(session, { lanes, generation, onFailure: fail });
    await applyUntilStopped(applier, world);
  } catch (error) {
    if (failure?.isDivergence) await markDiverged(world);
    throw error;
  } finally {
    ended.abort(new Error('the session has ended'));
    await supervision;
  }
}

async function disposeAll(writers: readonly TargetWriter[]): Promise<void> {
  for (const writer of writers) await writer[Symbol.asyncDispose]();
}

function rememberNodes({ targetNodes }: SyncWorld, { topology }: ClusterTarget): void {
  const nodes = topology.nodes.flatMap(({ access, replicas }) => [access, ...replicas]);
  targetNodes.splice(0, targetNodes.length, ...nodes);
}

/**
 * Looks at both sides: what the claim says counts when connections of earlier syncs are ended.
 *
 * @throws target-databases-too-few when the source has data that the cluster has no database for
 */
async function findStart(
  world: SyncWorld,
  { target, facts }: Pick<Found, 'target' | 'facts'>,
): Promise<Found> {
  const { context, holder, flushTarget } = world;
  const { address } = world.target;
  const inspect = () => inspectSource(world.source, { runId: facts.runId, address });
  const source = await retry(inspect, { policy: SOURCE_NOT_READY_POLICY, ...context });
  refuseOtherDatabases(source);
  const decide = async () => {
    const content = await readClusterContent(target);
    return { content, plan: planStart(content, { holder, flushTarget, address }) };
  };
  await decide();
  const ended = await endClusterWriters(target, holder.migrationId);
  if (ended === undefined) context.log('the user at the target may not end connections of earlier syncs');
  else if (ended > 0) context.log(`ended ${ended} connections of an earlier sync to the target`);
  const { content, plan } = await decide();
  const before = content.claim?.cluster;
  const positions = plan.kind === 'resume' ? await readClusterPositions(target, before) : undefined;
  if (plan.kind === 'copy' || positions === undefined) {
    const isLost = plan.kind === 'resume';
    if (isLost) context.log('the checkpoints of the primaries do not fit the claim: copying anew');
    return { target, facts, source, resume: undefined, mustFlush: isLost || plan.mustFlush };
  }
  const resume = { positions, before, replid: plan.checkpoint.replid };
  return { target, facts, source, resume, mustFlush: true };
}

function refuseOtherDatabases(source: ServerInfo | undefined): void {
  for (const [name, value] of source?.fields ?? []) {
    const keys = Number(/^keys=(\d+)/.exec(value)?.[1] ?? 0);
    if (/^db[1-9]\d*$/.test(name) && keys > 0) {
      throw databasesTooFew(`${keys} keys in database ${name.slice(2)}`);
    }
  }
}

/** Brings every primary to where the stream begins. */
async function reachStream(session: Session): Promise<Generation> {
  const { world, link, resume, source, target } = session;
  const { context, meter, holder } = world;
  if (resume !== undefined && link.start.kind === 'continue') {
    const replid = link.start.replid ?? resume.replid;
    if (isSameHistory(session, replid)) {
      const { lowest, highest } = resume.positions;
      context.log(
        `resumed at offset ${lowest.offset} of ${replid}, ${highest.offset - lowest.offset} behind the first primary`,
      );
      return beginGeneration(target, { ...resume, holder, replid });
    }
    await markForCopy(target.holder, holder);
    throw new MigrationError(
      'target-not-ready',
      'The source has failed over behind what a primary of the target has.',
      {
        remedy: 'The sync copies everything anew by itself.',
      },
    );
  }
  if (resume !== undefined) {
    refuseShrunkSource({
      sourceKeys: source === undefined ? 0 : countKeys(source.fields),
      targetKeys: (await readClusterContent(target)).keys,
    });
    meter.note('copied anew: the source no longer holds what followed the checkpoint');
    context.log('the source cannot resume from the checkpoint: copying anew');
  }
  return copy(session);
}

/**
 * Whether what the farthest primary has is of the history that the source goes on with: the source has only compared
 * the lowest place. `second_repl_offset` is the first offset that the old id does not cover.
 */
function isSameHistory({ resume, source }: Session, replid: string): boolean {
  if (resume === undefined || replid === resume.replid) return true;
  const { lowest, highest } = resume.positions;
  if (lowest.offset === highest.offset) return true;
  const isKnown = source?.fields.get('master_replid2') === resume.replid;
  return isKnown && highest.offset < Number(source?.fields.get('second_repl_offset'));
}

async function copy(session: Session): Promise<Generation> {
  const { world, target, facts, link, writers, signal, mustFlush } = session;
  const { holder, meter, context } = world;
  if (link.start.kind !== 'full') throw new Error('a copy needs a full resync');
  const { replid, offset } = link.start;
  await claimClusterForCopy(target, { holder, mustFlush, hasFunctions: facts.commands.has('FUNCTION') });
  const framing = await link.readRdbFraming(signal);
  const rdbBytes = framing.kind === 'length' ? framing.bytes : undefined;
  const expectedKeys = session.source === undefined ? 0 : countKeys(session.source.fields);
  meter.startCopy({ rdbBytes, expectedKeys });
  const { streamDb } = await copyDataSet({
    link,
    framing,
    writers: writersBySlot(session),
    hasHashFieldTtls: facts.hasHashFieldTtls,
    restoreBytesMax: facts.restoreBytesMax,
    directory: path.join(context.directory, 'spool'),
    meter,
    signal,
  });
  await meter.waitForTarget(Promise.all(writers.map((writer) => writer.settle())));
  const positions = Positions.same({ offset, db: streamDb });
  const generation = await beginGeneration(target, { holder, replid, positions, before: undefined });
  // Without it a source that sent its RDB without a file keeps its stream back; lost ones are made good every second.
  link.acknowledge(offset);
  meter.finishCopy();
  context.log(`copied ${meter.copiedKeys} keys to ${writers.length} primaries in ${meter.copyDurationMs} ms`);
  return generation;
}

function writersBySlot({ writers, target }: Session): CopyWriters {
  return {
    all: writers,
    isCluster: true,
    indexOf: ({ bytes, start, end }) => target.topology.nodeOf(keySlot(bytes, start, end)).index,
    enterDatabase: (db) => {
      if (db !== 0) throw databasesTooFew(`keys in database ${db}`);
      return undefined;
    },
  };
}

function openLanes({ target, writers, world }: Session, generation: Generation): Lane[] {
  return target.topology.nodes.map((node, index) => {
    const writer = writers[index];
    const checkpoint = generation.checkpoints[index];
    if (writer === undefined || checkpoint === undefined) throw new Error(`nobody writes to node ${index}`);
    return new Lane({
      node,
      writer,
      generation: generation.number,
      checkpointSlot: checkpointSlotOf(node.ranges),
      checkpoint,
      offset: generation.start.offset,
      nowMs: () => world.context.clock.nowMs(),
    });
  });
}

type Opening = {
  readonly lanes: readonly Lane[];
  readonly generation: Generation;
  readonly onFailure: (failure: WriteFailure) => void;
};

async function openApplier(session: Session, opening: Opening): Promise<ClusterApplier> {
  const { world, target, facts, link, signal } = session;
  for (const client of target.clients) await loadBatchScript(client);
  return new ClusterApplier({
    ...opening,
    ...facts,
    link,
    signal,
    topology: target.topology,
    clientOf: target.clientOf,
    runEverywhere: (args) => runEverywhere(target.clients, args),
    keys: await readCommandKeys(target.holder),
    holder: world.holder,
    meter: world.meter,
    clock: world.context.clock,
    directory: path.join(world.context.directory, 'spool'),
  });
}

async function applyUntilStopped(applier: ClusterApplier, { context }: SyncWorld): Promise<void> {
  try {
    await applier.run();
  } catch (error) {
    if (!context.signal.aborted || error !== context.signal.reason) throw error;
    await applier.finish();
  }
}

type Supervision = { readonly signal: AbortSignal; readonly committed: () => number | undefined };

/** Every second: tells the source what is committed, looks for primaries that have gone silent, and ends a long stop. */
async function supervise(
  { world, link, writers }: Session,
  { signal, committed }: Supervision,
): Promise<void> {
  const { clock, log } = world.context;
  const following = followSourceOffset({ access: world.source, meter: world.meter, clock, log, signal });
  let stoppingSinceMs: number | undefined;
  while (!signal.aborted) {
    await clock.sleep(SUPERVISE_MS, signal).catch(() => {
      // Aborted: the loop ends by itself.
    });
    for (const writer of writers) writer.checkSilence();
    if (world.context.signal.aborted) stoppingSinceMs ??= clock.nowMs();
    // A target that does not answer must not keep a stopping job: what is not committed is applied by the next one.
    if (clock.nowMs() - (stoppingSinceMs ?? Number.POSITIVE_INFINITY) > FINISH_MS) {
      await disposeAll(writers);
    }
    // While the copy goes on nothing is committed; saying so keeps the connection alive and brings the stream.
    if (!signal.aborted) link.acknowledge(committed() ?? 0);
  }
  await following;
}

/** The checkpoints stand for data that is not there: the next start must not resume from them. */
async function markDiverged(world: SyncWorld): Promise<void> {
  const { clock, log, signal } = world.context;
  for (let attempt = 1; ; attempt++) {
    try {
      await using client = await openTarget(world);
      await using target = await openClusterTarget(client);
      return await markForCopy(target.holder, world.holder);
    } catch (error) {
      if (attempt === MARK_ATTEMPTS) throw error;
      log('the target could not be marked for a new copy; trying again');
      await clock.sleep(SUPERVISE_MS, signal);
    }
  }
}
