import type { JobState } from '../../contract/job-state.ts';
import type { JobKind, JobRequestOf } from '../../contract/jobs.ts';
import { formatBytes, formatCount, formatDuration } from '../../core/units.ts';
import type { Host } from '../host/host.ts';
import { type JobOutcome, type JobReached, type JobRun, runJob } from '../host/job.ts';
import type { CommonInputs } from '../inputs.ts';
import type { World } from './phase.ts';

/** What every job of a phase is run with. */
export type JobSetting = { readonly inputs: CommonInputs; readonly world: World; readonly host: Host };

/** Sees every state that differs from the one before. */
export type StateWatcher = (state: JobState) => void;

/** Runs a job on the host to its end, with the inputs' patience, and shows its progress in the log. */
export function runHostJob<Kind extends JobKind>(
  setting: JobSetting,
  job: JobRequestOf<Kind>,
  onState?: StateWatcher,
): Promise<JobOutcome<Kind>> {
  return runJob(setting.host, jobRun(setting, job, onState));
}

/** The same, but ends the waiting, not the job, as soon as `until` says so: a sync goes on after its phase. */
export function runHostJobUntil<Kind extends JobKind>(
  setting: JobSetting,
  job: JobRequestOf<Kind>,
  { until, onState }: { until: (state: JobState) => boolean; onState: StateWatcher },
): Promise<JobOutcome<Kind> | JobReached> {
  return runJob(setting.host, { ...jobRun(setting, job, onState), until });
}

function jobRun<Kind extends JobKind>(
  { inputs, world }: JobSetting,
  job: JobRequestOf<Kind>,
  onState: StateWatcher | undefined,
): JobRun<Kind> {
  const show = progressLog(world);
  return {
    migrationId: inputs.migrationId,
    repository: world.repository,
    job,
    waitTimeoutMs: inputs.waitTimeoutMs,
    onCancel: inputs.onCancel,
    clock: world.clock,
    signal: world.signal,
    log: world.log,
    onState: (state) => {
      show(state);
      onState?.(state);
    },
  };
}

/** One line per look that brings news. */
function progressLog(world: World): (state: JobState) => void {
  let last = '';
  return (state) => {
    const line = describeProgress(state);
    if (line !== last) world.log(line);
    last = line;
  };
}

function describeProgress({ kind, status, progress, startedAtMs, updatedAtMs }: JobState): string {
  const { stage, percent, keys, keysPerSecond, bytesPerSecond, lagBytes, lagMs, etaMs, bottleneck } =
    progress;
  const parts = [
    `${kind}: ${status === 'running' ? stage : status}`,
    percent === undefined ? undefined : `${percent.toFixed(0)} %`,
    keys > 0 ? `${formatCount(keys)} keys` : undefined,
    keysPerSecond > 0 ? `${formatCount(keysPerSecond)} keys/s` : undefined,
    bytesPerSecond > 0 ? `${formatBytes(bytesPerSecond)}/s` : undefined,
    lagBytes === undefined ? undefined : `lag ${formatBytes(lagBytes)}`,
    lagMs === undefined ? undefined : `${formatDuration(lagMs)} behind`,
    etaMs === undefined ? undefined : `${formatDuration(etaMs)} left`,
    bottleneck === undefined ? undefined : `waits for the ${bottleneck}`,
    ...(kind === 'verify' ? progress.notes : []),
    `after ${formatDuration(updatedAtMs - startedAtMs)}`,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}
