// Reads:   everything that preflight reads, and the state of the migration on the host.
// Changes: the target: it becomes a replica of the source (native) or is filled by the agent (replica, scan); with
//          `reverse` the keyspace notifications in its parameter group.
// Repeat:  adopts what already runs; a sync that died resumes from its checkpoint, one by scanning goes over everything.
// Undo:    rollback.
import type { Endpoint } from '../../contract/endpoint.ts';
import type { Route } from '../../contract/finding.ts';
import type { HostReplyOf } from '../../contract/host-commands.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { formatEvents } from '../aws/events.ts';
import { planNotifications } from '../aws/notifications.ts';
import {
  startMigration as startOnlineMigration,
  testMigration,
  watchMigrationHold,
  watchMigrationStart,
} from '../aws/online-migration.ts';
import { describeTarget, type Target } from '../aws/target.ts';
import type { Host } from '../host/host.ts';
import { optional } from '../input-readers.ts';
import type { InputsOf } from '../inputs.ts';
import { unusedSyncInputs } from '../sync-inputs.ts';
import { runHostJobUntil } from './host-job.ts';
import { switchOnNotifications } from './notifications.ts';
import type { Found, RunPhase, World } from './phase.ts';
import { examine, nativeSourceAddress, refuseFailures } from './preflight.ts';
import { requireAvailable, targetEndpoint } from './target-endpoint.ts';
import { requireWayBack } from './way-back.ts';

type Setting = {
  readonly inputs: InputsOf<'start-migration'>;
  readonly world: World;
  readonly found: Found<'start-migration'>;
  readonly host: Host;
  readonly target: Target;
  readonly endpoints: { readonly source: Endpoint; readonly target: Endpoint };
  /** StartMigration was sent: whatever its answer, the target may be changing. */
  readonly progress: { isStartRequested: boolean };
};

/** Starts the migration, or adopts it, and waits until the target follows the source. */
export const startMigration: RunPhase<'start-migration'> = async (inputs, world, found) => {
  const target = await describeTarget(world.elasticache, inputs.replicationGroupId);
  if (inputs.isWayBack) return resumeWayBack({ inputs, world, found, target });
  const endpoints = { source: inputs.source, target: targetEndpoint(target, inputs) };
  const host = await world.openHost(inputs);
  const setting: Setting = {
    inputs,
    world,
    found,
    host,
    target,
    endpoints,
    progress: { isStartRequested: false },
  };
  const running = await runningRoute(setting);
  const route = running ?? (await chooseRoute(setting));
  found.route(route);
  found.outputs({ route });
  const unused = unusedSyncInputs(inputs, route);
  if (unused.length > 0) found.warn(`Without effect on the route ${route}: ${unused.join(', ')}.`);
  const { adopted, migration } = await openMigration(setting, route);
  try {
    if (inputs.reverse) await switchOnNotifications(setting, migration);
    if (route === 'native') await startNative(setting, running !== undefined);
    else await startSync(setting, route);
  } catch (error) {
    if (setting.progress.isStartRequested || (running !== undefined && route === 'native')) {
      found.warn(
        'The online migration goes on in ElastiCache: run start-migration again to follow it, or rollback.',
      );
    } else if (!adopted) await forgetUnstarted(setting);
    throw error;
  }
  found.outputs({ 'migration-status': 'live' });
};

/** Starts the sync of a way back again, or adopts it: which servers and how is what its record says. */
async function resumeWayBack({
  inputs,
  world,
  found,
  target,
}: Pick<Setting, 'inputs' | 'world' | 'found' | 'target'>): Promise<void> {
  const host = await world.openHost(inputs);
  const { source, target: oldSource, route } = await requireWayBack({ inputs, world, host });
  found.route(route);
  found.outputs({ route });
  const endpoints = { source, target: oldSource };
  const progress = { isStartRequested: false };
  await startSync({ inputs, world, found, host, target, endpoints, progress }, 'scan');
  found.outputs({ 'migration-status': 'live' });
}

/** The route of the migration that is already on its way; undefined when there is none to adopt. */
async function runningRoute({ inputs, world, host, target }: Setting): Promise<Route | undefined> {
  const { migrationId } = inputs;
  const { migration, jobs } = await host.call({
    command: 'status',
    migrationId,
    repository: world.repository,
  });
  if (migration === undefined) {
    requireAvailable(target);
    return undefined;
  }
  if (inputs.route !== 'auto' && inputs.route !== migration.route) {
    throw new MigrationError(
      'route-changed',
      `The migration ${migrationId} was started on the route ${migration.route}, not ${inputs.route}.`,
    );
  }
  // Between StartMigration and `migrating` the group is `modifying`: an earlier run may have left it there.
  const isUnderMigration = migration.route === 'native' && target.status !== 'available';
  const isSyncing = jobs.some(({ kind, status }) => kind === 'sync' && status === 'running');
  const isRunning = migration.completedAtMs !== undefined || isSyncing || isUnderMigration;
  return isRunning ? migration.route : undefined;
}

async function chooseRoute({ inputs, world, found, host, target }: Setting): Promise<Route> {
  const report = await examine({ inputs, world, host, target, canaryWrite: false });
  found.part({ preflight: report });
  refuseFailures(report);
  if (report.route === undefined) {
    throw new MigrationError('route-none', 'No route serves this source and target.');
  }
  return report.route;
}

function openMigration(
  { inputs, world, host, target, endpoints }: Setting,
  route: Route,
): Promise<HostReplyOf<'open'>> {
  const { migrationId } = inputs;
  const { set: _, ...changed } = (inputs.reverse ? planNotifications(target) : undefined) ?? {};
  const identity = { migrationId, repository: world.repository };
  return host.call({
    command: 'open',
    ...identity,
    route,
    ...endpoints,
    ...('before' in changed ? { notifications: changed } : {}),
  });
}

async function startSync(
  { inputs, world, found, host, endpoints }: Setting,
  route: Exclude<Route, 'native'>,
): Promise<void> {
  const outcome = await runHostJobUntil(
    { inputs, world, host },
    {
      kind: 'sync',
      ...endpoints,
      route,
      // What a way back goes to is never emptied, nor is what it comes from tuned.
      flushTarget: inputs.flushTarget && !inputs.isWayBack,
      tuneSource: inputs.tuneSource && !inputs.isWayBack,
      ...optional('sourceBytesPerSecondMax', inputs.sourceBytesPerSecondMax),
      ...optional('targetCommandsPerSecondMax', inputs.targetCommandsPerSecondMax),
      hashFieldTtl: inputs.hashFieldTtl,
      keyDisplay: inputs.keyDisplay,
    },
    { until: (state) => state.progress.stage === 'live', onState: (state) => found.part({ sync: state }) },
  );
  found.part({ sync: outcome.state, report: outcome.report });
  const { lagBytes } = outcome.state.progress;
  if (lagBytes !== undefined) found.outputs({ 'lag-bytes': String(lagBytes) });
  if (outcome.error !== undefined) throw outcome.error;
}

async function startNative(setting: Setting, isRunning: boolean): Promise<void> {
  const { inputs, world, found, target, host, progress } = setting;
  const { waitTimeoutMs: timeoutMs } = inputs;
  if (!isRunning) {
    const source = nativeSourceAddress(inputs, host);
    if (source === undefined) {
      throw new MigrationError(
        'input-missing',
        'The address at which ElastiCache reaches the source is not known.',
        {
          remedy: 'Give `native-source-address`.',
        },
      );
    }
    const test = await testMigration(world.elasticache, { id: target.id, source, timeoutMs });
    found.part({ nativeEvents: test.events });
    if (test.outcome === 'failed') {
      throw new MigrationError(
        'migration-test-failed',
        `ElastiCache cannot migrate from ${source.host}:${source.port}. ${formatEvents(test.events)}`,
      );
    }
    if (test.outcome === 'unknown')
      found.warn('ElastiCache published no outcome of TestMigration; starting all the same.');
    progress.isStartRequested = true;
    const started = await startOnlineMigration(world.elasticache, { id: target.id, source, timeoutMs });
    found.part({ nativeEvents: [...test.events, ...started.events] });
  } else if (target.status !== 'migrating') {
    await watchMigrationStart(world.elasticache, { id: target.id, timeoutMs });
  }
  await followNative(setting);
}

/**
 * Waits until the target has caught up, and looks at the same time that the group stays under migration: a target
 * that cannot load the source's data goes back to `available`, which is a failure and not progress.
 */
async function followNative({ inputs, world, found, host, target, endpoints }: Setting): Promise<void> {
  const { waitTimeoutMs, migrationId } = inputs;
  const watching = new AbortController();
  const signal = AbortSignal.any([world.signal, watching.signal]);
  let failure: unknown;
  const watch = watchMigrationHold(
    { ...world.elasticache, signal },
    { id: target.id, holdMs: waitTimeoutMs },
  ).catch((error: unknown) => {
    if (!watching.signal.aborted) failure = error;
  });
  try {
    const outcome = await runHostJobUntil(
      { inputs, world, host },
      { kind: 'link', ...endpoints, waitMs: waitTimeoutMs },
      { until: () => failure !== undefined, onState: (state) => found.part({ sync: state }) },
    );
    if (outcome.state.status === 'running') {
      await host.call({ command: 'stop', migrationId, repository: world.repository, kind: 'link' });
    }
    if (failure !== undefined) throw failure;
    found.part({ sync: outcome.state });
    if (outcome.error !== undefined) throw outcome.error;
    found.outputs({ 'lag-bytes': String(outcome.report?.lagBytes ?? 0) });
  } finally {
    watching.abort(new Error('no longer watched'));
    await watch;
  }
}

/** A migration that never touched the target leaves no record that would stand in the way of the next attempt. */
async function forgetUnstarted({ inputs, world, found, host }: Setting): Promise<void> {
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  try {
    const { jobs } = await host.call({ command: 'status', ...identity });
    const sync = jobs.find(({ kind }) => kind === 'sync');
    const isUntouched = sync === undefined || ['starting', 'connecting'].includes(sync.progress.stage);
    if (isUntouched && sync?.status !== 'running') await host.call({ command: 'forget', ...identity });
  } catch (error) {
    found.warn(`The record of the attempt stays on the host: ${errorText(error)}`);
  }
}
