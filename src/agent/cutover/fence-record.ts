import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { MigrationError } from '../../core/errors.ts';
import { readJsonIfThere, removeIfThere, writeFileAtomically } from '../job/files.ts';

const found = { sourceAddress: z.string(), recordedAtMs: z.number(), runId: z.string() };
const userSchema = z.strictObject({
  name: z.string(),
  commands: z.string(),
  selectors: z.array(z.string()),
});
const recordSchema = z.discriminatedUnion('method', [
  z.strictObject({
    method: z.literal('replicas'),
    ...found,
    paused: z.boolean(),
    settings: z.array(z.strictObject({ name: z.string(), value: z.string() })),
  }),
  z.strictObject({
    method: z.literal('acl'),
    ...found,
    users: z.array(userSchema),
    /** The one user that may write behind the fence. */
    writer: z.strictObject({ name: z.string(), passwordSha256: z.string() }).optional(),
    /** What the users have behind the fence; not there until it is set. */
    fenced: z.array(userSchema).optional(),
  }),
  z.strictObject({ method: z.literal('pause'), ...found, untilMs: z.number() }),
]);
/** What a fence changed, as it was found: one file in the folder of the migration. */
export type FenceRecord = z.infer<typeof recordSchema>;

/** The fence that is recorded and has not been lifted. @throws contract-mismatch */
export function readFenceRecord(directory: string): FenceRecord | undefined {
  const content = readJsonIfThere(recordPath(directory));
  if (content === undefined) return undefined;
  const record = recordSchema.safeParse(content);
  if (record.success) return record.data;
  throw new MigrationError('contract-mismatch', `${recordPath(directory)} is not the record of a fence.`);
}

/** Records a fence, before it is set. @throws host-state-unwritable */
export function writeFenceRecord(directory: string, record: FenceRecord): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileAtomically(recordPath(directory), `${JSON.stringify(record)}\n`);
}

/** Forgets a fence that was lifted. */
export function removeFenceRecord(directory: string): void {
  removeIfThere(recordPath(directory));
}

function recordPath(directory: string): string {
  return join(directory, 'fence.json');
}
