import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { z } from 'zod';
import {
  type MigrationRecord,
  migrationIdSchema,
  migrationRecordSchema,
} from '../../contract/host-commands.ts';
import { type JobState, jobStateSchema } from '../../contract/job-state.ts';
import { type JobKind, jobKindSchema, jobRequestSchema } from '../../contract/jobs.ts';
import { type JobReport, jobReportSchema } from '../../contract/reports.ts';
import { MigrationError, toErrorRecord } from '../../core/errors.ts';
import { TOUCHED_FOLDER } from '../touched/generation.ts';
import {
  readFileIfThere,
  readJsonIfThere,
  removeIfThere,
  writeFileAtomically,
  writeFileInBackground,
} from './files.ts';
import { fateOf, processIdentitySchema } from './process-identity.ts';

/** What the starter hands to the process of a job. */
export const jobFileSchema = z.strictObject({
  jobId: z.string(),
  migrationId: migrationIdSchema,
  repository: z.string(),
  hostId: z.string(),
  startedAtMs: z.number(),
  request: jobRequestSchema,
});
/** See {@link jobFileSchema}. */
export type JobFile = z.infer<typeof jobFileSchema>;

const processFileSchema = z.strictObject({ jobId: z.string(), identity: processIdentitySchema });

/** Jobs with a history of their own, in the order in which a migration runs them. */
export const JOB_KINDS: readonly JobKind[] = jobKindSchema.options;

/**
 * The folder of one migration: its record, and one folder per kind of job with the last job of that kind.
 *
 * ```
 * migration.json          the record, from `open` to `forget`
 * touched/                which keys the sync has changed, see touched/generation.ts
 * jobs/<kind>/job.json    what was asked          (starter)
 *             process.json which process does it  (job)
 *             state.json  how far it is           (job)
 *             report.gz   what came of it         (job)
 *             log.txt     what happened           (job)
 * ```
 */
export type MigrationStore = ReturnType<typeof openMigrationStore>;

/** Gives access to the folder of a migration; makes nothing before something is written. */
export function openMigrationStore(directory: string) {
  const path = (kind: JobKind, name: string) => join(directory, 'jobs', kind, name);

  const readLastState = (kind: JobKind): JobState | undefined =>
    parse(jobStateSchema, readJsonIfThere(path(kind, 'state.json')), path(kind, 'state.json'));

  const readState = (kind: JobKind): JobState | undefined => {
    const state = readLastState(kind);
    if (state?.status !== 'running') return state;
    const death = causeOfDeath(state);
    if (death === undefined) return state;
    // A job that ended between the two looks has said so before it went: a refused cutover was once taken for dead.
    const last = readLastState(kind);
    const isSame = last?.status === 'running' && last.jobId === state.jobId;
    return isSame ? { ...last, status: 'dead', error: death } : last;
  };

  const readProcess = (kind: JobKind) =>
    parse(processFileSchema, readJsonIfThere(path(kind, 'process.json')), path(kind, 'process.json'));

  /** Why a job that says that it runs does not; undefined while it does. */
  const causeOfDeath = (state: JobState): JobState['error'] | undefined => {
    const found = readProcess(state.kind);
    const fate = found?.jobId === state.jobId ? fateOf(found.identity) : 'gone';
    if (fate === 'alive') return undefined;
    const last = new Date(state.updatedAtMs).toISOString();
    const how =
      fate === 'rebooted'
        ? 'the host was restarted'
        : 'its process is gone (killed from outside, or out of memory)';
    return toErrorRecord(
      new MigrationError(
        'job-dead',
        `The ${state.kind} job died: ${how}; its last sign of life was ${last}.`,
      ),
    );
  };

  return {
    directory,
    readMigration: (): MigrationRecord | undefined =>
      parse(migrationRecordSchema, readJsonIfThere(join(directory, 'migration.json')), directory),
    writeMigration: (record: MigrationRecord) =>
      writeFileAtomically(join(directory, 'migration.json'), JSON.stringify(record)),
    /** Forgets the record, names of keys, and every job but the last rollback, which says what was undone. */
    forgetMigration: () => {
      removeIfThere(join(directory, TOUCHED_FOLDER));
      for (const kind of JOB_KINDS) {
        if (kind !== 'rollback') removeIfThere(join(directory, 'jobs', kind));
      }
      removeIfThere(join(directory, 'migration.json'));
    },
    logPath: (kind: JobKind) => path(kind, 'log.txt'),
    /** Clears the folder of the kind for a new job. */
    prepareJob: (file: JobFile, state: JobState) => {
      removeIfThere(join(directory, 'jobs', file.request.kind));
      writeFileAtomically(path(file.request.kind, 'job.json'), JSON.stringify(file));
      writeFileAtomically(path(file.request.kind, 'state.json'), JSON.stringify(state));
    },
    dropJob: (kind: JobKind) => removeIfThere(join(directory, 'jobs', kind)),
    readJobFile: (kind: JobKind): JobFile => {
      const file = parse(jobFileSchema, readJsonIfThere(path(kind, 'job.json')), path(kind, 'job.json'));
      if (file === undefined)
        throw new MigrationError('job-unknown', `There is no ${kind} job in ${directory}.`);
      return file;
    },
    writeProcess: (kind: JobKind, process: z.infer<typeof processFileSchema>) =>
      writeFileAtomically(path(kind, 'process.json'), JSON.stringify(process)),
    readProcess,
    /** The state of the last job of the kind, `dead` when its process is gone. */
    readState,
    writeState: (state: JobState) =>
      writeFileAtomically(path(state.kind, 'state.json'), JSON.stringify(state), {
        isSynced: state.status !== 'running',
      }),
    /** Progress is written several times a second by a job that must not wait for the disk: it need not outlive the host. */
    writeProgress: (state: JobState): Promise<void> =>
      writeFileInBackground(path(state.kind, 'state.json'), JSON.stringify(state)),
    /** The report of the last job of the kind as it travels: gzipped JSON. */
    readReportFile: (kind: JobKind): Buffer | undefined => readFileIfThere(path(kind, 'report.gz')),
    writeReport: (report: JobReport) =>
      writeFileAtomically(path(report.kind, 'report.gz'), gzipSync(JSON.stringify(report))),
    readReport: (kind: JobKind): JobReport | undefined => {
      const content = readFileIfThere(path(kind, 'report.gz'));
      return (
        content && parse(jobReportSchema, JSON.parse(gunzipSync(content).toString()), path(kind, 'report.gz'))
      );
    },
  };
}

function parse<Schema extends z.ZodType>(schema: Schema, content: unknown, path: string) {
  if (content === undefined) return undefined;
  const parsed = schema.safeParse(content);
  if (parsed.success) return parsed.data;
  throw new MigrationError(
    'contract-mismatch',
    `${path} was not written by this version of the agent: ${z.prettifyError(parsed.error)}`,
    { cause: parsed.error },
  );
}
