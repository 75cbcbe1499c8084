import type { JobKind } from '../../contract/jobs.ts';
import type { JobReportOf } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import type { SiblingJobs } from './context.ts';
import { type Launcher, launchJob } from './launch.ts';
import { fateOf } from './process-identity.ts';
import type { JobFile, MigrationStore } from './store.ts';

const STOP_POLL_MS = 20;

/** The folder of a migration, and how to wait for what happens in it. */
export type JobsPlace = {
  readonly store: MigrationStore;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** The other jobs of the migration, read from its folder; those that it starts belong to the same migration. */
export function siblingJobs(
  place: JobsPlace & { readonly launcher: Launcher | undefined },
  { migrationId, repository, hostId }: Pick<JobFile, 'migrationId' | 'repository' | 'hostId'>,
): SiblingJobs {
  const { store, launcher } = place;
  return {
    state: async (kind) => store.readState(kind),
    report: async <Kind extends JobKind>(kind: Kind) => {
      const report = store.readReport(kind);
      return report !== undefined && isReportOf(report, kind) ? report : undefined;
    },
    stop: (kind) => stopJob(place, kind),
    kill: async (kind) => {
      signalJob(store, kind, 'SIGKILL');
      await untilEnded(place, kind);
    },
    start: async (request) => {
      if (launcher === undefined) {
        throw new MigrationError('job-dead', `Nothing can start the ${request.kind} job here.`);
      }
      await launchJob({ ...place, launcher, job: { migrationId, repository, hostId, request } });
    },
  };
}

/** Asks a running job to end and waits until it has; nothing to do where none runs. */
export async function stopJob(place: JobsPlace, kind: JobKind): Promise<void> {
  requestStop(place.store, kind);
  await untilEnded(place, kind);
}

/** Asks the process of a running job to end at its next safe point; nothing happens where none runs. */
export function requestStop(store: MigrationStore, kind: JobKind): void {
  signalJob(store, kind, 'SIGTERM');
}

async function untilEnded({ store, clock, signal }: JobsPlace, kind: JobKind): Promise<void> {
  while (store.readState(kind)?.status === 'running') await clock.sleep(STOP_POLL_MS, signal);
}

function signalJob(store: MigrationStore, kind: JobKind, name: 'SIGTERM' | 'SIGKILL'): void {
  if (store.readState(kind)?.status !== 'running') return;
  const found = store.readProcess(kind);
  if (found !== undefined && fateOf(found.identity) === 'alive') process.kill(found.identity.pid, name);
}

function isReportOf<Kind extends JobKind>(
  report: { kind: JobKind },
  kind: Kind,
): report is JobReportOf<Kind> {
  return report.kind === kind;
}
