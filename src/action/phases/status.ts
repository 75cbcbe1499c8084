// Reads:   the replication group and its events, the state of the migration on the host, the replication link; of a completed migration the round-trip times to the target.
// Changes: nothing; with `benchmark`, keys of its own on the target of a completed migration, which it removes again.
// Repeat:  as often as you like.
// Undo:    nothing to undo.
import { type Endpoint, formatAddress } from '../../contract/endpoint.ts';
import type { HostReplyOf, MigrationRecord } from '../../contract/host-commands.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { listEvents } from '../aws/events.ts';
import { describeTarget, type Target } from '../aws/target.ts';
import type { Host } from '../host/host.ts';
import { fetchReport } from '../host/report.ts';
import { optional } from '../input-readers.ts';
import type { InputsOf } from '../inputs.ts';
import { runHostJob } from './host-job.ts';
import type { Found, PartsOf, RunPhase, World } from './phase.ts';
import { describeTuning } from './source-tuning.ts';
import { endpointOutputs, fenceParts, targetEndpoint, targetSetup } from './target-endpoint.ts';
import { findWayBack } from './way-back.ts';

type Setting = {
  readonly inputs: InputsOf<'status'>;
  readonly world: World;
  readonly found: Found<'status'>;
  readonly host: Host;
  readonly target: Target;
  readonly seen: HostReplyOf<'status'>;
};

/** Says where the migration stands and, once it is completed, how the target answers and what is left to do. */
export const status: RunPhase<'status'> = async (inputs, world, found) => {
  const target = await describeTarget(world.elasticache, inputs.replicationGroupId);
  const { engine, engineVersion, primary, reader } = target;
  found.part({
    target: {
      status: target.status,
      engine,
      engineVersion,
      ...(primary === undefined ? {} : { primary: formatAddress(primary) }),
      ...(reader === undefined ? {} : { reader: formatAddress(reader) }),
    },
  });
  found.outputs(endpointOutputs(target));
  const host = await world.openHost(inputs);
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  const seen = await host.call({ command: 'status', ...identity });
  found.part({
    jobs: seen.jobs,
    ...optional('migration', seen.migration),
    ...optional('cutover', seen.cutover),
    ...optional('tuning', seen.tuning),
  });
  const isSyncing = seen.jobs.some(({ kind, status }) => kind === 'sync' && status === 'running');
  if (seen.tuning !== undefined && !isSyncing) found.warn(describeTuning(seen.tuning));
  found.outputs({ 'migration-status': migrationStatus(seen) });
  const { migration } = seen;
  const setting: Setting = { inputs, world, found, host, target, seen };
  if (migration !== undefined) {
    found.route(migration.route);
    found.outputs({ route: migration.route });
    const sync = seen.jobs.find(({ kind }) => kind === 'sync');
    if (sync?.progress.lagBytes !== undefined) found.outputs({ 'lag-bytes': String(sync.progress.lagBytes) });
    if (migration.route === 'native') await showOnlineMigration(setting, migration);
    if (migration.completedAtMs !== undefined) await showHandOver(setting, migration);
  }
  if (inputs.benchmark) await benchmark(setting);
};

/** What ElastiCache says of its online migration and, until it is over, how far the target follows. */
async function showOnlineMigration(setting: Setting, migration: MigrationRecord): Promise<void> {
  const { inputs, world, found, host, target, seen } = setting;
  found.part({
    nativeEvents: await listEvents(world.elasticache, { target, sinceMs: migration.createdAtMs }),
  });
  if (migration.completedAtMs !== undefined) return;
  const { source, target: endpoint } = migration;
  const outcome = await runHostJob(
    { inputs, world, host },
    { kind: 'link', source, target: endpoint, waitMs: 0 },
  );
  if (outcome.error !== undefined) throw outcome.error;
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  found.part({ jobs: (await host.call({ command: 'status', ...identity })).jobs });
  found.outputs({
    'lag-bytes': String(outcome.report.lagBytes),
    ...(isCuttingOver(seen) ? {} : { 'migration-status': outcome.report.live ? 'live' : 'copying' }),
  });
}

/** What is left to do, and how the target answers: a status that cannot tell is still one. */
async function showHandOver(setting: Setting, migration: MigrationRecord): Promise<void> {
  const { inputs, world, found, host, target } = setting;
  if (inputs.isWayBack) {
    found.part({ isWayBack: true });
    found.outputs({ 'primary-endpoint': formatAddress(migration.target) });
  } else {
    const wayBack = await findWayBack({ inputs, world, host });
    if (wayBack !== undefined) noteWayBack(wayBack, found);
    // The applications are not there any more.
    if (wayBack?.record.completedAtMs !== undefined) return;
  }
  await orWarn(setting, 'What the cutover left behind is not known', async () => {
    found.part(await cutoverTraces(setting));
  });
  // The user that wrote at the old source is gone, and how fast that answers the applications have always known.
  if (inputs.isWayBack) return;
  found.part({ setup: targetSetup(target) });
  await orWarn(setting, 'How fast the target answers is not known', async () => {
    const job = { kind: 'latency', target: currentEndpoint(setting) } as const;
    const outcome = await runHostJob({ inputs, world, host }, job);
    if (outcome.error !== undefined) throw outcome.error;
    found.part({ latency: outcome.report });
  });
}

async function orWarn({ world, found }: Setting, words: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    world.signal.throwIfAborted();
    found.warn(`${words}: ${errorText(error)}`);
  }
}

/** The fence and who still came to it, as the reports of the cutover on the host have it. */
async function cutoverTraces({
  inputs,
  world,
  host,
  seen,
}: Setting): Promise<Pick<PartsOf<'status'>, 'fence' | 'stragglers'>> {
  const { migrationId } = inputs;
  const fetch = <Kind extends 'cutover' | 'stragglers'>(kind: Kind) => {
    const job = seen.jobs.find((one) => one.kind === kind && one.hasReport);
    if (job === undefined) return undefined;
    return fetchReport(host, { migrationId, repository: world.repository, kind, jobId: job.jobId });
  };
  const cutover = await fetch('cutover');
  return {
    ...(cutover === undefined ? {} : { fence: fenceParts(cutover) }),
    ...optional('stragglers', await fetch('stragglers')),
  };
}

/** Only when the input asks for it; refused by the host until the target has taken over. */
async function benchmark(setting: Setting): Promise<void> {
  const { inputs, world, found, host } = setting;
  const wentBackAtMs = (await findWayBack({ inputs, world, host }))?.record.completedAtMs;
  if (wentBackAtMs !== undefined) {
    throw new MigrationError('migration-completed', `${wentBackText(wentBackAtMs)} The target is fenced.`, {
      remedy: 'Run `status` without `benchmark`.',
    });
  }
  const job = { kind: 'benchmark', target: currentEndpoint(setting) } as const;
  const outcome = await runHostJob({ inputs: { ...inputs, onCancel: 'stop' }, world, host }, job);
  if (outcome.error !== undefined) throw outcome.error;
  found.part({ benchmark: outcome.report });
}

/** Where the target is now, which may have TLS since, with the access that the migration had. @throws migration-unknown */
function currentEndpoint({ inputs, target, seen: { migration } }: Setting): Endpoint {
  if (migration === undefined) {
    throw new MigrationError('migration-unknown', `The host knows no migration ${inputs.migrationId}.`);
  }
  const { username, password, caFile } = migration.target;
  const access = { ...optional('username', username), ...optional('password', password) };
  return targetEndpoint(target, { targetAccess: { ...access, ...optional('caFile', caFile) } });
}

function noteWayBack(
  { record, sync }: NonNullable<Awaited<ReturnType<typeof findWayBack>>>,
  { part, warn }: Found<'status'>,
): void {
  part(optional('wayBack', sync));
  if (record.completedAtMs !== undefined) {
    part({ wentBackAtMs: record.completedAtMs });
    warn(wentBackText(record.completedAtMs));
  } else if (sync?.status !== 'running') {
    const why =
      sync === undefined ? 'there is no sync.' : `its sync is ${sync.status}. ${sync.error?.message ?? ''}`;
    warn(`The way back is not kept up: ${why} Run start-migration with \`direction: reverse\`.`);
  }
}

function wentBackText(atMs: number): string {
  return `The applications went back to the source at ${new Date(atMs).toISOString()}.`;
}

function isCuttingOver(seen: HostReplyOf<'status'>): boolean {
  return ['cutting-over', 'proved', 'handed-over'].includes(migrationStatus(seen));
}

/** A cutover that is gone may have been brought to its end, or undone, by its keeper: what is decided says so. */
function migrationStatus({ migration, jobs, cutover }: HostReplyOf<'status'>): string {
  if (migration === undefined) return 'none';
  if (migration.completedAtMs !== undefined) return 'completed';
  const isRunning = jobs.some(({ kind, status }) => kind === 'cutover' && status === 'running');
  if (isRunning || cutover === 'handing-over') return 'cutting-over';
  if (cutover === 'completed') return 'handed-over';
  if (cutover === 'proved') return 'proved';
  const sync = jobs.find(({ kind }) => kind === 'sync');
  if (sync === undefined) return 'none';
  if (sync.status === 'running') return sync.progress.stage === 'live' ? 'live' : 'copying';
  return sync.status === 'stopped' ? 'stopped' : 'failed';
}
