// Reads:   the replication group and its events, the state of the migration on the host, the replication link.
// Changes: nothing.
// Repeat:  as often as you like.
// Undo:    nothing to undo.
import { formatAddress } from '../../contract/endpoint.ts';
import type { HostReplyOf } from '../../contract/host-commands.ts';
import { listEvents } from '../aws/events.ts';
import { describeTarget } from '../aws/target.ts';
import { optional } from '../input-readers.ts';
import { runHostJob } from './host-job.ts';
import type { RunPhase } from './phase.ts';
import { describeTuning } from './source-tuning.ts';
import { endpointOutputs } from './target-endpoint.ts';
import { findWayBack } from './way-back.ts';

/** Says where the migration stands. */
export const status: RunPhase<'status'> = async (inputs, world, found) => {
  const target = await describeTarget(world.elasticache, inputs.replicationGroupId);
  const { engine, engineVersion, primary } = target;
  found.part({
    target: {
      status: target.status,
      engine,
      engineVersion,
      ...(primary === undefined ? {} : { primary: formatAddress(primary) }),
    },
  });
  found.outputs(endpointOutputs(target));
  const host = await world.openHost(inputs);
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  const seen = await host.call({ command: 'status', ...identity });
  found.part({
    jobs: seen.jobs,
    ...optional('migration', seen.migration),
    ...optional('tuning', seen.tuning),
  });
  const isSyncing = seen.jobs.some(({ kind, status }) => kind === 'sync' && status === 'running');
  if (seen.tuning !== undefined && !isSyncing) found.warn(describeTuning(seen.tuning));
  found.outputs({ 'migration-status': migrationStatus(seen) });
  const { migration } = seen;
  if (migration === undefined) return;
  if (migration.completedAtMs !== undefined && !inputs.isWayBack) {
    const wayBack = await findWayBack({ inputs, world, host });
    found.part(optional('wayBack', wayBack?.sync));
    if (wayBack !== undefined) noteWayBack(wayBack, found.warn);
  }
  found.route(migration.route);
  found.outputs({ route: migration.route });
  const sync = seen.jobs.find(({ kind }) => kind === 'sync');
  if (sync?.progress.lagBytes !== undefined) found.outputs({ 'lag-bytes': String(sync.progress.lagBytes) });
  if (migration.route !== 'native') return;

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
  found.part({ jobs: (await host.call({ command: 'status', ...identity })).jobs });
  found.outputs({
    'lag-bytes': String(outcome.report.lagBytes),
    ...(isCuttingOver(seen) ? {} : { 'migration-status': outcome.report.live ? 'live' : 'copying' }),
  });
};

function noteWayBack(
  { record, sync }: NonNullable<Awaited<ReturnType<typeof findWayBack>>>,
  warn: (text: string) => void,
): void {
  if (record.completedAtMs !== undefined) {
    warn(`The applications went back to the source at ${new Date(record.completedAtMs).toISOString()}.`);
  } else if (sync?.status !== 'running') {
    const why =
      sync === undefined ? 'there is no sync.' : `its sync is ${sync.status}. ${sync.error?.message ?? ''}`;
    warn(`The way back is not kept up: ${why} Run start-migration with \`direction: reverse\`.`);
  }
}

function isCuttingOver(seen: HostReplyOf<'status'>): boolean {
  return ['cutting-over', 'proved'].includes(migrationStatus(seen));
}

function migrationStatus({ migration, jobs }: HostReplyOf<'status'>): string {
  if (migration === undefined) return 'none';
  if (migration.completedAtMs !== undefined) return 'completed';
  const cutover = jobs.find(({ kind }) => kind === 'cutover');
  if (cutover?.status === 'running') return 'cutting-over';
  if (cutover?.status === 'succeeded') return 'proved';
  const sync = jobs.find(({ kind }) => kind === 'sync');
  if (sync === undefined) return 'none';
  if (sync.status === 'running') return sync.progress.stage === 'live' ? 'live' : 'copying';
  return sync.status === 'stopped' ? 'stopped' : 'failed';
}
