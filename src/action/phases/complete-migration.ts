// Reads:   the protection of the environment, the last verification, the state of the sync, both servers.
// Changes: writes at the source are fenced; the target becomes a primary of its own (native) or is released (replica);
//          with `reverse` a sync from the target to the source begins.
// Repeat:  says again what was done when it is done; else goes through all steps again.
// Undo:    before the hand-over it lifts the fence itself; afterwards nothing is undone.
import { formatAddress } from '../../contract/endpoint.ts';
import type { CutoverReport } from '../../contract/reports.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { describeTarget } from '../aws/target.ts';
import { readApprovals } from '../github/approvals.ts';
import { fetchReport } from '../host/report.ts';
import { optional } from '../input-readers.ts';
import type { InputsOf } from '../inputs.ts';
import type { Outputs } from '../outputs.ts';
import { requireGate } from './gate.ts';
import { runHostJob } from './host-job.ts';
import { requireNotifications, switchBackNotifications } from './notifications.ts';
import type { Found, PartsOf, RunPhase, World } from './phase.ts';
import { type CutoverSetting, promote, unfence } from './promotion.ts';
import { describeTuning } from './source-tuning.ts';
import { endpointOutputs, endpointParts, targetSetup } from './target-endpoint.ts';
import { verificationOutputs } from './verify.ts';
import { beginWayBack, findWayBack, requireWayBack } from './way-back.ts';

/** Fences the source, drains, proves the two sides equal, hands over, and says where the target is. */
export const completeMigration: RunPhase<'complete-migration'> = async (inputs, world, found) => {
  const target = await describeTarget(world.elasticache, inputs.replicationGroupId);
  const host = await world.openHost(inputs);
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  if (inputs.isWayBack) {
    await requireWayBack({ inputs, world, host });
    found.part({ isWayBack: true });
  }
  const { migration } = await host.call({ command: 'status', ...identity });
  if (migration === undefined) {
    throw new MigrationError('migration-unknown', `The host knows no migration ${inputs.migrationId}.`);
  }
  found.route(migration.route);
  found.outputs({ route: migration.route });
  const setting: CutoverSetting = { inputs, world, found, host, target, migration };
  found.part({ proof: await gatherProof(inputs, world, found) });
  if (migration.completedAtMs === undefined) {
    if (inputs.reverse) requireNotifications(target);
    await requireGate(inputs.gate, world, found.warn);
    await cutOver(setting);
    await host.call({ command: 'complete', ...identity });
    const { tuning } = await host.call({ command: 'status', ...identity });
    if (tuning !== undefined) found.warn(describeTuning(tuning));
  } else {
    found.warn(
      `The migration was completed at ${new Date(migration.completedAtMs).toISOString()}; nothing was done now.`,
    );
    await showWayBack(setting);
    await showEarlierCutover(setting);
  }
  found.outputs({ 'migration-status': 'completed' });
  await publishEndpoints(setting);
  if (inputs.reverse) {
    found.part({ wayBack: await beginWayBack({ inputs, world, host, warn: found.warn }) });
  } else if (inputs.isWayBack || (await isUnneeded(setting))) {
    await switchBackNotifications({ inputs, world, host, migration, warn: found.warn });
  }
  await watchStragglers(setting);
};

/** Whether notifications were switched on for a way back that nobody keeps. */
async function isUnneeded({ inputs, world, host, migration }: CutoverSetting): Promise<boolean> {
  if (migration.notifications === undefined) return false;
  return (await findWayBack({ inputs, world, host })) === undefined;
}

/** Refused where the target is not where the applications are any more. @throws migration-completed */
async function showWayBack({ inputs, world, host, found }: CutoverSetting): Promise<void> {
  if (inputs.isWayBack) return;
  const wayBack = await findWayBack({ inputs, world, host });
  found.part(optional('wayBack', wayBack?.sync));
  const wentBackAtMs = wayBack?.record.completedAtMs;
  if (wentBackAtMs === undefined) return;
  throw new MigrationError(
    'migration-completed',
    `The applications went back to the source at ${new Date(wentBackAtMs).toISOString()}.`,
  );
}

/** Where the applications go now; behind a way back that is where they came from. */
async function publishEndpoints({ inputs, world, found, migration }: CutoverSetting): Promise<void> {
  if (inputs.isWayBack) {
    const primary = formatAddress(migration.target);
    found.part({ endpoints: { primary }, source: formatAddress(migration.source) });
    found.outputs({ 'primary-endpoint': primary });
    return;
  }
  const handedOver = await describeTarget(world.elasticache, inputs.replicationGroupId);
  found.part({
    endpoints: endpointParts(handedOver),
    source: formatAddress(migration.source),
    setup: targetSetup(handedOver),
  });
  found.outputs(endpointOutputs(handedOver));
}

/** Who approved the run is worth a warning when it is not to be had, and no reason to stop. */
async function gatherProof(
  { gate }: InputsOf<'complete-migration'>,
  world: World,
  found: Found<'complete-migration'>,
): Promise<NonNullable<PartsOf<'complete-migration'>['proof']>> {
  const { repository, runId, githubApiUrl: apiUrl, signal, tool } = world;
  const known = { toolVersion: tool.version, agentSha256: await tool.agentSha256() };
  if (gate.environment === undefined || gate.githubToken === '' || runId === undefined) return known;
  try {
    const approvals = await readApprovals({ token: gate.githubToken, repository, runId, apiUrl, signal });
    return { ...known, approvals };
  } catch (error) {
    signal.throwIfAborted();
    found.warn(errorText(error));
    return known;
  }
}

/** The target has taken over: whatever becomes of this, the phase has done its work. */
async function watchStragglers({ inputs, world, found, host, migration }: CutoverSetting): Promise<void> {
  if (inputs.stragglerWatchMs === 0) return;
  const { source } = migration;
  try {
    const watchMs = inputs.stragglerWatchMs;
    const outcome = await runHostJob({ inputs, world, host }, { kind: 'stragglers', source, watchMs });
    if (outcome.error !== undefined) throw outcome.error;
    found.part({ stragglers: outcome.report });
  } catch (error) {
    world.signal.throwIfAborted();
    found.warn(`Who still comes to the source is not known: ${errorText(error)}`);
  }
}

async function cutOver(setting: CutoverSetting): Promise<void> {
  const { inputs, world, found, host, target, migration } = setting;
  const { source, target: endpoint, route } = migration;
  const { maxDifferences, ttlToleranceMs, keyDisplay, hashFieldTtl } = inputs;
  const { allowSkipped, maxVerificationAgeMs, reviewedVerificationId, maxWritePauseMs } = inputs;
  // Run again after its proof, the job answers with that proof as long as the fence has stood since.
  // Whatever `on-cancel` says: a cutover that goes on unwatched would leave a fence that nobody knows of.
  const run = () =>
    runHostJob(
      { inputs: { ...inputs, onCancel: 'stop' }, world, host },
      {
        kind: 'cutover',
        source,
        target: endpoint,
        route,
        maxDifferences,
        ttlToleranceMs,
        keyDisplay,
        hashFieldTtl,
        allowSkipped,
        maxVerificationAgeMs,
        reviewedVerificationId,
        maxWritePauseMs,
        ...(inputs.reverse ? { reverse: true } : {}),
      },
    );
  let outcome = await run();
  // Killed behind its decision, it was brought to its end without it: run again, it tells of that.
  if (outcome.error?.code === 'job-dead' && (await keeperOutcome(setting)) === 'handed-over') {
    outcome = await run();
  }
  found.part({ report: outcome.report });
  if (outcome.error !== undefined) throw outcome.error;
  found.outputs(cutoverOutputs(outcome.report));
  if (outcome.report.isFenceLost === true) {
    found.warn(
      `The fence at ${formatAddress(source)} does not stand any more: what is written there now stays there.`,
    );
  }
  if (route === 'native') await promote(setting, target.id);
}

/**
 * Waits for what the keeper on the host makes of a cutover that was killed; without one the fence is lifted from here.
 */
async function keeperOutcome(setting: CutoverSetting): Promise<'handed-over' | 'not-handed-over'> {
  const { inputs, world, found, host } = setting;
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  const untilMs = world.clock.nowMs() + KEEPER_WAIT_MS;
  while (world.clock.nowMs() < untilMs) {
    const { jobs } = await host.call({ command: 'status', ...identity });
    const keeper = jobs.find(({ kind }) => kind === 'keeper');
    if (keeper?.status === 'succeeded' && keeper.hasReport) {
      const report = await fetchReport(host, { ...identity, kind: 'keeper', jobId: keeper.jobId });
      if (report.outcome === 'lifted')
        found.warn('The fence at the source was lifted for the cutover that was gone.');
      return report.outcome === 'handed-over' ? 'handed-over' : 'not-handed-over';
    }
    if (keeper?.status !== 'running') break;
    await world.clock.sleep(KEEPER_POLL_MS, world.signal);
  }
  await unfence(setting);
  return 'not-handed-over';
}

const KEEPER_WAIT_MS = 60_000;
const KEEPER_POLL_MS = 1000;

async function showEarlierCutover({ inputs, world, found, host }: CutoverSetting): Promise<void> {
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
  found.outputs(cutoverOutputs(report));
}

function cutoverOutputs({ verification, writePauseMs }: CutoverReport): Outputs {
  return { ...verificationOutputs(verification), 'write-pause-ms': String(Math.round(writePauseMs)) };
}
