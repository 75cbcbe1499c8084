import { formatAddress } from '../../contract/endpoint.ts';
import type { HostCommand, HostReplyOf, MigrationRecord } from '../../contract/host-commands.ts';
import { MigrationError } from '../../core/errors.ts';
import { type MigrationStore, openMigrationStore } from '../job/store.ts';
import type { HostRuntime } from './commands.ts';
import { listMigrations, migrationDirectory } from './migrations.ts';

/**
 * Makes the migration, or adopts it.
 *
 * @throws migration-completed, route-changed, migration-conflict
 */
export function openMigration(
  command: Extract<HostCommand, { command: 'open' }>,
  store: MigrationStore,
  runtime: HostRuntime,
): HostReplyOf<'open'> {
  const { migrationId, repository, route, source, target } = command;
  const existing = store.readMigration();
  if (existing !== undefined) {
    refuseOtherMigration(existing, command);
    const recorded = { ...existing, ...optionalOf(existing.notifications ?? command.notifications) };
    if (existing.notifications !== recorded.notifications) store.writeMigration(recorded);
    return { migration: recorded, adopted: true };
  }
  const holder = otherMigrationOnto(target, migrationId, runtime);
  if (holder !== undefined) {
    throw new MigrationError(
      'migration-conflict',
      `The migration ${holder.migrationId} of ${holder.repository} already holds the target ${formatAddress(target)} on this host.`,
    );
  }
  const migration: MigrationRecord = {
    migrationId,
    repository,
    route,
    source,
    target,
    createdAtMs: runtime.clock.nowMs(),
    ...optionalOf(command.notifications),
  };
  store.writeMigration(migration);
  return { migration, adopted: false };
}

function optionalOf(notifications: MigrationRecord['notifications']): Pick<MigrationRecord, 'notifications'> {
  return notifications === undefined ? {} : { notifications };
}

/** Adopting is for the same migration only: the same way between the same servers, and not over yet. */
function refuseOtherMigration(
  existing: MigrationRecord,
  { migrationId, route, source, target }: Extract<HostCommand, { command: 'open' }>,
): void {
  if (existing.completedAtMs !== undefined) {
    throw new MigrationError(
      'migration-completed',
      `The migration ${migrationId} was completed at ${new Date(existing.completedAtMs).toISOString()}.`,
    );
  }
  if (existing.route !== route) {
    throw new MigrationError(
      'route-changed',
      `The migration ${migrationId} was started on the route ${existing.route}, not ${route}.`,
    );
  }
  const was = `${formatAddress(existing.source)} → ${formatAddress(existing.target)}`;
  const is = `${formatAddress(source)} → ${formatAddress(target)}`;
  if (was !== is) {
    throw new MigrationError(
      'migration-conflict',
      `The migration ${migrationId} was started as ${was}, not ${is}.`,
      {
        remedy:
          'Give the endpoints as they were, use another `migration-id`, or end the migration with `rollback`.',
      },
    );
  }
}

function otherMigrationOnto(
  target: MigrationRecord['target'],
  migrationId: string,
  runtime: HostRuntime,
): MigrationRecord | undefined {
  return listMigrations(runtime)
    .map((id) => openMigrationStore(migrationDirectory(runtime, id)).readMigration())
    .find(
      (other) =>
        other !== undefined &&
        other.migrationId !== migrationId &&
        other.completedAtMs === undefined &&
        formatAddress(other.target) === formatAddress(target),
    );
}
