import type { Route } from '../contract/finding.ts';
import { SOURCE_BYTES_PER_SECOND_LEAST, TARGET_COMMANDS_PER_SECOND_LEAST } from '../contract/jobs.ts';
import { contradictory, optional, type ReadInput, readBytes, readCount, readFlag } from './input-readers.ts';

/** What a sync may do to the source, and what it keeps to. */
export type SyncInputs = {
  readonly tuneSource: boolean;
  readonly sourceBytesPerSecondMax?: number;
  readonly targetCommandsPerSecondMax?: number;
};

const TARGET_COMMANDS_PER_SECOND_MOST = 1_000_000_000;

/** Reads `tune-source`, `max-source-load` and `max-target-ops`. @throws input-missing, input-malformed */
export function readSyncInputs(read: ReadInput): SyncInputs {
  const isLimited = read('max-target-ops') !== '';
  const commands = { least: TARGET_COMMANDS_PER_SECOND_LEAST, most: TARGET_COMMANDS_PER_SECOND_MOST };
  return {
    tuneSource: readFlag(read, 'tune-source'),
    ...optional(
      'sourceBytesPerSecondMax',
      readBytes(read, 'max-source-load', { least: SOURCE_BYTES_PER_SECOND_LEAST }),
    ),
    ...optional(
      'targetCommandsPerSecondMax',
      isLimited ? readCount(read, 'max-target-ops', commands) : undefined,
    ),
  };
}

/** Refuses what has no effect on the route. @throws input-contradictory */
export function refuseSyncInputs(sync: SyncInputs, route: Route): void {
  for (const name of unusedSyncInputs(sync, route)) {
    throw contradictory(`\`${name}\` is given, but \`route\` is "${route}".`);
  }
}

/** The names of those that are given and have no effect: `native` has no sync. */
export function unusedSyncInputs(sync: SyncInputs, route: Route): string[] {
  if (route !== 'native') return [];
  return [
    ...(sync.tuneSource ? ['tune-source'] : []),
    ...(sync.sourceBytesPerSecondMax === undefined ? [] : ['max-source-load']),
    ...(sync.targetCommandsPerSecondMax === undefined ? [] : ['max-target-ops']),
  ];
}
