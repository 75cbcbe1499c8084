import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { endpointSchema, formatAddress } from '../../contract/endpoint.ts';
import type { SourceTuning } from '../../contract/host-commands.ts';
import { MigrationError } from '../../core/errors.ts';
import { readJsonIfThere, writeFileDurably } from '../job/files.ts';
import { TUNABLE_SETTINGS } from './settings.ts';

const settingSchema = z.strictObject({
  name: z.enum(TUNABLE_SETTINGS),
  before: z.string(),
  set: z.string(),
  /** Until when it holds: the end of the copy, or of the sync. */
  span: z.enum(['copy', 'sync']),
});
const recordSchema = z.strictObject({
  /** How to reach the source, also once the migration itself is forgotten. */
  source: endpointSchema,
  settings: z.array(settingSchema),
});
/** A setting that was changed, and what it was before. */
export type RecordedSetting = z.infer<typeof settingSchema>;
/** What was changed at which source. */
export type TuningRecord = z.infer<typeof recordSchema>;

/** Reads what is changed at the source; undefined when nothing is. @throws contract-mismatch */
export function readTuningRecord(directory: string): TuningRecord | undefined {
  const found = readJsonIfThere(recordPath(directory));
  if (found === undefined) return undefined;
  const record = recordSchema.safeParse(found);
  if (record.success) return record.data;
  throw new MigrationError('contract-mismatch', `${recordPath(directory)} is no record of changed settings.`);
}

/** Keeps what is changed, so that a crash of anything does not lose it; a record of nothing is removed. */
export function writeTuningRecord(directory: string, record: TuningRecord): void {
  if (record.settings.length > 0) writeFileDurably(recordPath(directory), `${JSON.stringify(record)}\n`);
  else rmSync(recordPath(directory), { force: true });
}

/** What `status` tells of it. */
export function describeTuning(directory: string): SourceTuning | undefined {
  const record = readTuningRecord(directory);
  if (record === undefined) return undefined;
  return {
    sourceAddress: formatAddress(record.source),
    settings: record.settings.map(({ name, before, set }) => ({ name, before, set })),
  };
}

function recordPath(directory: string): string {
  return join(directory, 'tuning.json');
}
