import { z } from 'zod';
import { endpointSchema } from './endpoint.ts';
import { routeSchema } from './finding.ts';
import { errorRecordSchema, jobStateSchema } from './job-state.ts';
import { jobKindSchema, jobRequestSchema, syncRequestSchema } from './jobs.ts';

/** Ids of migrations: they become folder and unit names. */
export const migrationIdSchema = z.string().regex(/^[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?$/);

/** A parameter of ElastiCache that was set for a migration, and what it was. */
export const changedParameterSchema = z.strictObject({ parameterGroup: z.string(), before: z.string() });
/** See {@link changedParameterSchema}. */
export type ChangedParameter = z.infer<typeof changedParameterSchema>;

/** What the id of a way back ends in. */
export const REVERSE_SUFFIX = '-reverse';

/** The id of the way back of a migration: on the host it is a migration of its own. */
export function reverseIdOf(migrationId: string): string {
  return `${migrationId}${REVERSE_SUFFIX}`;
}

/** What a migration is, as the host remembers it from its first job to its cleanup. */
export const migrationRecordSchema = z.strictObject({
  migrationId: migrationIdSchema,
  /** The repository that runs it: another one with the same id is another migration. */
  repository: z.string(),
  route: routeSchema,
  source: endpointSchema,
  target: endpointSchema,
  createdAtMs: z.number(),
  /** Set when the target has taken over. */
  completedAtMs: z.number().optional(),
  /** Of a way back: the migration whose cutover began it; its source is the target here, and still fenced. */
  wayBackOf: migrationIdSchema.optional(),
  /** The keyspace notifications of the target, where they were switched on for a way back. */
  notifications: changedParameterSchema.optional(),
});
/** See {@link migrationRecordSchema}. */
export type MigrationRecord = z.infer<typeof migrationRecordSchema>;

/** What a sync has changed at its source and not restored yet. */
export const sourceTuningSchema = z.strictObject({
  sourceAddress: z.string(),
  settings: z.array(z.strictObject({ name: z.string(), before: z.string(), set: z.string() })),
});
/** See {@link sourceTuningSchema}. */
export type SourceTuning = z.infer<typeof sourceTuningSchema>;

/** The most bytes of a report in one reply: as base64 it must fit the 24,000 characters of an SSM output. */
export const REPORT_PAGE_BYTES_MAX = 15_000;

/** How the way back is synced. */
export const reverseSyncSchema = syncRequestSchema.pick({
  hashFieldTtl: true,
  keyDisplay: true,
  sourceBytesPerSecondMax: true,
  targetCommandsPerSecondMax: true,
});
/** See {@link reverseSyncSchema}. */
export type ReverseSync = z.infer<typeof reverseSyncSchema>;

const ofMigration = { migrationId: migrationIdSchema, repository: z.string() };

/** What the runner asks of the host: each a short call, answered at once. */
export const hostCommandSchema = z.discriminatedUnion('command', [
  z.strictObject({ command: z.literal('hello') }),
  /** Asks for the key by which secrets are sealed for the migration; the first one makes it. */
  z.strictObject({ command: z.literal('sealing-key'), ...ofMigration }),
  /** Makes the migration, or adopts it; refused when another one holds the target on this host. */
  z.strictObject({
    command: z.literal('open'),
    ...ofMigration,
    route: routeSchema,
    source: endpointSchema,
    target: endpointSchema,
    /** Recorded before it is changed; what is recorded already stays. */
    notifications: changedParameterSchema.optional(),
  }),
  /** Starts a job, or adopts the running one of the same kind. */
  z.strictObject({ command: z.literal('start'), ...ofMigration, job: jobRequestSchema }),
  z.strictObject({ command: z.literal('status'), ...ofMigration }),
  /** Asks a job to end at its next safe point; answers at once. */
  z.strictObject({ command: z.literal('stop'), ...ofMigration, kind: jobKindSchema }),
  z.strictObject({
    command: z.literal('report'),
    ...ofMigration,
    kind: jobKindSchema,
    /** Refused when the job has another id: its report would be another one. */
    jobId: z.string(),
    offset: z.int().min(0),
  }),
  /**
   * Decides on the native route, after the proof, that the target takes over: the fence stays while the action, which asks
   * for the promotion, says this again now and then, and for some minutes after its last word.
   */
  z.strictObject({
    command: z.literal('hand-over'),
    ...ofMigration,
    /** ElastiCache has accepted the promotion. */
    isAccepted: z.boolean().optional(),
  }),
  /** Marks the migration complete: the target has taken over. With `reverse` it also begins the way back, or adopts it. */
  z.strictObject({ command: z.literal('complete'), ...ofMigration, reverse: reverseSyncSchema.optional() }),
  /** Forgets a migration that was rolled back; refused while a job runs. */
  z.strictObject({ command: z.literal('forget'), ...ofMigration }),
  /** Removes the state of the migration, and with the last one the agent itself; refused while a job runs. */
  z.strictObject({ command: z.literal('remove'), ...ofMigration }),
]);
/** See {@link hostCommandSchema}. */
export type HostCommand = z.infer<typeof hostCommandSchema>;

/** What the host answers, by the command that was asked. */
export const hostReplySchemas = {
  hello: z.strictObject({
    contractVersion: z.int(),
    nodeVersion: z.string(),
    hostname: z.string(),
    /** How long work is kept alive: a systemd unit, or a detached process where there is no systemd. */
    supervisor: z.enum(['systemd', 'process']),
    freeDiskBytes: z.number(),
    freeMemoryBytes: z.number(),
  }),
  'sealing-key': z.strictObject({ publicKeyBase64: z.string() }),
  open: z.strictObject({ migration: migrationRecordSchema, adopted: z.boolean() }),
  start: z.strictObject({ state: jobStateSchema, adopted: z.boolean() }),
  status: z.strictObject({
    migration: migrationRecordSchema.optional(),
    jobs: z.array(jobStateSchema),
    /** How far a cutover is that was proved, whoever goes on with it; absent before its proof, and once it is given up. */
    cutover: z.enum(['proved', 'handing-over', 'completed', 'doubted']).optional(),
    tuning: sourceTuningSchema.optional(),
  }),
  stop: z.strictObject({ state: jobStateSchema.optional() }),
  report: z.strictObject({
    /** Size and checksum of the whole gzipped report. */
    totalBytes: z.int(),
    sha256: z.string(),
    /** The slice of the gzipped report from `offset` on. */
    dataBase64: z.string(),
  }),
  /** False when the fence is being lifted, or nothing is proved. */
  'hand-over': z.strictObject({ decided: z.boolean() }),
  complete: z.strictObject({ migration: migrationRecordSchema, reverse: migrationRecordSchema.optional() }),
  forget: z.strictObject({ forgotten: z.boolean() }),
  remove: z.strictObject({
    removed: z.array(z.string()),
    /** Why the source of a completed migration still has settings of its sync, with what they were. */
    notRestored: z.string().optional(),
  }),
} as const;
/** The reply to one command. */
export type HostReplyOf<Name extends HostCommand['command']> = z.infer<(typeof hostReplySchemas)[Name]>;

/** What travels to the host: the command in its envelope. */
export const hostRequestSchema = z.strictObject({ contractVersion: z.int(), command: z.unknown() });

/** What travels back: one line of JSON on stdout. */
export const hostResponseSchema = z.discriminatedUnion('ok', [
  z.strictObject({ ok: z.literal(true), contractVersion: z.int(), reply: z.unknown() }),
  z.strictObject({ ok: z.literal(false), contractVersion: z.int(), error: errorRecordSchema }),
]);
