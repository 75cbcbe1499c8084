import { dirname, join } from 'node:path';
import { type MigrationRecord, type ReverseSync, reverseIdOf } from '../../contract/host-commands.ts';
import { MigrationError } from '../../core/errors.ts';
import { wayBackEndpoints } from '../cutover/way-back.ts';
import { type MigrationStore, openMigrationStore } from '../job/store.ts';
import type { HostRuntime } from './commands.ts';
import { startJob } from './start-job.ts';

/** The folder of the way back of a migration, whether there is one or not. */
export function wayBackStore({ directory }: MigrationStore, migrationId: string): MigrationStore {
  return openMigrationStore(join(dirname(directory), reverseIdOf(migrationId)));
}

/**
 * Begins the way back of a completed migration, or adopts it: makes its record and starts its sync.
 *
 * @throws way-back-missing, job-dead
 */
export async function beginWayBack(
  store: MigrationStore,
  { migration, sync }: { readonly migration: MigrationRecord; readonly sync: ReverseSync },
  runtime: HostRuntime,
): Promise<MigrationRecord> {
  const { migrationId, repository } = migration;
  const reverse = wayBackStore(store, migrationId);
  const record = reverse.readMigration() ?? {
    migrationId: reverseIdOf(migrationId),
    repository,
    route: 'scan' as const,
    ...wayBackEndpoints(store.directory, migration),
    createdAtMs: runtime.clock.nowMs(),
    wayBackOf: migrationId,
  };
  if (record.wayBackOf !== migrationId) {
    throw new MigrationError(
      'migration-conflict',
      `${record.migrationId} is another migration on this host.`,
    );
  }
  reverse.writeMigration(record);
  if (record.completedAtMs !== undefined) return record;
  const { source, target } = record;
  const job = { kind: 'sync', source, target, route: 'scan', flushTarget: false, ...sync } as const;
  await startJob({ command: 'start', migrationId: record.migrationId, repository, job }, reverse, runtime);
  return record;
}

/** Refuses to remove what a way back needs that is not over: its fence is recorded there. @throws migration-conflict */
export function refuseWhileWayBackOpen(store: MigrationStore, migrationId: string): void {
  const reverse = wayBackStore(store, migrationId).readMigration();
  if (reverse === undefined || reverse.completedAtMs !== undefined) return;
  throw new MigrationError('migration-conflict', 'The way back of this migration is still kept.', {
    remedy:
      'Go back with verify and complete-migration and `direction: reverse`, or give the way back up with rollback and `direction: reverse`; then run `cleanup`.',
  });
}
