// Reads:   the protection of the environment, the last verification, the state of the sync, both servers.
// Changes: writes at the source are fenced; the target becomes a primary of its own (native) or is released (replica).
// Repeat:  says again what was done when it is done; else goes through all steps again.
// Undo:    before the hand-over it lifts the fence itself; afterwards nothing is undone.
import type { MigrationRecord } from '../../contract/host-commands.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { completeMigration as completeOnlineMigration, waitForAvailable } from '../aws/online-migration.ts';
import { describeTarget, type Target } from '../aws/target.ts';
import type { Host } from '../host/host.ts';
import { fetchReport } from '../host/report.ts';
import type { InputsOf } from '../inputs.ts';
import { requireGate } from './gate.ts';
import { runHostJob } from './host-job.ts';
import type { Found, RunPhase, World } from './phase.ts';
import { endpointOutputs, endpointParts } from './target-endpoint.ts';
import { verificationOutputs } from './verify.ts';

type Setting = {
  readonly inputs: InputsOf<'complete-migration'>;
  readonly world: World;
  readonly found: Found<'complete-migration'>;
  readonly host: Host;
  readonly target: Target;
  readonly migration: MigrationRecord;
};

/** Fences the source, drains, proves the two sides equal, hands over, and says where the target is. */
export const completeMigration: RunPhase<'complete-migration'> = async (inputs, world, found) => {
  const target = await describeTarget(world.elasticache, inputs.replicationGroupId);
  const host = await world.openHost(inputs);
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  const { migration } = await host.call({ command: 'status', ...identity });
  if (migration === undefined) {
    throw new MigrationError('migration-unknown', `The host knows no migration ${inputs.migrationId}.`);
  }
  found.route(migration.route);
  found.outputs({ route: migration.route });
  const setting: Setting = { inputs, world, found, host, target, migration };
  if (migration.completedAtMs === undefined) {
    await requireGate(inputs.gate, world, found.warn);
    await cutOver(setting);
    await host.call({ command: 'complete', ...identity });
  } else {
    found.warn(
      `The migration was completed at ${new Date(migration.completedAtMs).toISOString()}; nothing was done now.`,
    );
    await showEarlierCutover(setting);
  }
  const handedOver = await describeTarget(world.elasticache, inputs.replicationGroupId);
  found.part({ endpoints: endpointParts(handedOver) });
  found.outputs({ ...endpointOutputs(handedOver), 'migration-status': 'completed' });
};

async function cutOver(setting: Setting): Promise<void> {
  const { inputs, world, found, host, target, migration } = setting;
  if (migration.route === 'native' && (await wasPromotedEarlier(setting))) {
    found.warn('An earlier attempt had already promoted the target after its proof.');
    await showEarlierCutover(setting);
    return;
  }
  const { source, target: endpoint, route } = migration;
  const { maxDifferences, ttlToleranceMs, keyDisplay, maxVerificationAgeMs, maxWritePauseMs } = inputs;
  const outcome = await runHostJob(
    { inputs, world, host },
    {
      kind: 'cutover',
      source,
      target: endpoint,
      route,
      maxDifferences,
      ttlToleranceMs,
      keyDisplay,
      maxVerificationAgeMs,
      maxWritePauseMs,
    },
  );
  found.part({ report: outcome.report });
  if (outcome.error !== undefined) throw outcome.error;
  const { report } = outcome;
  found.outputs({
    ...verificationOutputs(report.verification),
    'write-pause-ms': String(Math.round(report.writePauseMs)),
  });
  if (route === 'native') await promote(setting, target.id);
}

/** Lets ElastiCache promote the target; while it does not, the source takes writes again. */
async function promote({ inputs, world, found, host, migration }: Setting, id: string): Promise<void> {
  try {
    const { waitTimeoutMs: timeoutMs } = inputs;
    const done = await completeOnlineMigration(world.elasticache, { id, force: false, timeoutMs });
    found.part({ nativeEvents: done.events });
  } catch (error) {
    // Only these say for sure that nothing was promoted: after any other error the fence must stay.
    const isRefusal = isMigrationError(error) && NOT_PROMOTED.includes(error.code);
    if (!isRefusal) throw error;
    const outcome = await runHostJob({ inputs, world, host }, { kind: 'unfence', source: migration.source });
    if (outcome.error !== undefined)
      found.warn(`The fence at the source was not lifted: ${outcome.error.message}`);
    throw error;
  }
}

const NOT_PROMOTED: readonly string[] = ['migration-promotion-failed', 'aws-access-denied', 'aws-throttled'];

/** A run that died between the promotion and its note finds the proof done and the target a master. */
async function wasPromotedEarlier({ inputs, world, host, migration }: Setting): Promise<boolean> {
  const { migrationId } = inputs;
  const { jobs } = await host.call({ command: 'status', migrationId, repository: world.repository });
  const isProved = jobs.some(({ kind, status }) => kind === 'cutover' && status === 'succeeded');
  if (!isProved) return false;
  const { source, target } = migration;
  const look = await runHostJob({ inputs, world, host }, { kind: 'link', source, target, waitMs: 0 });
  if (look.error !== undefined) throw look.error;
  if (look.report.role !== 'master') return false;
  await waitForAvailable(world.elasticache, {
    id: inputs.replicationGroupId,
    timeoutMs: inputs.waitTimeoutMs,
  });
  return true;
}

async function showEarlierCutover({ inputs, world, found, host }: Setting): Promise<void> {
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  const { jobs } = await host.call({ command: 'status', ...identity });
  const cutover = jobs.find(({ kind, hasReport }) => kind === 'cutover' && hasReport);
  if (cutover === undefined) return;
  const report = await fetchReport(host, {
    ...identity,
    kind: 'cutover',
    jobId: cutover.jobId,
  });
  found.part({ report });
  found.outputs({
    ...verificationOutputs(report.verification),
    'write-pause-ms': String(Math.round(report.writePauseMs)),
  });
}
