import type { CutoverReport } from '../../contract/reports.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { type JobContext, NO_PROGRESS } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import { type Claim, readClaim, removeClaim } from '../redis/checkpoint.ts';
import { removeCheckpoints } from '../redis/cluster/checkpoints.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';
import { describeRestored, restoreSource } from '../tune/restore.ts';
import type { Cutover } from './cutover.ts';
import type { ExpiringKeys } from './expiring-keys.ts';
import { extendFences } from './fences.ts';
import { settleTarget } from './settle.ts';
import { writeCutoverStep } from './state.ts';
import { giveBack, isGivenBack } from './way-back.ts';

/** Whether a hand-over cannot go on: the source took writes meanwhile, or the target lost some. */
export function isHandOverLost(error: unknown): boolean {
  return isMigrationError(error) && ['fence-lost', 'sync-lost'].includes(error.code);
}

/**
 * Ends the sync, restores exact expiry times and takes our keys out of the target; a way back lifts the fence there.
 * Every part may be repeated.
 *
 * The times come after the proof, which compares them with their pad: until here a cutover that fails leaves a target
 * that a sync can go on with, and on which no key expires by itself while the sync lags.
 *
 * @throws fence-lost and sync-lost, for which the fence is to be lifted, and the codes of connections to both sides
 */
export async function handOver(
  { request, context, source, target }: Cutover,
  proved: CutoverReport,
  expiring?: ExpiringKeys,
): Promise<CutoverReport> {
  context.report({ ...NO_PROGRESS, stage: 'handing-over' });
  await extendFences(source, context);
  const isReleased = isGivenBack(context.directory);
  if (!isReleased) await assertKept(target, proved, context);
  await context.siblings.stop('sync');
  const beganAtMs = context.clock.nowMs();
  if (!isReleased) await releaseTarget({ request, context, source, target }, proved, expiring);
  await giveBack(context);
  const settledAtMs = context.clock.nowMs();
  const report = {
    ...proved,
    settleDurationMs: proved.settleDurationMs + settledAtMs - beganAtMs,
    writePauseMs: settledAtMs - proved.fencedAtMs,
  };
  writeCutoverStep(context.directory, request, { step: 'completed', report });
  context.log(`The target ${target.address} has taken over.`);
  return report;
}

async function releaseTarget(
  { context, target }: Cutover,
  proved: CutoverReport,
  expiring: ExpiringKeys | undefined,
): Promise<void> {
  await using primaries = await openPrimaries(target);
  const claim = await readClaim(primaries.home);
  assertKeptBy(claim, target, proved);
  const drained = { replid: proved.sourceReplid, offset: proved.sourceOffset };
  const noted = expiring === undefined ? undefined : { expiring, drained };
  if (claim !== undefined) await settleTarget(primaries, claim, context, noted);
  // The claim last: as long as it is there a run that died here is gone on with.
  await removeCheckpoints(target, {
    sourceShards: claim?.sourceShards?.length ?? 0,
    signal: context.signal,
  });
  await removeClaim(primaries.home);
}

/** As long as the sync runs its claim is there, unless the target has lost everything. */
async function assertKept(target: Access, proved: CutoverReport, { siblings }: JobContext): Promise<void> {
  await using primaries = await openPrimaries(target);
  const claim = await readClaim(primaries.home);
  assertKeptBy(claim, target, proved);
  if (claim !== undefined || (await siblings.state('sync'))?.status !== 'running') return;
  throw new MigrationError('sync-lost', `The target ${target.address} is empty behind the proof.`);
}

/** A target that fails over behind the proof may come back without the last of what was proved. @throws sync-lost */
function assertKeptBy(claim: Claim | undefined, { address }: Access, proved: CutoverReport): void {
  // Of shards the places are elsewhere; a claim that settles has none any more.
  if (claim?.state !== 'live' || claim.checkpoint === undefined || claim.sourceShards !== undefined) return;
  const { replid, offset } = claim.checkpoint;
  if (replid === proved.sourceReplid && offset >= proved.sourceOffset) return;
  throw new MigrationError(
    'sync-lost',
    `The target ${address} lost some of what was proved, ${offset} in place of ${proved.sourceOffset}: it failed over behind the proof.`,
  );
}

/**
 * Restores what a sync that died could not: one that was stopped has done it itself. The target has taken over by now,
 * so a source that is gone does not make the cutover fail; `status` shows what is left, and cleanup tries again.
 */
export async function restoreSettings({ request, context }: Cutover): Promise<void> {
  try {
    const restored = await restoreSource({ ...context, source: request.source });
    if (restored !== undefined) context.log(`source settings ${describeRestored(restored)}`);
  } catch (error) {
    context.log(errorText(error));
  }
}
