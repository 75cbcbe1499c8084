import path from 'node:path';
import type { Checkpoint } from '../../contract/reports.ts';
import { formatCount } from '../../core/units.ts';
import { encodeClaim } from '../redis/checkpoint.ts';
import type { Client } from '../redis/client.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { SPOOL_FOLDER } from '../redis/spool.ts';
import {
  claimForCopy,
  claimForReconcile,
  readTargetContent,
  refuseShrunkSource,
  type StartPlan,
} from './claim.ts';
import { copyDataSet, singleWriter } from './copy.ts';
import { ExtraKeys } from './extra-keys.ts';
import type { TargetFacts } from './servers.ts';
import type { SyncWorld } from './session.ts';
import type { Skips } from './skips.ts';
import type { FeedStart } from './source-feed.ts';
import type { TargetWriter } from './target-writer.ts';

/** What it takes to bring a target to where a stream begins. */
export type Reaching = {
  readonly world: SyncWorld;
  readonly target: Client;
  readonly facts: TargetFacts;
  readonly plan: StartPlan;
  readonly begun: FeedStart;
  readonly skips: Skips;
  /** Undefined when the source does not say. */
  readonly sourceKeys: number | undefined;
  readonly writer: TargetWriter;
  readonly signal: AbortSignal;
};
type FullReaching = Reaching & { readonly begun: FeedStart & { kind: 'full' } };

/**
 * Brings the target to where the stream begins, and returns that place.
 *
 * @throws source-shrunk, migration-conflict, sync-lost after too many copies, the codes of {@link copyDataSet}
 */
export async function reachStream(reaching: Reaching): Promise<Checkpoint> {
  const { world, plan, begun } = reaching;
  if (begun.kind === 'stream') {
    const { offset, replid } = begun.start;
    world.context.log(`resumed at offset ${offset} of ${replid}`);
    return begun.start;
  }
  world.touched.lose('the target was copied anew');
  const full = { ...reaching, begun };
  if (plan.kind === 'copy') return copy(full, { mustFlush: plan.mustFlush });
  if (plan.kind === 'resume') {
    world.context.log(
      'the source cannot resume from the checkpoint: reconciling the target with a full copy',
    );
  }
  return reconcile(full);
}

async function copy(reaching: FullReaching, { mustFlush }: { mustFlush: boolean }): Promise<Checkpoint> {
  const { world, target, facts } = reaching;
  const { holder, meter, context, copies } = world;
  copies.begin();
  await claimForCopy(target, { holder, mustFlush, hasFunctions: facts.commands.has('FUNCTION') });
  const streamDb = await carry(reaching, undefined);
  const start = await goLive(reaching, streamDb);
  context.log(`copied ${meter.copiedKeys} keys in ${meter.copyDurationMs} ms`);
  return start;
}

/** Writes every key of the source over the target's, then removes what the source has no more. */
async function reconcile(reaching: FullReaching): Promise<Checkpoint> {
  const { world, target, facts, writer, signal, sourceKeys } = reaching;
  const { holder, meter, context, copies } = world;
  const { keys: targetKeys } = await readTargetContent(target);
  if (sourceKeys !== undefined) refuseShrunkSource({ sourceKeys, targetKeys });
  copies.begin();
  await claimForReconcile(target, { holder, hasFunctions: facts.commands.has('FUNCTION') });
  meter.note('reconciling: every key is written over, then what the source has no more is removed');
  using extraKeys = new ExtraKeys(path.join(context.directory, SPOOL_FOLDER));
  const streamDb = await carry(reaching, extraKeys);
  await meter.waitForTarget(writer.settle());
  // It may have said nothing, or may have been restarted since.
  refuseShrunkSource({ sourceKeys: meter.copiedKeys, targetKeys });
  const removed = await extraKeys.remove({ access: world.target, writer, signal });
  const start = await goLive(reaching, streamDb);
  const [rewritten, gone] = [formatCount(meter.copiedKeys), formatCount(removed)];
  meter.reconciled(removed);
  meter.note(`reconciled: ${rewritten} keys rewritten, ${gone} removed`);
  context.log(`reconciled: ${rewritten} keys rewritten, ${gone} removed, in ${meter.copyDurationMs} ms`);
  return start;
}

async function carry(reaching: FullReaching, extraKeys: ExtraKeys | undefined): Promise<number> {
  const { world, facts, skips, begun, writer, signal, sourceKeys } = reaching;
  const { meter, context } = world;
  skips.clear();
  const framing = await begun.framing;
  const rdbBytes = framing.kind === 'length' ? framing.bytes : undefined;
  meter.startCopy({ rdbBytes, expectedKeys: sourceKeys ?? 0 });
  const { streamDb } = await copyDataSet({
    link: begun.stream,
    framing,
    writers: singleWriter(writer),
    hasHashFieldTtls: facts.hasHashFieldTtls,
    restoreBytesMax: facts.restoreBytesMax,
    hashFieldTtl: world.hashFieldTtl,
    skips,
    directory: path.join(context.directory, SPOOL_FOLDER),
    ...(extraKeys === undefined ? {} : { onKey: (db, key) => extraKeys.keep(db, key) }),
    meter,
    signal,
  });
  return streamDb;
}

/** The data stands in the target: from here on it is a matter of the stream. */
async function goLive({ world, skips, begun, writer }: FullReaching, streamDb: number): Promise<Checkpoint> {
  const { holder, meter } = world;
  const { replid, offset } = begun;
  const start = { replid, offset, db: streamDb };
  // A target that refuses the last of the copy must not be called live: the next start would go on without it.
  await meter.waitForTarget(writer.settle());
  writer.write(['SELECT', 0]);
  const claim = encodeClaim({ ...holder, state: 'live', checkpoint: start, ...skips.forClaim() });
  writer.write(['SET', RESERVED_KEY, claim]);
  await meter.waitForTarget(writer.settle());
  // Without it a source that sent its RDB without a file keeps its stream back; lost ones are made good every second.
  begun.stream.beginStream(start);
  meter.sourceOffset = Math.max(meter.sourceOffset, begun.stream.incoming.receivedOffset);
  meter.finishCopy();
  return start;
}
