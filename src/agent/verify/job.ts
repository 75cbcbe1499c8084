import type { JobRequestOf } from '../../contract/jobs.ts';
import { formatCount, formatDuration } from '../../core/units.ts';
import type { Job, JobContext } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { compareInScope } from './delta.ts';
import type { Mender } from './mender.ts';

/**
 * Compares all keys of source and target and reports the differences; with a mender, those that are left after it.
 *
 * @throws secret-unreadable, and the codes of {@link compareInScope}
 */
export async function runVerify(
  request: JobRequestOf<'verify'>,
  context: JobContext,
  mender?: Mender,
): ReturnType<Job<'verify'>> {
  const report = await compareInScope(request.scope ?? 'full', {
    source: await resolveAccess('source', request.source, context.resolveSecret),
    target: await resolveAccess('target', request.target, context.resolveSecret),
    migrationId: context.migrationId,
    maxDifferences: request.maxDifferences,
    ttlToleranceMs: request.ttlToleranceMs,
    keyDisplay: request.keyDisplay,
    hashFieldTtl: request.hashFieldTtl,
    clock: context.clock,
    signal: context.signal,
    directory: context.directory,
    siblings: context.siblings,
    report: context.report,
    mender,
  });
  const { keysCompared, inFlight, skipped, differences, startedAtMs, finishedAtMs } = report;
  if (report.fullReason !== undefined) context.log(`All keys were compared: ${report.fullReason}.`);
  const skippedKeys = skipped.reduce((sum, { count }) => sum + count, 0);
  context.log(
    `Compared ${formatCount(keysCompared)} ${report.scope === 'full' ? '' : 'touched '}keys in ${formatDuration(finishedAtMs - startedAtMs)}: ` +
      `${formatCount(differences.total)} differences, ${formatCount(inFlight)} keys in flight, ${formatCount(skippedKeys)} skipped.`,
  );
  const { repair } = report;
  if (repair !== undefined) {
    context.log(
      `Repaired in ${repair.rounds} rounds: ${formatCount(repair.rewritten)} written anew, ${formatCount(repair.removed)} removed; ` +
        `${formatCount(repair.before.total)} differences before, ${formatCount(differences.total)} after.`,
    );
  }
  return report;
}
