import type { JobKind } from '../../contract/jobs.ts';
import type { JobReportOf } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import type { SiblingJobs } from './context.ts';
import { fateOf } from './process-identity.ts';
import type { MigrationStore } from './store.ts';

const STOP_POLL_MS = 20;

/** The other jobs of the migration, read from its folder. */
export function siblingJobs(store: MigrationStore, clock: Clock, signal: AbortSignal): SiblingJobs {
  return {
    state: async (kind) => store.readState(kind),
    report: async <Kind extends JobKind>(kind: Kind) => {
      const report = store.readReport(kind);
      return report !== undefined && isReportOf(report, kind) ? report : undefined;
    },
    stop: async (kind) => {
      requestStop(store, kind);
      while (store.readState(kind)?.status === 'running') await clock.sleep(STOP_POLL_MS, signal);
    },
  };
}

/** Asks the process of a running job to end at its next safe point; nothing happens where none runs. */
export function requestStop(store: MigrationStore, kind: JobKind): void {
  if (store.readState(kind)?.status !== 'running') return;
  const found = store.readProcess(kind);
  if (found !== undefined && fateOf(found.identity) === 'alive') process.kill(found.identity.pid, 'SIGTERM');
}

function isReportOf<Kind extends JobKind>(
  report: { kind: JobKind },
  kind: Kind,
): report is JobReportOf<Kind> {
  return report.kind === kind;
}
