import type { JobState, Progress } from '../../contract/job-state.ts';
import type { JobKind, JobRequest, JobRequestOf } from '../../contract/jobs.ts';
import type { JobReport, JobReportOf } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import type { ResolveSecret } from '../redis/access.ts';

/** What every job gets besides its request. */
export type JobContext = {
  readonly migrationId: string;
  readonly repository: string;
  /** Names this host and state folder: two hosts that sync to one target must be told apart. */
  readonly hostId: string;
  /** The folder of the migration on the host: jobs may keep small files of their own in it. */
  readonly directory: string;
  readonly clock: Clock;
  /** Aborted when the job is asked to stop: end at the next safe point and throw the signal's reason. */
  readonly signal: AbortSignal;
  readonly siblings: SiblingJobs;
  /** Fetches the secret of an endpoint, on the host. */
  readonly resolveSecret: ResolveSecret;
  /** Replaces what `status` shows; cheap, so call it as often as there is news. */
  report(progress: Progress): void;
  /** Keeps a report although the job is about to fail: what it found is what the reader needs. */
  leaveReport(report: JobReport): void;
  /** Writes one line to the log of the job: what happened, never a key, a value or a secret. */
  log(message: string): void;
};

/** The other jobs of the same migration on this host. */
export type SiblingJobs = {
  /** The state of the last job of the kind; `dead` when its process is gone without a word. */
  state(kind: JobKind): Promise<JobState | undefined>;
  /** The report of the last job of the kind that left one. */
  report<Kind extends JobKind>(kind: Kind): Promise<JobReportOf<Kind> | undefined>;
  /** Asks a running job to stop and waits until it has ended; nothing to do where none runs. */
  stop(kind: JobKind): Promise<void>;
  /** Ends a job at once, wherever it is (SIGKILL), and waits until it is gone; nothing to do where none runs. */
  kill(kind: JobKind): Promise<void>;
  /** Starts a job in a process of its own and waits for its first sign of life. @throws job-dead when there is none */
  start(request: JobRequest): Promise<void>;
};

/** A job: does its work and returns the report, which is kept on the host until the next job of its kind. */
export type Job<Kind extends JobKind> = (
  request: JobRequestOf<Kind>,
  context: JobContext,
) => Promise<JobReportOf<Kind>>;

/** A progress with nothing in it yet. */
export const NO_PROGRESS: Progress = {
  stage: 'starting',
  keys: 0,
  keysPerSecond: 0,
  bytes: 0,
  bytesPerSecond: 0,
  notes: [],
};

/** The state of a job that has just been asked for. */
export function newJobState(
  kind: JobKind,
  { jobId, startedAtMs }: { jobId: string; startedAtMs: number },
): JobState {
  return {
    kind,
    jobId,
    status: 'running',
    startedAtMs,
    updatedAtMs: startedAtMs,
    progress: NO_PROGRESS,
    series: [],
    hasReport: false,
  };
}
