import type { CutoverReport, VerifyReport } from '../../contract/reports.ts';
import { MigrationError } from '../../core/errors.ts';
import { NO_PROGRESS } from '../job/context.ts';
import { behindFence } from './behind-fence.ts';
import type { Cutover } from './cutover.ts';
import { assertFencesHeld, extendFences, liftFences } from './fences.ts';
import { compareReleased } from './proof.ts';
import { decideHandOver, doubtCutover, writeCutoverStep } from './state.ts';
import { isGivenBack } from './way-back.ts';

/**
 * The target was released behind a fence that has fallen since, and nobody was told: whether the source took anything
 * meanwhile shows behind a fence that is set again, where everything is compared.
 *
 * What differs leaves a source that takes writes, and a cutover in doubt: run again it compares again, and a rollback
 * gives it up. Of a way back the other side takes the writes of everybody already, so nothing is left to compare.
 *
 * @throws fence-lost, write-pause-exceeded, and as {@link behindFence}
 */
export async function proveAgain(cutover: Cutover, earlier: CutoverReport): Promise<CutoverReport> {
  const { request, context, source } = cutover;
  const { directory, clock, siblings } = context;
  if (isGivenBack(directory)) return { ...earlier, isFenceLost: true };
  doubtCutover(directory, request, earlier);
  await liftFences(source, directory);
  await siblings.start({ kind: 'keeper', cutover: request });
  context.report({ ...NO_PROGRESS, stage: 'proving' });
  const report = await behindFence<CutoverReport>(cutover, {
    clients: earlier.clients,
    work: async ({ fencedAtMs, fence }, signal) => {
      const verification = await compareReleased(cutover, signal);
      if (!verification.passed) throw fenceLost(cutover, earlier, verification);
      await assertFencesHeld(source, context);
      await extendFences(source, context);
      const writePauseMs = clock.nowMs() - fencedAtMs;
      const durations = { drainDurationMs: 0, settleDurationMs: 0, proofDurationMs: writePauseMs };
      return { ...earlier, fencedAtMs, fence, ...durations, writePauseMs, verification };
    },
    decide: (proved) => {
      if (decideHandOver(directory, request, proved)) return;
      throw new MigrationError('write-pause-exceeded', 'The fence was being lifted when all was compared.');
    },
  });
  writeCutoverStep(directory, request, { step: 'completed', report });
  return report;
}

function fenceLost(
  { source }: Cutover,
  { fencedAtMs }: CutoverReport,
  { differences, maxDifferences }: VerifyReport,
): MigrationError {
  return new MigrationError(
    'fence-lost',
    `The target was handed over behind the fence of ${new Date(fencedAtMs).toISOString()}, which has fallen since, and ${differences.total} keys differ now, more than ${maxDifferences}; the source ${source.address} takes writes.`,
  );
}
