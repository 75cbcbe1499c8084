import { formatCount, formatDuration } from '../../core/units.ts';
import type { Job } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { compareInScope } from './delta.ts';

/**
 * Compares all keys of source and target and reports the differences.
 *
 * @throws secret-unreadable, and the codes of {@link compareInScope}
 */
export const runVerify: Job<'verify'> = async (request, context) => {
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
  });
  const { keysCompared, inFlight, skipped, differences, startedAtMs, finishedAtMs } = report;
  if (report.fullReason !== undefined) context.log(`All keys were compared: ${report.fullReason}.`);
  const skippedKeys = skipped.reduce((sum, { count }) => sum + count, 0);
  context.log(
    `Compared ${formatCount(keysCompared)} ${report.scope === 'full' ? '' : 'touched '}keys in ${formatDuration(finishedAtMs - startedAtMs)}: ` +
      `${formatCount(differences.total)} differences, ${formatCount(inFlight)} keys in flight, ${formatCount(skippedKeys)} skipped.`,
  );
  return report;
};
