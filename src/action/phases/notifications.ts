import type { MigrationRecord } from '../../contract/host-commands.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import {
  areNotificationsOn,
  planNotifications,
  restoreNotifications,
  setNotifications,
} from '../aws/notifications.ts';
import type { Target } from '../aws/target.ts';
import type { Host } from '../host/host.ts';
import type { CommonInputs } from '../inputs.ts';
import type { World } from './phase.ts';

/** Switches on what a way back needs; what the parameter was is on the host before. Throws as {@link setNotifications}. */
export async function switchOnNotifications(
  { world, target }: { readonly world: World; readonly target: Target },
  { notifications }: MigrationRecord,
): Promise<void> {
  const plan = planNotifications(target);
  if (plan === undefined || notifications === undefined) return;
  const { parameterGroup, set: value } = plan;
  await setNotifications(world.elasticache, { target, parameterGroup, value });
}

/**
 * Refuses a cutover that is to keep a way back of which the target would not tell.
 *
 * @throws notifications-missing
 */
export function requireNotifications(target: Target): void {
  const { notifyKeyspaceEvents: flags, parameterGroup } = target;
  // Where they could not be read, the sync of the way back finds out.
  if (flags === undefined || areNotificationsOn(flags)) return;
  throw new MigrationError(
    'notifications-missing',
    `The target does not send the keyspace notifications that a way back needs: they are "${flags}" in the parameter group ${parameterGroup}.`,
    { remedy: 'Run start-migration with `reverse: true` again: it switches them on, and adopts the sync.' },
  );
}

type Restoring = {
  readonly inputs: CommonInputs;
  readonly world: World;
  readonly host: Host;
  readonly migration: MigrationRecord | undefined;
  readonly warn: (text: string) => void;
};

/** Sets the parameter back when no way back needs it any more. What goes wrong is only told. */
export async function switchBackNotifications(restoring: Restoring): Promise<void> {
  const { inputs, world, warn } = restoring;
  try {
    const changed = await findChanged(restoring);
    if (changed === undefined) return;
    const id = inputs.replicationGroupId;
    const left = await restoreNotifications(world.elasticache, { id, changed });
    if (left !== undefined) warn(left);
  } catch (error) {
    world.signal.throwIfAborted();
    warn(`The keyspace notifications of the target are not set back: ${errorText(error)}`);
  }
}

/** A way back goes by the record of the migration that began it. */
async function findChanged({ world, host, migration }: Restoring): Promise<MigrationRecord['notifications']> {
  if (migration?.wayBackOf === undefined) return migration?.notifications;
  const identity = { migrationId: migration.wayBackOf, repository: world.repository };
  return (await host.call({ command: 'status', ...identity })).migration?.notifications;
}
