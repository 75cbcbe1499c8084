// Reads:   every key of the source and of the target, or those that changed since the last full verification.
// Changes: nothing; with `repair` what differs on the target.
// Repeat:  as often as you like; the newest verification counts.
// Undo:    nothing to undo; a repair makes the target what the source is.
import type { VerifyReport } from '../../contract/reports.ts';
import { MigrationError } from '../../core/errors.ts';
import { formatCount } from '../../core/units.ts';
import { describeTarget } from '../aws/target.ts';
import type { Outputs } from '../outputs.ts';
import { runHostJob } from './host-job.ts';
import type { RunPhase } from './phase.ts';
import { targetEndpoint } from './target-endpoint.ts';
import { requireWayBack } from './way-back.ts';

/** Compares the keys in both directions and fails when more differ than allowed. */
export const verify: RunPhase<'verify'> = async (inputs, world, found) => {
  const target = await describeTarget(world.elasticache, inputs.replicationGroupId);
  const host = await world.openHost(inputs);
  const { migrationId } = inputs;
  const wayBack = inputs.isWayBack ? await requireWayBack({ inputs, world, host }) : undefined;
  const { migration } = await host.call({ command: 'status', migrationId, repository: world.repository });
  if (migration !== undefined) {
    found.route(migration.route);
    found.outputs({ route: migration.route });
  }
  const outcome = await runHostJob(
    { inputs, world, host },
    {
      kind: 'verify',
      source: wayBack?.source ?? inputs.source,
      target: wayBack?.target ?? targetEndpoint(target, inputs),
      ...(migration === undefined ? {} : { route: migration.route }),
      scope: inputs.scope,
      maxDifferences: inputs.maxDifferences,
      ttlToleranceMs: inputs.ttlToleranceMs,
      keyDisplay: inputs.keyDisplay,
      hashFieldTtl: inputs.hashFieldTtl,
      ...(inputs.repair === undefined ? {} : { repair: inputs.repair }),
    },
  );
  found.part({ report: outcome.report });
  if (outcome.report !== undefined) found.outputs(verificationOutputs(outcome.report));
  if (outcome.error !== undefined) throw outcome.error;
  if (!outcome.report.passed) throw differenceError(outcome.report);
};

/** The figures of a verification for later steps. */
export function verificationOutputs(report: VerifyReport): Outputs {
  return {
    'keys-compared': String(report.keysCompared),
    differences: String(report.differences.total),
    skipped: String(report.skipped.reduce((sum, { count }) => sum + count, 0)),
    'verification-id': report.verificationId,
  };
}

function differenceError({ differences, keysCompared, maxDifferences }: VerifyReport): MigrationError {
  return new MigrationError(
    'verification-different',
    `${formatCount(differences.total)} of ${formatCount(keysCompared)} keys differ; allowed are ${formatCount(maxDifferences)}.`,
  );
}
