import type { SourceTuning } from '../../contract/host-commands.ts';

/** Says what is left of a tuning that nobody restores by himself, and what restores it. */
export function describeTuning({ sourceAddress, settings }: SourceTuning): string {
  const changes = settings.map(({ name, before, set }) => `${name} "${set}" instead of "${before}"`);
  return `The source ${sourceAddress} still has settings of a sync that died: ${changes.join(', ')}. start-migration or rollback restores them, after completion cleanup.`;
}
