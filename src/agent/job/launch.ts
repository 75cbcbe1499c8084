import { randomBytes } from 'node:crypto';
import type { JobState } from '../../contract/job-state.ts';
import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import { stayAway } from './boot.ts';
import { newJobState } from './context.ts';
import { type Supervisor, spawnJob } from './spawn.ts';
import type { JobFile, MigrationStore } from './store.ts';

/** A job that gives no sign of life for so long is taken for dead by its starter. */
export const START_WAIT_MS = 15_000;
const START_POLL_MS = 20;

/** How processes of jobs are made. */
export type Launcher = { readonly agentPath: string; readonly supervisor: Supervisor };

/** What to start, where. */
export type Launch = {
  readonly job: Pick<JobFile, 'migrationId' | 'repository' | 'hostId' | 'request'>;
  readonly store: MigrationStore;
  readonly launcher: Launcher;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/**
 * Starts a job in a process that outlives this one, and waits for its first sign of life.
 *
 * @throws job-dead when the process does not come up, command-failed, host-state-unwritable
 */
export async function launchJob({ job, store, launcher, clock, signal }: Launch): Promise<JobState> {
  const { kind } = job.request;
  const startedAtMs = clock.nowMs();
  const jobId = `${new Date(startedAtMs).toISOString().replace(/[-:.]/g, '')}-${randomBytes(4).toString('hex')}`;
  const initial = newJobState(kind, { jobId, startedAtMs });
  const earlier = store.readState(kind)?.jobId;
  store.prepareJob({ jobId, startedAtMs, ...job }, initial);
  const { agentPath, supervisor } = launcher;
  const { migrationId } = job;
  if (earlier !== undefined) await stayAway({ migrationId, kind, jobId: earlier });
  await spawnJob({ migrationId, kind, jobId, migrationDirectory: store.directory, agentPath }, supervisor);
  const deadlineMs = startedAtMs + START_WAIT_MS;
  while (store.readProcess(kind)?.jobId !== jobId) {
    if (clock.nowMs() > deadlineMs) {
      throw new MigrationError('job-dead', `The ${kind} job gave no sign of life within 15 seconds.`);
    }
    await clock.sleep(START_POLL_MS, signal);
  }
  return store.readState(kind) ?? initial;
}
