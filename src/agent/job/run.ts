import { appendFileSync, statSync } from 'node:fs';
import type { SecretReference } from '../../contract/endpoint.ts';
import type { JobState, Progress, SeriesPoint } from '../../contract/job-state.ts';
import { SERIES_POINTS_MAX } from '../../contract/job-state.ts';
import type { JobKind, JobRequest } from '../../contract/jobs.ts';
import type { JobReport } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import { errorText, isMigrationError, toErrorRecord, toMigrationError } from '../../core/errors.ts';
import type { Secret } from '../../core/secret.ts';
import type { SecretUse } from '../secret/reading.ts';
import { type JobContext, newJobState } from './context.ts';
import { type Launcher, START_WAIT_MS } from './launch.ts';
import { ownIdentity } from './process-identity.ts';
import { siblingJobs } from './siblings.ts';
import type { MigrationStore } from './store.ts';

/** The state file is written at most this often, so that progress costs the job nothing. */
const STATE_INTERVAL_MS = 250;
/** The series begins dense, so that a short job has one too; it thins itself out as the job gets long. */
const FIRST_SAMPLE_INTERVAL_MS = 100;
/** A log beyond this size is not written any further: the state says what matters. */
const LOG_BYTES_MAX = 5_000_000;

/** What the process of a job needs from its `main`. */
export type JobRuntime = {
  readonly store: MigrationStore;
  readonly clock: Clock;
  /** Aborted when the process is asked to end. */
  readonly signal: AbortSignal;
  /** How a job starts another one; without it, it cannot. */
  readonly launcher?: Launcher;
  readonly run: (request: JobRequest, context: JobContext) => Promise<JobReport>;
  readonly resolveSecret: (reference: SecretReference, use: SecretUse) => Promise<Secret>;
};

/**
 * Does the job that was prepared in the folder, from its first sign of life to its final state.
 *
 * What went wrong stands in the state file, where the runner looks.
 *
 * @throws host-state-unwritable when not even that can be written; the job is then found dead
 */
export async function runPreparedJob(kind: JobKind, runtime: JobRuntime): Promise<void> {
  const { store, clock, signal } = runtime;
  const file = store.readJobFile(kind);
  // Its starter has given up by now: what it reported as dead must not begin after all.
  if (clock.nowMs() - file.startedAtMs > START_WAIT_MS) return;
  store.writeProcess(kind, { jobId: file.jobId, identity: ownIdentity() });
  const log = logWriter(store.logPath(kind), clock);
  const tracker = stateTracker(
    store,
    { clock, onTrouble: (error) => log(errorText(error)) },
    newJobState(kind, file),
  );
  log(`started ${kind} ${file.jobId}`);
  try {
    const report = await runtime.run(file.request, {
      migrationId: file.migrationId,
      repository: file.repository,
      hostId: file.hostId,
      directory: store.directory,
      clock,
      signal,
      siblings: siblingJobs({ store, clock, signal, launcher: runtime.launcher }, file),
      resolveSecret: (reference, endpoint) =>
        runtime.resolveSecret(reference, { endpoint, sealedFor: { ...file, directory: store.directory } }),
      report: tracker.update,
      leaveReport: store.writeReport,
      log,
    });
    store.writeReport(report);
    await tracker.end({ status: signal.aborted ? 'stopped' : 'succeeded', hasReport: true });
    log(signal.aborted ? 'stopped' : 'succeeded');
  } catch (error) {
    const stopped = signal.aborted && !isMigrationError(error);
    log(stopped ? 'stopped' : `failed: ${toMigrationError(error).stack}`);
    await tracker.end({
      status: stopped ? 'stopped' : 'failed',
      hasReport: store.readReportFile(kind) !== undefined,
      ...(stopped ? {} : { error: toErrorRecord(error) }),
    });
  }
}

/** Keeps the state of a job on disk: now and then and in the background while it runs, at once when it ends. */
function stateTracker(
  store: MigrationStore,
  { clock, onTrouble }: { clock: Clock; onTrouble: (error: unknown) => void },
  initial: JobState,
) {
  let state = initial;
  let writtenAtMs = 0;
  let sampleEveryMs = FIRST_SAMPLE_INTERVAL_MS;
  let writing: Promise<void> | undefined;
  let isDue = false;
  const write = () => {
    writtenAtMs = clock.nowMs();
    isDue = writing !== undefined;
    // A disk that is full for a while must not end a sync: the next progress is written again.
    writing ??= store
      .writeProgress(state)
      .catch(onTrouble)
      .finally(() => {
        writing = undefined;
        if (isDue) write();
      });
  };
  store.writeState(state);
  return {
    update: (progress: Progress) => {
      const nowMs = clock.nowMs();
      const atMs = nowMs - state.startedAtMs;
      const lastAtMs = state.series.at(-1)?.atMs ?? -Infinity;
      let { series } = state;
      if (atMs - lastAtMs >= sampleEveryMs) {
        series = [...series, samplePoint(atMs, progress)];
        if (series.length >= SERIES_POINTS_MAX) {
          // Thin out to every second point, and take new ones half as often: bounded however long the job runs.
          series = series.filter((_, index) => index % 2 === 0);
          sampleEveryMs *= 2;
        }
      }
      const stageChanged = progress.stage !== state.progress.stage;
      state = { ...state, progress, series, updatedAtMs: nowMs };
      if (!stageChanged && nowMs - writtenAtMs < STATE_INTERVAL_MS) return;
      write();
    },
    end: async (outcome: Pick<JobState, 'status'> & Partial<Pick<JobState, 'error' | 'hasReport'>>) => {
      isDue = false;
      // What is still on its way would come over the last word.
      await writing;
      state = { ...state, ...outcome, updatedAtMs: clock.nowMs() };
      store.writeState(state);
    },
  };
}

function samplePoint(atMs: number, progress: Progress): SeriesPoint {
  return {
    atMs,
    keysPerSecond: progress.keysPerSecond,
    ...(progress.percent === undefined ? {} : { percent: progress.percent }),
    ...(progress.lagBytes === undefined ? {} : { lagBytes: progress.lagBytes }),
  };
}

function logWriter(path: string, clock: Clock): (message: string) => void {
  return (message) => {
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size > LOG_BYTES_MAX) return;
    try {
      appendFileSync(path, `${new Date(clock.nowMs()).toISOString()} ${message}\n`, { mode: 0o600 });
    } catch {
      // The log is for people who look later; the work goes on without it.
    }
  };
}
