import { rmSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { verificationBaseSchema } from '../../contract/reports.ts';
import { hashFieldTtlSchema, skippedSchema } from '../../contract/skipped.ts';
import { MigrationError } from '../../core/errors.ts';
import { readJsonIfThere, writeFileAtomically } from '../job/files.ts';

/*
 * How a sync and a verification, two processes, agree on which keys have changed since a full verification began. All
 * of it lies in the folder `touched` of the migration:
 *
 *   wanted.json        by the verification: the generation that it wants the sync to begin
 *   generation.json    by the sync: the generation under way and where in the stream it began, or why there is none
 *   keys-<id>-<n>      by the sync: the keys of that generation, see key-records.ts; a file for each process of the sync
 *   tracked            by the sync: the offset up to which they are complete, 8 bytes
 *   base.json          by the verification: the full one that passed, and the generation that it began
 *
 * 1. A full verification takes base.json away, writes wanted.json and waits until generation.json answers. A sync
 *    answers only while it applies the stream, so a verification that began during a copy has no generation. It then
 *    waits until the target has committed the offset at which the generation began, and only then begins to compare:
 *    whatever changes a key behind its comparison stands in the generation. When it has passed without a difference,
 *    and its generation is still under way, it writes base.json.
 * 2. The sync writes the keys of a command, and `tracked`, before it sends the checkpoint that covers the command.
 *    So whoever has seen the target commit an offset finds all keys up to it in the files. After a kill -9 the sync goes
 *    on from the checkpoint of the target: what it read beyond is read, and tracked, again. The last record of a file
 *    may be cut off then; it lies beyond the checkpoint.
 * 3. Whatever changes keys that have no name in the stream (FLUSHALL, FLUSHDB, SWAPDB, a command of which the keys are
 *    not known, a copy over the target), and whatever may have taken records away (a file that could not be written, a
 *    restart of the host, a sync elsewhere that went on meanwhile, more keys than the bounds allow), ends the
 *    generation: generation.json says so before the checkpoint of the command is sent.
 * 4. A generation that follows another begins where that one ends, whose keys stay: when these were compared without a
 *    difference, what is not in the new one is equal, and base.json goes on with it.
 * 5. A delta verification notes where the source is, waits until the target has committed that, reads generation.json
 *    and then the keys; at the end it looks whether the generation is still the same.
 */

/** The folder in that of the migration. */
export const TOUCHED_FOLDER = 'touched';

/** How much a generation may hold before it counts as lost: by then a full verification is as good. */
export const TOUCHED_BYTES_MAX = 256 * 1024 * 1024;
/** The same in records. */
export const TOUCHED_KEYS_MAX = 2 ** 24;

const generationIdSchema = z.string().regex(/^[0-9a-f]{16}$/);
const wantedSchema = z.strictObject({
  generation: generationIdSchema,
  /** The generation that it is to follow without a gap. */
  follows: generationIdSchema.optional(),
});
const generationSchema = z.union([
  z.strictObject({
    generation: generationIdSchema,
    /** Where the stream stood when it began. */
    replid: z.string(),
    offset: z.number(),
    /** Of the host: what was not written through may be gone after a restart. */
    bootId: z.string().optional(),
    /** The generation whose keys are complete up to where this one began, and stay until the next one begins. */
    follows: generationIdSchema.optional(),
  }),
  z.strictObject({ lost: z.string() }),
]);
/** What a sync says of its tracking: the generation under way, or why there is none. */
export type Generation = z.infer<typeof generationSchema>;
/** A generation under way. */
export type LiveGeneration = Extract<Generation, { generation: string }>;

const baseSchema = z.strictObject({
  generation: generationIdSchema,
  migrationId: z.string(),
  sourceAddress: z.string(),
  targetAddress: z.string(),
  verification: verificationBaseSchema,
  skipped: z.array(skippedSchema),
  ttlToleranceMs: z.number(),
  hashFieldTtl: hashFieldTtlSchema,
});
/** A full verification that found no difference, with the generation that tracks what was touched since it began. */
export type Base = z.infer<typeof baseSchema>;

/** The files of one migration. */
export type TouchedFiles = ReturnType<typeof touchedFiles>;

/** Gives access to the files by the folder of the migration; makes nothing before something is written. */
export function touchedFiles(directory: string) {
  const folder = path.join(directory, TOUCHED_FOLDER);
  const wanted = path.join(folder, 'wanted.json');
  const generation = path.join(folder, 'generation.json');
  const base = path.join(folder, 'base.json');
  return {
    folder,
    wantedPath: wanted,
    trackedPath: path.join(folder, 'tracked'),
    keysPath: (id: string, segment: number) => path.join(folder, `${keysPrefix(id)}${segment}`),
    want: (content: z.infer<typeof wantedSchema>) =>
      writeFileAtomically(wanted, JSON.stringify(content), { isSynced: false }),
    readWanted: () => read(wantedSchema, wanted),
    unwant: () => rmSync(wanted, { force: true }),
    /** The verification waits for it, and a sync that goes on after a crash relies on it. */
    writeGeneration: (content: Generation) => writeFileAtomically(generation, JSON.stringify(content)),
    readGeneration: () => read(generationSchema, generation),
    removeGeneration: () => rmSync(generation, { force: true }),
    writeBase: (content: Base) => writeFileAtomically(base, JSON.stringify(content)),
    readBase: () => read(baseSchema, base),
    removeBase: () => rmSync(base, { force: true }),
  };
}

/** What the names of a generation's files of keys begin with. */
export function keysPrefix(id: string): string {
  return `keys-${id}-`;
}

/** Content of another version, or none at all, is as good as none. */
function read<Schema extends z.ZodType>(schema: Schema, file: string): z.infer<Schema> | undefined {
  try {
    const parsed = schema.safeParse(readJsonIfThere(file));
    return parsed.success ? parsed.data : undefined;
  } catch (error) {
    if (error instanceof MigrationError && error.code === 'contract-mismatch') return undefined;
    throw error;
  }
}
