import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { HostRuntime } from './commands.ts';

/** The ids of the migrations on this host. */
export function listMigrations({ stateDirectory }: HostRuntime): string[] {
  try {
    return readdirSync(join(stateDirectory, 'migrations'));
  } catch {
    // Before the first migration there is no such folder.
    return [];
  }
}

/** The folder of a migration. */
export function migrationDirectory({ stateDirectory }: HostRuntime, migrationId: string): string {
  return join(stateDirectory, 'migrations', migrationId);
}
