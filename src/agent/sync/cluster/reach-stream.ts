import path from 'node:path';
import { MigrationError } from '../../../core/errors.ts';
import { formatCount } from '../../../core/units.ts';
import { keySlot } from '../../redis/cluster/slots.ts';
import { sourceSlotsMoved } from '../../redis/cluster/source-cluster.ts';
import type { ServerInfo } from '../../redis/server-info.ts';
import { SPOOL_FOLDER } from '../../redis/spool.ts';
import { refuseShrunkSource } from '../claim.ts';
import { type Copy, type CopyWriters, copyDataSet } from '../copy.ts';
import type { TargetFacts } from '../servers.ts';
import type { SyncWorld } from '../session.ts';
import { countShardKeys } from '../shards/count-keys.ts';
import type { Skips } from '../skips.ts';
import type { FeedStart } from '../source-feed.ts';
import type { TargetWriter } from '../target-writer.ts';
import {
  type ClusterTarget,
  claimClusterForCopy,
  claimClusterForReconcile,
  markClusterForReconcile,
  readClusterContent,
} from './cluster-target.ts';
import { databasesTooFew } from './data-commands.ts';
import { ExtraKeysByNode } from './extra-keys.ts';
import { type Beginning, beginGeneration, type Generation } from './generation.ts';
import { Positions } from './positions.ts';

/** How a sync to a cluster begins: where each slot is, with a copy over what is there, or with a copy. */
export type ClusterPlan =
  | ({ readonly kind: 'resume' } & Pick<Beginning, 'positions' | 'before' | 'replid'>)
  | { readonly kind: 'reconcile' }
  | { readonly kind: 'copy'; readonly mustFlush: boolean };

/** What it takes to bring a cluster to where a stream begins. */
export type ClusterReaching = {
  readonly world: SyncWorld;
  readonly target: ClusterTarget;
  readonly facts: TargetFacts;
  readonly plan: ClusterPlan;
  readonly begun: FeedStart;
  readonly writers: readonly TargetWriter[];
  /** What is left out; it begins anew with a copy. */
  readonly skips: Skips;
  /** Asks the source what it is; undefined when it does not say. */
  lookAtSource(): Promise<ServerInfo | undefined>;
  /** Undefined when the source does not say. */
  readonly sourceKeys: number | undefined;
  readonly signal: AbortSignal;
};
type FullReaching = ClusterReaching & { readonly begun: FeedStart & { kind: 'full' } };

/**
 * Brings every primary to where the stream begins.
 *
 * @throws source-shrunk, migration-conflict, sync-lost after too many copies, target-not-ready when the next session is
 *   to reconcile, the codes of {@link copyDataSet}
 */
export async function reachClusterStream(reaching: ClusterReaching): Promise<Generation> {
  const { world, plan, begun, target } = reaching;
  if (begun.kind === 'full') {
    world.touched.lose('the target was copied anew');
    const full = { ...reaching, begun };
    return plan.kind === 'copy' ? copy(full, plan) : reconcile(full);
  }
  if (plan.kind !== 'resume') throw new Error('the source goes on with what it was not asked to');
  const { replid } = begun.start;
  if (!(await isSameHistory(plan, { reaching, replid }))) {
    await markClusterForReconcile(target);
    throw new MigrationError(
      'target-not-ready',
      'The source has failed over behind what a primary of the target has.',
      { remedy: 'The sync reconciles the target by itself.' },
    );
  }
  const { lowest, highest } = plan.positions;
  world.context.log(
    `resumed at offset ${lowest.offset} of ${replid}, ${highest.offset - lowest.offset} behind the first primary`,
  );
  return beginGeneration(target, { ...plan, holder: world.holder, replid });
}

/**
 * Whether what the farthest primary has is of the history that the source goes on with: it has only compared the lowest
 * place. `second_repl_offset` is the first offset that the old id does not cover.
 */
async function isSameHistory(
  { positions, replid: before }: ClusterPlan & { kind: 'resume' },
  { reaching, replid }: { reaching: ClusterReaching; replid: string },
): Promise<boolean> {
  const { lowest, highest } = positions;
  if (replid === before || lowest.offset === highest.offset) return true;
  const source = await reaching.lookAtSource();
  const isKnown = source?.fields.get('master_replid2') === before;
  return isKnown && highest.offset < Number(source?.fields.get('second_repl_offset'));
}

async function copy(reaching: FullReaching, { mustFlush }: { mustFlush: boolean }): Promise<Generation> {
  const { world, target, facts, writers } = reaching;
  const { holder, meter, context, copies } = world;
  copies.begin();
  const hasFunctions = facts.commands.has('FUNCTION');
  // Of a shard the target is held already, and what is left of a copy that ends early is written over by the next.
  if (world.shard === undefined) await claimClusterForCopy(target, { holder, mustFlush, hasFunctions });
  else await claimClusterForReconcile(target, { holder, hasFunctions: false });
  const streamDb = await carry(reaching, undefined);
  const generation = await goLive(reaching, streamDb);
  context.log(`copied ${meter.copiedKeys} keys to ${writers.length} primaries in ${meter.copyDurationMs} ms`);
  return generation;
}

/** Writes every key of the source over the target's, then removes from each primary what the source has no more. */
async function reconcile(reaching: FullReaching): Promise<Generation> {
  const { world, target, facts, writers, signal, sourceKeys } = reaching;
  const { holder, meter, context, copies } = world;
  const targetKeys = await countTargetKeys(reaching);
  if (sourceKeys !== undefined) refuseShrunkSource({ sourceKeys, targetKeys });
  copies.begin();
  await claimClusterForReconcile(target, { holder, hasFunctions: facts.commands.has('FUNCTION') });
  meter.note('reconciling: every key is written over, then what the source has no more is removed');
  using extraKeys = new ExtraKeysByNode(path.join(context.directory, SPOOL_FOLDER), writers.length);
  const streamDb = await carry(reaching, extraKeys);
  await meter.waitForTarget(Promise.all(writers.map((writer) => writer.settle())));
  // It may have said nothing, or may have been restarted since.
  refuseShrunkSource({ sourceKeys: meter.copiedKeys, targetKeys });
  const removed = await extraKeys.remove({ world, target, writers, signal });
  const generation = await goLive(reaching, streamDb);
  const [rewritten, gone] = [formatCount(meter.copiedKeys), formatCount(removed)];
  meter.reconciled(removed);
  meter.note(`reconciled: ${rewritten} keys rewritten, ${gone} removed`);
  context.log(`reconciled: ${rewritten} keys rewritten, ${gone} removed, in ${meter.copyDurationMs} ms`);
  return generation;
}

async function countTargetKeys({ world, target, signal }: FullReaching): Promise<number> {
  const { shard } = world;
  if (shard !== undefined) return countShardKeys({ target, shard, signal });
  return (await readClusterContent(target)).keys;
}

async function carry(reaching: FullReaching, extraKeys: ExtraKeysByNode | undefined): Promise<number> {
  const { world, facts, begun, signal, sourceKeys, skips } = reaching;
  const { meter, context } = world;
  skips.clear();
  const framing = await begun.framing;
  const rdbBytes = framing.kind === 'length' ? framing.bytes : undefined;
  meter.startCopy({ rdbBytes, expectedKeys: sourceKeys ?? 0 });
  const writers = writersBySlot(reaching);
  const onKey: Copy['onKey'] = (db, key) => extraKeys?.of(writers.indexOf(key)).keep(db, key);
  const { streamDb } = await copyDataSet({
    link: begun.stream,
    framing,
    writers,
    hasHashFieldTtls: facts.hasHashFieldTtls,
    hashFieldTtl: world.hashFieldTtl,
    skips,
    restoreBytesMax: facts.restoreBytesMax,
    directory: path.join(context.directory, SPOOL_FOLDER),
    ...(extraKeys === undefined ? {} : { onKey }),
    meter,
    signal,
  });
  return streamDb;
}

function writersBySlot({ writers, target, world: { shard } }: ClusterReaching): CopyWriters {
  return {
    all: writers,
    isCluster: true,
    indexOf: ({ bytes, start, end }) => {
      const slot = keySlot(bytes, start, end);
      if (shard !== undefined && !shard.owns(slot)) {
        throw sourceSlotsMoved(`the primary of ${shard.slots.slice(0, 100)} has keys of the slot ${slot}`);
      }
      return target.topology.nodeOf(slot).index;
    },
    enterDatabase: (db) => {
      if (db !== 0) throw databasesTooFew(`keys in database ${db}`);
      return undefined;
    },
  };
}

/** The data stands in the target: from here on it is a matter of the stream. */
async function goLive(reaching: FullReaching, streamDb: number): Promise<Generation> {
  const { world, target, begun, writers } = reaching;
  const { holder, meter } = world;
  const { replid, offset } = begun;
  await meter.waitForTarget(Promise.all(writers.map((writer) => writer.settle())));
  const positions = Positions.same({ offset, db: streamDb });
  const generation = await beginGeneration(target, { holder, replid, positions, before: undefined });
  // Without it a source that sent its RDB without a file keeps its stream back; lost ones are made good every second.
  begun.stream.beginStream({ replid, offset });
  meter.sourceOffset = Math.max(meter.sourceOffset, begun.stream.incoming.receivedOffset);
  meter.finishCopy();
  return generation;
}
