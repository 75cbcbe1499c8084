import path from 'node:path';
import type { JobKind } from '../../contract/jobs.ts';
import type { RollbackReport } from '../../contract/reports.ts';
import { errorText, isMigrationError, MigrationError, toMigrationError } from '../../core/errors.ts';
import type { Job, JobContext } from '../job/context.ts';
import { NO_PROGRESS } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { type Claim, readClaim, removeClaim } from '../redis/checkpoint.ts';
import { removeCheckpoints } from '../redis/cluster/checkpoints.ts';
import { openPrimaries, type Primaries } from '../redis/cluster/primaries.ts';
import { SHARDS_FOLDER } from '../redis/cluster/source-cluster.ts';
import { flushServer } from '../redis/flush.ts';
import { readServerInfo } from '../redis/server-info.ts';
import { removeSpool, SPOOL_FOLDER } from '../redis/spool.ts';
import { describeRestored, restoreSource } from '../tune/restore.ts';
import { removeNotes } from './expiring-keys.ts';
import { areFencesRecorded, liftFences, refuseUnrecordedFences } from './fences.ts';
import { settleTarget } from './settle.ts';
import { forgetCutover, readCutoverStep } from './state.ts';
import { closeWayBack, isGivenBack, originOf } from './way-back.ts';

type Request = Parameters<Job<'rollback'>>[0];

/**
 * Stops the jobs of the migration, lifts the fence, restores the settings of the source and releases the target.
 *
 * The source comes first, and every step is tried whatever became of the others: a target that is gone must not keep
 * the source fenced. What failed is thrown at the end, with the outcome of every step in the message.
 *
 * @throws the code of the first step that failed
 */
export const runRollback: Job<'rollback'> = async (request, context) => {
  if (readCutoverStep(context.directory, request)?.step === 'completed') {
    throw new MigrationError(
      'migration-completed',
      'The target was handed over already: a rollback would lose what was written since.',
      { remedy: 'Run complete-migration again, which marks the migration complete.' },
    );
  }
  if (isGivenBack(context.directory)) {
    throw new MigrationError(
      'migration-completed',
      'The old source takes writes again already: the way back is all but over.',
      { remedy: 'Run complete-migration with `direction: reverse` again, which brings it to its end.' },
    );
  }
  const steps: RollbackReport['steps'] = [];
  const failures: unknown[] = [];
  const take = async (step: string, act: () => Promise<string>) => {
    context.report({ ...NO_PROGRESS, stage: step });
    const outcome = await act().catch((error: unknown) => {
      failures.push(error);
      return `failed: ${errorText(error)}`;
    });
    steps.push({ step, outcome });
    context.log(`${step}: ${outcome}`);
  };
  // The cutover before the sync: it would take the end of the sync for a failure of its own.
  for (const kind of ['cutover', 'keeper', 'verify', 'sync', 'preflight', 'backup', 'link'] as const) {
    await take(`stop ${kind}`, () => stopJob(kind, context));
  }
  await take('lift fence', () => releaseSource(request, context));
  await take('restore settings', () => restoreSettings(request, context));
  const isWayBack = originOf(context.directory) !== undefined;
  await take('release target', () =>
    isWayBack ? giveUp(request, context) : releaseTarget(request, context),
  );
  if (failures.length > 0) throw rollbackFailed(failures[0], steps);
  forgetCutover(context.directory, { isDoubtSettled: true });
  return { kind: 'rollback', steps };
};

async function stopJob(kind: JobKind, { siblings }: JobContext): Promise<string> {
  if ((await siblings.state(kind))?.status !== 'running') return 'was not running';
  await siblings.stop(kind);
  return 'stopped';
}

async function releaseSource(request: Request, context: JobContext): Promise<string> {
  const isRecorded = areFencesRecorded(context.directory);
  const access = await resolveAccess('source', request.source, context.resolveSecret);
  if (!isRecorded) {
    await using source = await openPrimaries(access);
    await refuseUnrecordedFences(source);
    return 'there was none';
  }
  await liftFences(access, context.directory);
  return 'lifted, with the settings as they were found';
}

async function restoreSettings({ source }: Request, context: JobContext): Promise<string> {
  const restored = await restoreSource({ ...context, source });
  return restored === undefined ? 'there were none' : describeRestored(restored);
}

/** The old source of a way back that is given up stays fenced; it may be gone for good by then. */
async function giveUp(request: Request, context: JobContext): Promise<string> {
  try {
    const released = await releaseTarget({ ...request, flushTarget: false }, context);
    await closeWayBack(context);
    return `${released}; it stays fenced, for everybody now`;
  } catch (error) {
    if (!isMigrationError(error) || error.code !== 'target-unreachable') throw error;
    return `not reached, so the user of the way back is left there: ${error.message}`;
  }
}

async function releaseTarget(request: Request, context: JobContext): Promise<string> {
  // A sync that was killed leaves on disk what the target had not committed.
  for (const folder of [SPOOL_FOLDER, SHARDS_FOLDER]) removeSpool(path.join(context.directory, folder));
  removeNotes(context.directory);
  const access = await resolveAccess('target', request.target, context.resolveSecret);
  await using target = await openPrimaries(access);
  const release = request.route === 'native' ? releaseNativeTarget : releaseClaimedTarget;
  // Awaited here: the connections close with this function.
  return await release(target, request, context);
}

/** Only a target that this migration holds is touched: a claim is gone once the target has taken over. */
async function releaseClaimedTarget(
  target: Primaries,
  request: Request,
  context: JobContext,
): Promise<string> {
  const claim = await readClaim(target.home);
  if (claim === undefined) return 'left as it is: this migration does not hold it';
  if (!isOwn(claim, context)) {
    return `left as it is: the migration ${claim.migrationId} of ${claim.repository} holds it`;
  }
  if (request.flushTarget) await flushTarget(target);
  else await settleTarget(target, claim, context);
  await removeCheckpoints(target.access, {
    sourceShards: claim.sourceShards?.length ?? 0,
    signal: context.signal,
  });
  await removeClaim(target.home);
  return request.flushTarget
    ? 'released and emptied'
    : 'released; the keys that were copied are left, with the expiry times that they had';
}

/** Which replication the target had is ended by ElastiCache before this job runs. */
async function releaseNativeTarget(
  target: Primaries,
  request: Request,
  context: JobContext,
): Promise<string> {
  if (!request.flushTarget) return 'the keys that were copied are left';
  const step = readCutoverStep(context.directory, request);
  if (step !== undefined && 'report' in step) {
    return 'left as it is: the cutover was proved, so the target may already be in use';
  }
  const info = await readServerInfo(target.home);
  if (info.fields.get('role') === 'slave') {
    throw new MigrationError(
      'target-read-only',
      `The target ${target.access.address} is still a replica, so it cannot be emptied.`,
    );
  }
  await flushTarget(target);
  return 'emptied';
}

/** The primary with the claim last: as long as it is there a run that died here is gone on with. */
async function flushTarget({ home, all }: Primaries): Promise<void> {
  for (const primary of all) if (primary !== home) await flushServer(primary);
  await flushServer(home);
}

function isOwn(claim: Claim, { migrationId, repository, hostId }: JobContext): boolean {
  return claim.migrationId === migrationId && claim.repository === repository && claim.hostId === hostId;
}

function rollbackFailed(failure: unknown, steps: RollbackReport['steps']): MigrationError {
  const { code, remedy, retryable } = toMigrationError(failure);
  const outcomes = steps.map(({ step, outcome }) => `${step}: ${outcome}`).join('; ');
  return new MigrationError(code, `The rollback is not complete: ${outcomes}.`, {
    remedy: `${remedy} Then run rollback again.`,
    retryable,
    cause: failure,
  });
}
