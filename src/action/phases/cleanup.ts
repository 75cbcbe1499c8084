// Reads:   the state of the migration on the host.
// Changes: restores settings of the source that a sync has left; removes that state, and the agent when no other migration is left on the host; never data.
// Repeat:  finds nothing left to remove.
// Undo:    nothing to undo: the next phase ships the agent again.
import type { RunPhase } from './phase.ts';

/** Removes what the migration left on the host. */
export const cleanup: RunPhase<'cleanup'> = async (inputs, world, found) => {
  const host = await world.openHost(inputs);
  const { migrationId } = inputs;
  const { removed, notRestored } = await host.call({
    command: 'remove',
    migrationId,
    repository: world.repository,
  });
  found.part({ removed });
  if (notRestored !== undefined) found.warn(notRestored);
  found.outputs({ 'migration-status': 'none' });
};
