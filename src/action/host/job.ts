import type { JobState } from '../../contract/job-state.ts';
import type { JobKind, JobRequestOf } from '../../contract/jobs.ts';
import type { JobReportOf } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import { errorText, fromErrorRecord, isMigrationError, MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import { pollDelayMs } from '../aws/poll.ts';
import type { Host } from './host.ts';
import { fetchReport } from './report.ts';

/** A job to start on the host, or to adopt, and how to wait for it. */
export type JobRun<Kind extends JobKind> = {
  readonly migrationId: string;
  /** `owner/name` of the repository that runs the migration. */
  readonly repository: string;
  readonly job: JobRequestOf<Kind>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly waitTimeoutMs: number;
  /** Pauses between polls; the last one goes on. */
  readonly pollDelaysMs?: readonly number[];
  /** What becomes of the job when the run is cancelled. */
  readonly onCancel: 'keep' | 'stop';
  log(message: string): void;
  /** Told of every state that was seen, and whether the job was running before. */
  onState?(state: JobState, adopted: boolean): void;
};

/** Ends the waiting before the job ends: a sync that is live. */
export type JobGoal = { readonly until?: ((state: JobState) => boolean) | undefined };

/** How a job ended; one that went wrong may have left a report all the same. */
export type JobOutcome<Kind extends JobKind> =
  | { readonly state: JobState; readonly report: JobReportOf<Kind>; readonly error: undefined }
  /** `error` is the job's own, job-stopped or job-dead. */
  | {
      readonly state: JobState;
      readonly report: JobReportOf<Kind> | undefined;
      readonly error: MigrationError;
    };

/** The goal is reached, and the job goes on. */
export type JobReached = { readonly state: JobState; readonly report: undefined; readonly error: undefined };

/** Pauses between polls: short jobs are over soon, and a sync of days is looked at four times a minute. */
export const JOB_POLL_DELAYS_MS: readonly number[] = [300, 700, 1000, 2000, 3000, 5000, 10_000, 15_000];

/** Polls in a row that may fail on the way to the host before the phase gives up. */
const POLL_FAILURES_MAX = 5;

/**
 * Starts a job, or adopts the one that runs, waits until it ends or `until` is satisfied, and fetches its report.
 *
 * A poll that fails on the way is repeated; the job on the host knows nothing of it. When the signal is aborted the
 * job goes on or is asked to stop, as `onCancel` says, and the log says which.
 *
 * @throws wait-timeout (the job goes on), job-unknown, what the host answers to `start`, the errors of the way to
 * the host, host-reply-malformed (report), and the signal's reason
 */
export function runJob<Kind extends JobKind>(
  host: Host,
  run: JobRun<Kind> & { until?: undefined },
): Promise<JobOutcome<Kind>>;
/** As above, with a goal that may be reached before the job ends. */
export function runJob<Kind extends JobKind>(
  host: Host,
  run: JobRun<Kind> & JobGoal,
): Promise<JobOutcome<Kind> | JobReached>;
export async function runJob<Kind extends JobKind>(
  host: Host,
  run: JobRun<Kind> & JobGoal,
): Promise<JobOutcome<Kind> | JobReached> {
  try {
    const { state, adopted } = await startJob(host, run);
    const last = await awaitJob(host, { run, started: state, adopted });
    return await conclude(host, { run, state: last });
  } catch (error) {
    if (run.signal.aborted) await leaveJob(host, run);
    throw error;
  }
}

async function startJob<Kind extends JobKind>(
  host: Host,
  run: JobRun<Kind>,
): Promise<{ state: JobState; adopted: boolean }> {
  const { migrationId, repository, job, clock, signal, pollDelaysMs = JOB_POLL_DELAYS_MS } = run;
  for (let failures = 0; ; failures += 1) {
    try {
      const started = await host.call({ command: 'start', migrationId, repository, job });
      run.log(
        `${started.adopted ? 'Adopted the running' : 'Started a'} ${job.kind} job, ${started.state.jobId}.`,
      );
      return started;
    } catch (error) {
      // An answer that got lost may have started the job all the same: asked again, the host adopts it.
      if (!isTransient(error) || failures >= POLL_FAILURES_MAX) throw error;
      run.log(`${errorText(error)} Asking again.`);
      await clock.sleep(pollDelayMs(pollDelaysMs, failures), signal);
    }
  }
}

async function awaitJob<Kind extends JobKind>(
  host: Host,
  { run, started, adopted }: { run: JobRun<Kind> & JobGoal; started: JobState; adopted: boolean },
): Promise<JobState> {
  const { clock, signal, pollDelaysMs = JOB_POLL_DELAYS_MS } = run;
  const deadlineMs = clock.nowMs() + run.waitTimeoutMs;
  let state = started;
  let failures = 0;
  for (let looks = 0; ; looks += 1) {
    if (failures === 0) run.onState?.(state, adopted);
    if (state.status !== 'running' || run.until?.(state)) return state;
    const remainingMs = deadlineMs - clock.nowMs();
    if (remainingMs <= 0) {
      throw new MigrationError(
        'wait-timeout',
        `The ${run.job.kind} job is still ${state.progress.stage} after ${formatDuration(run.waitTimeoutMs)}.`,
      );
    }
    await clock.sleep(Math.min(pollDelayMs(pollDelaysMs, looks), remainingMs), signal);
    try {
      state = await readState(host, { run, jobId: started.jobId });
      failures = 0;
    } catch (error) {
      failures += 1;
      if (!isTransient(error) || failures > POLL_FAILURES_MAX) throw error;
      run.log(`${errorText(error)} The ${run.job.kind} job goes on; asking again.`);
    }
  }
}

async function readState<Kind extends JobKind>(
  host: Host,
  { run, jobId }: { run: JobRun<Kind>; jobId: string },
): Promise<JobState> {
  const { migrationId, repository } = run;
  const { jobs } = await host.call({ command: 'status', migrationId, repository });
  const state = jobs.find((job) => job.kind === run.job.kind);
  if (state?.jobId === jobId) return state;
  const found = state === undefined ? 'it is gone' : `job ${state.jobId} has taken its place`;
  throw new MigrationError(
    'job-unknown',
    `The host does not know ${run.job.kind} job ${jobId} any more: ${found}.`,
    {
      remedy: 'Run the phase again, and only one at a time.',
    },
  );
}

async function conclude<Kind extends JobKind>(
  host: Host,
  { run, state }: { run: JobRun<Kind>; state: JobState },
): Promise<JobOutcome<Kind> | JobReached> {
  if (state.status === 'running') return { state, report: undefined, error: undefined };
  const { migrationId, repository, job } = run;
  const wanted = { migrationId, repository, kind: job.kind, jobId: state.jobId };
  if (state.status === 'succeeded') {
    return { state, report: await fetchReport<Kind>(host, wanted), error: undefined };
  }
  const report = state.hasReport ? await fetchReport<Kind>(host, wanted) : undefined;
  return { state, report, error: jobError(state) };
}

/** The error of a job that did not succeed: its own where it left one. */
export function jobError(state: JobState): MigrationError {
  if (state.status === 'dead') {
    const reason =
      state.error === undefined ? 'it was killed, or the host was restarted' : state.error.message;
    return new MigrationError('job-dead', `The ${state.kind} job ${state.jobId} is dead: ${reason}.`);
  }
  if (state.error !== undefined) return fromErrorRecord(state.error);
  if (state.status === 'stopped') {
    return new MigrationError('job-stopped', `The ${state.kind} job ${state.jobId} was stopped.`);
  }
  return new MigrationError(
    'internal',
    `The ${state.kind} job ${state.jobId} is ${state.status} and does not say why.`,
  );
}

/** Errors of the way to the host, which say nothing about the job. */
function isTransient(error: unknown): boolean {
  if (!isMigrationError(error)) return false;
  // An instance that was there a moment ago is being rebooted.
  return error.code === 'instance-not-managed' || (error.retryable && TRANSIENT.has(error.code));
}

const TRANSIENT: ReadonlySet<string> = new Set([
  'aws-throttled',
  'aws-unavailable',
  'command-undeliverable',
  'command-timeout',
  'command-failed',
  'host-reply-malformed',
]);

/** A cancelled run has 7.5 seconds for this, its report and its summary. */
const LEAVE_TIMEOUT_MS = 4000;

/** The run is cancelled: the last thing it does for its job. */
async function leaveJob<Kind extends JobKind>(host: Host, run: JobRun<Kind>): Promise<void> {
  const { migrationId, repository, job } = run;
  if (run.onCancel === 'keep') {
    run.log(`Cancelled. The ${job.kind} job goes on on the host; running the phase again adopts it.`);
    return;
  }
  try {
    run.log(`Cancelled. Asking the ${job.kind} job on the host to stop.`);
    const signal = AbortSignal.timeout(LEAVE_TIMEOUT_MS);
    await host.call({ command: 'stop', migrationId, repository, kind: job.kind }, { signal });
    run.log(`The ${job.kind} job was asked to stop.`);
  } catch (error) {
    // The cancellation goes through; whether the job stopped is seen by the next status.
    run.log(`The ${job.kind} job could not be asked to stop: ${errorText(error)}`);
  }
}
