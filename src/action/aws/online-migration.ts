import {
  CompleteMigrationCommand,
  StartMigrationCommand,
  TestMigrationCommand,
} from '@aws-sdk/client-elasticache';
import { MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import { callAws } from './aws-error.ts';
import {
  type EventSource,
  type EventWatch,
  formatEvents,
  judgeEvent,
  type TargetEvent,
  watchEvents,
} from './events.ts';
import { pollUntil } from './poll.ts';
import { type Address, type ElastiCacheDoor, elasticacheCall, readGroup, readStatus } from './target.ts';

/** What TestMigration found; `unknown` when no event told in time, which is worth a warning and no more. */
export type MigrationTest = {
  readonly outcome: 'passed' | 'failed' | 'unknown';
  readonly events: readonly TargetEvent[];
};

/** A migration that is on its way, and what ElastiCache said meanwhile. */
export type MigrationWatch = { readonly status: string; readonly events: readonly TargetEvent[] };

/** Statuses from which no migration starts any more. */
const DEAD_END_STATUSES: ReadonlySet<string> = new Set(['deleting', 'deleted', 'create-failed']);

/** DescribeReplicationGroups may still show the status of before for some looks after a change. */
const STALE_LOOKS_MAX = 3;

/**
 * Runs TestMigration and waits for its outcome, which arrives as an event, and for the group to be available again.
 *
 * Source: ElastiCache API reference, TestMigration: asynchronous; the answer itself says nothing about the result.
 *
 * @throws replication-group-not-found, replication-group-not-available, replication-group-migrating,
 * replication-group-unsuitable, wait-timeout (the group did not become available), and those of every AWS call
 */
export async function testMigration(
  door: ElastiCacheDoor,
  { id, source, timeoutMs }: { id: string; source: Address; timeoutMs: number },
): Promise<MigrationTest> {
  const watch = await watchEvents(door, await eventSource(door, id));
  await callAws(elasticacheCall(door, 'TestMigration', id), () =>
    door.elasticache.send(
      new TestMigrationCommand({ ReplicationGroupId: id, CustomerNodeEndpointList: endpointList(source) }),
      { abortSignal: door.signal },
    ),
  );
  const told = await pollUntil(
    async (): Promise<MigrationTest | undefined> => {
      const events = await watch.fresh();
      const verdicts = events.map(judgeEvent);
      if (verdicts.includes('failure')) return { outcome: 'failed', events };
      return verdicts.includes('success') ? { outcome: 'passed', events } : undefined;
    },
    { ...door, timeoutMs },
  );
  await awaitAvailable(door, { id, timeoutMs });
  return told ?? { outcome: 'unknown', events: await watch.fresh() };
}

/**
 * Starts the online migration and waits until the group is `migrating`.
 *
 * @throws migration-start-failed, wait-timeout, replication-group-not-found, replication-group-not-available,
 * replication-group-migrating, replication-group-unsuitable, and those of every AWS call
 */
export async function startMigration(
  door: ElastiCacheDoor,
  { id, source, timeoutMs }: { id: string; source: Address; timeoutMs: number },
): Promise<MigrationWatch> {
  const watch = await watchEvents(door, await eventSource(door, id));
  const answer = await callAws(elasticacheCall(door, 'StartMigration', id), () =>
    door.elasticache.send(
      new StartMigrationCommand({ ReplicationGroupId: id, CustomerNodeEndpointList: endpointList(source) }),
      { abortSignal: door.signal },
    ),
  );
  door.log(`StartMigration accepted: ${id} is ${answer.ReplicationGroup?.Status ?? 'unknown'}.`);
  return await followStart(door, { id, timeoutMs, watch });
}

/**
 * Waits until a migration that was started earlier, such as by a cancelled run, is `migrating`.
 *
 * @throws migration-start-failed, wait-timeout, and those of every AWS call
 */
export async function watchMigrationStart(
  door: ElastiCacheDoor,
  { id, timeoutMs }: { id: string; timeoutMs: number },
): Promise<MigrationWatch> {
  return await followStart(door, {
    id,
    timeoutMs,
    watch: await watchEvents(door, await eventSource(door, id)),
  });
}

/**
 * Makes sure for a while that the group stays `migrating`: a node that cannot load what the source sends goes back
 * to `available` only after several attempts.
 *
 * @throws migration-start-failed, and those of every AWS call
 */
export async function watchMigrationHold(
  door: ElastiCacheDoor,
  { id, holdMs }: { id: string; holdMs: number },
): Promise<void> {
  const watch = await watchEvents(door, await eventSource(door, id));
  await pollUntil(
    async () => {
      const status = await readStatus(door, id);
      if (status === 'available' || DEAD_END_STATUSES.has(status))
        throw await startFailed(door, { id, status, watch });
      return undefined;
    },
    { ...door, timeoutMs: holdMs },
  );
}

/**
 * Opens the eyes for the events of a completion, before it is asked for.
 *
 * @throws replication-group-not-found, and those of every AWS call; nothing has been asked for then
 */
export async function watchCompletion(door: ElastiCacheDoor, id: string): Promise<EventWatch> {
  return await watchEvents(door, await eventSource(door, id));
}

/**
 * Asks ElastiCache to end the online migration.
 *
 * Without `force` ElastiCache checks that the data is in sync, stops the replication and promotes; a group that is
 * not in sync stays `migrating` and says so in an event. `force` is for giving a migration up, never for finishing.
 *
 * @throws replication-group-not-migrating, replication-group-not-found, replication-group-not-available, and those
 * of every AWS call. Only aws-access-denied says for certain that nothing was begun: behind any other a repeated call
 * may hide a first one whose answer was lost.
 */
export async function requestCompletion(
  door: ElastiCacheDoor,
  { id, force }: { id: string; force: boolean },
): Promise<void> {
  await callAws(elasticacheCall(door, 'CompleteMigration', id), () =>
    door.elasticache.send(new CompleteMigrationCommand({ ReplicationGroupId: id, Force: force }), {
      abortSignal: door.signal,
    }),
  );
}

/**
 * Waits until a completion is done and the group `available`.
 *
 * @throws migration-promotion-failed, replication-group-not-available, wait-timeout, and those of every AWS call
 */
export async function awaitCompletion(
  door: ElastiCacheDoor,
  { id, watch, timeoutMs }: { id: string; watch: EventWatch; timeoutMs: number },
): Promise<MigrationWatch> {
  return await awaitAvailable(door, { id, timeoutMs, watch });
}

/**
 * Waits until the group is `available`, for whatever it is busy with now.
 *
 * @throws migration-promotion-failed (it stays `migrating` and an event says that the promotion failed),
 * replication-group-not-available (it is being deleted), wait-timeout, and those of every AWS call
 */
export async function waitForAvailable(
  door: ElastiCacheDoor,
  { id, timeoutMs }: { id: string; timeoutMs: number },
): Promise<MigrationWatch> {
  return await awaitAvailable(door, {
    id,
    timeoutMs,
    watch: await watchEvents(door, await eventSource(door, id)),
  });
}

async function followStart(
  door: ElastiCacheDoor,
  { id, timeoutMs, watch }: { id: string; timeoutMs: number; watch: EventWatch },
): Promise<MigrationWatch> {
  let last = '';
  let availableLooks = 0;
  const started = await pollUntil(
    async () => {
      const status = await readStatus(door, id);
      if (status !== last && last !== '') door.log(`${id}: ${last} -> ${status}.`);
      const hasLeftAvailable = last !== '' && last !== 'available';
      last = status;
      if (status === 'migrating') return status;
      availableLooks += status === 'available' ? 1 : 0;
      // `available` after the start is the failure of the start; before it is only an old picture.
      const isOver = status === 'available' && (hasLeftAvailable || availableLooks >= STALE_LOOKS_MAX);
      if (isOver || DEAD_END_STATUSES.has(status)) throw await startFailed(door, { id, status, watch });
      return undefined;
    },
    { ...door, timeoutMs },
  );
  if (started === undefined) {
    throw new MigrationError(
      'wait-timeout',
      `Replication group ${id} is ${last}, not migrating, ${formatDuration(timeoutMs)} after StartMigration.`,
    );
  }
  return { status: started, events: await watch.fresh() };
}

async function startFailed(
  door: ElastiCacheDoor,
  { id, status, watch }: { id: string; status: string; watch: EventWatch },
): Promise<MigrationError> {
  // The event comes a moment after the status.
  const events = await pollUntil(
    async () => {
      const fresh = await watch.fresh();
      return fresh.length > 0 ? fresh : undefined;
    },
    { ...door, timeoutMs: EVENT_DELAY_MAX_MS },
  );
  return new MigrationError(
    'migration-start-failed',
    `Replication group ${id} is ${status} instead of migrating. ${formatEvents(events ?? [])}`,
  );
}

const EVENT_DELAY_MAX_MS = 10_000;

async function awaitAvailable(
  door: ElastiCacheDoor,
  { id, timeoutMs, watch }: { id: string; timeoutMs: number; watch?: EventWatch },
): Promise<MigrationWatch> {
  let last = 'unknown';
  const reached = await pollUntil(
    async () => {
      last = await readStatus(door, id);
      if (last === 'available') return last;
      if (DEAD_END_STATUSES.has(last)) {
        throw new MigrationError('replication-group-not-available', `Replication group ${id} is ${last}.`, {
          retryable: false,
        });
      }
      if (last === 'migrating' && watch !== undefined) await refuseFailedPromotion(id, watch);
      return undefined;
    },
    { ...door, timeoutMs },
  );
  if (reached === undefined) {
    throw new MigrationError(
      'wait-timeout',
      `Replication group ${id} is ${last}, not available, after ${formatDuration(timeoutMs)}.`,
    );
  }
  return { status: reached, events: (await watch?.fresh()) ?? [] };
}

async function refuseFailedPromotion(id: string, watch: EventWatch): Promise<void> {
  const failures = (await watch.fresh()).filter((event) => judgeEvent(event) === 'failure');
  if (failures.length === 0) return;
  throw new MigrationError(
    'migration-promotion-failed',
    `Replication group ${id} is still migrating. ${formatEvents(failures)}`,
  );
}

async function eventSource(door: ElastiCacheDoor, id: string): Promise<EventSource> {
  const group = await readGroup(door, id);
  return { id: group.ReplicationGroupId ?? id, memberClusters: group.MemberClusters ?? [] };
}

/** Exactly one element, whatever the cluster mode. Source: ElastiCache guide, starting a migration. */
function endpointList({ host, port }: Address): { Address: string; Port: number }[] {
  return [{ Address: host, Port: port }];
}
