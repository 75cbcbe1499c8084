// Reads:   the state of the migration on the host, the replication group.
// Changes: ends the sync or the online migration, lifts the fence, releases the target; empties it when told so.
// Repeat:  finds nothing left to undo.
// Undo:    start-migration copies anew. A way back that is given up is gone.
import type { Endpoint } from '../../contract/endpoint.ts';
import type { Route } from '../../contract/finding.ts';
import type { MigrationRecord } from '../../contract/host-commands.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { awaitCompletion, requestCompletion, watchCompletion } from '../aws/online-migration.ts';
import { describeTarget } from '../aws/target.ts';
import type { InputsOf } from '../inputs.ts';
import { runHostJob } from './host-job.ts';
import { switchBackNotifications } from './notifications.ts';
import type { Found, RunPhase, World } from './phase.ts';
import { targetEndpoint } from './target-endpoint.ts';
import { requireWayBack } from './way-back.ts';

/**
 * Gives the migration up and leaves the source as it was found.
 *
 * The source comes first: whatever AWS refuses, the host lifts the fence, and the refusal is thrown at the end.
 */
export const rollback: RunPhase<'rollback'> = async (inputs, world, found) => {
  const host = await world.openHost(inputs);
  const identity = { migrationId: inputs.migrationId, repository: world.repository };
  if (inputs.isWayBack) {
    await requireWayBack({ inputs, world, host });
    found.part({ isWayBack: true });
  }
  const { migration } = await host.call({ command: 'status', ...identity });
  if (migration?.completedAtMs !== undefined) {
    throw new MigrationError(
      'migration-completed',
      `The migration was completed at ${new Date(migration.completedAtMs).toISOString()}: a rollback would lose what was written since.`,
      {
        remedy:
          'Where a way back is kept, verify and complete-migration with `direction: reverse` go back without that loss.',
      },
    );
  }
  const aborted = await abortNative(inputs, world, { migration, found });
  const { route } = aborted;
  found.route(route);
  found.outputs({ route });
  const target = migration?.target ?? aborted.target;
  if (target === undefined) throw aborted.failure;
  const outcome = await runHostJob(
    { inputs, world, host },
    {
      kind: 'rollback',
      source: migration?.source ?? inputs.source,
      target,
      route,
      // A target that may still replicate cannot be emptied.
      flushTarget: inputs.flushTarget && aborted.failure === undefined,
    },
  );
  found.part({ report: outcome.report });
  if (outcome.error !== undefined) throw outcome.error;
  if (aborted.failure !== undefined) throw aborted.failure;
  await switchBackNotifications({ inputs, world, host, migration, warn: found.warn });
  await host.call({ command: 'forget', ...identity });
  found.outputs({ 'migration-status': 'none' });
};

type Aborted = { route: Route; target: Endpoint | undefined; failure: unknown };

/** Ends the online migration where one runs; what AWS refuses is returned and not thrown. */
async function abortNative(
  inputs: InputsOf<'rollback'>,
  { elasticache }: World,
  { migration, found }: { migration: MigrationRecord | undefined; found: Found<'rollback'> },
): Promise<Aborted> {
  const aborted: Aborted = { route: migration?.route ?? 'replica', target: undefined, failure: undefined };
  try {
    const target = await describeTarget(elasticache, inputs.replicationGroupId);
    if (migration === undefined && target.status === 'migrating') aborted.route = 'native';
    aborted.target = targetEndpoint(target, inputs);
    if (aborted.route !== 'native' || target.status === 'available') return aborted;
    const { id } = target;
    const watch = await watchCompletion(elasticache, id);
    await requestCompletion(elasticache, { id, force: true });
    const ended = await awaitCompletion(elasticache, { id, watch, timeoutMs: inputs.waitTimeoutMs });
    found.part({ nativeEvents: ended.events });
  } catch (error) {
    if (isMigrationError(error) && error.code === 'replication-group-not-migrating') {
      found.warn('No online migration was running any more.');
    } else aborted.failure = error;
  }
  return aborted;
}
