import { formatCount, formatDuration } from '../../core/units.ts';
import type { Job } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { compareAll } from './compare.ts';

/**
 * Compares all keys of source and target and reports the differences.
 *
 * @throws secret-unreadable, and the codes of {@link compareAll}
 */
export const runVerify: Job<'verify'> = async (request, context) => {
  const report = await compareAll({
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
    report: context.report,
  });
  const { keysCompared, inFlight, skipped, differences, startedAtMs, finishedAtMs } = report;
  const skippedKeys = skipped.reduce((sum, { count }) => sum + count, 0);
  context.log(
    `Compared ${formatCount(keysCompared)} keys in ${formatDuration(finishedAtMs - startedAtMs)}: ` +
      `${formatCount(differences.total)} differences, ${formatCount(inFlight)} keys in flight, ${formatCount(skippedKeys)} skipped.`,
  );
  return report;
};
