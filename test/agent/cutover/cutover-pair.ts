import type { SiblingJobs } from '../../../src/agent/job/context.ts';
import type { Route } from '../../../src/contract/finding.ts';
import type { JobState } from '../../../src/contract/job-state.ts';
import type { JobKind, JobRequest, JobRequestOf } from '../../../src/contract/jobs.ts';
import type { JobReportOf, VerifyReport } from '../../../src/contract/reports.ts';
import { systemClock } from '../../../src/core/clock.ts';
import type { RunningServer } from '../../servers/start.ts';
import { endpointOf } from './job-context.ts';

/** Two servers of a migration. */
export type CutoverPair = { readonly source: RunningServer; readonly target: RunningServer };

/** Where the two sides are reached. */
export type Places = Readonly<Record<'source' | 'target', Pick<RunningServer, 'host' | 'port'>>>;

/** A request to cut over by the route, with generous limits. */
export function cutoverRequest({ source, target }: Places, route: Route): JobRequestOf<'cutover'> {
  return {
    kind: 'cutover',
    source: endpointOf(source),
    target: endpointOf(target),
    route,
    maxDifferences: 0,
    ttlToleranceMs: 1000,
    keyDisplay: 'shown',
    maxVerificationAgeMs: 3_600_000,
    maxWritePauseMs: 30_000,
  };
}

/** The report of a full verification that passed a moment ago. */
export function passedVerification({ source, target }: Places): VerifyReport {
  return {
    kind: 'verify',
    verificationId: 'v1',
    migrationId: 'sessions',
    scope: 'full',
    passed: true,
    startedAtMs: Date.now() - 2000,
    finishedAtMs: Date.now() - 1000,
    sourceAddress: `${source.host}:${source.port}`,
    targetAddress: `${target.host}:${target.port}`,
    keysCompared: 1,
    inFlight: 0,
    skipped: [],
    byDatabase: [],
    byType: [],
    differences: { total: 0, byKind: [], listed: [], cut: 0 },
    maxDifferences: 0,
  };
}

/** The state of a sync at a stage. */
export function syncState(status: JobState['status'], stage: string): JobState {
  const progress = { stage, keys: 0, keysPerSecond: 0, bytes: 0, bytesPerSecond: 0, notes: [] };
  const times = { startedAtMs: 0, updatedAtMs: 0, series: [], hasReport: false };
  return { kind: 'sync', jobId: 's1', status, progress, ...times };
}

/** Siblings that a test holds in its hands. */
export type HeldSiblings = SiblingJobs & {
  verification: VerifyReport | undefined;
  readonly states: Map<JobKind, JobState>;
  /** But for keepers. */
  readonly stopped: JobKind[];
  readonly started: JobRequest[];
  /** Runs when a job is asked to stop. */
  onStop: (kind: JobKind) => Promise<void>;
};

/** Siblings with the given verification and, if given, a sync. */
export function heldSiblings(verification: VerifyReport | undefined, sync?: JobState): HeldSiblings {
  const states = new Map<JobKind, JobState>(sync === undefined ? [] : [['sync', sync]]);
  const stopped: JobKind[] = [];
  const started: JobRequest[] = [];
  const held: HeldSiblings = {
    verification,
    states,
    stopped,
    started,
    onStop: async () => {},
    state: async (kind) => states.get(kind),
    report: async <Kind extends JobKind>(kind: Kind) => {
      const report = held.verification;
      return report !== undefined && isOf(report, kind) ? report : undefined;
    },
    stop: async (kind) => {
      // No keeper runs here.
      if (kind === 'keeper') return;
      stopped.push(kind);
      await held.onStop(kind);
      const state = states.get(kind);
      if (state !== undefined) states.set(kind, { ...state, status: 'stopped' });
    },
    kill: async (kind) => {
      const state = states.get(kind);
      if (state !== undefined) states.set(kind, { ...state, status: 'dead' });
    },
    start: async (request) => {
      started.push(request);
    },
  };
  return held;
}

function isOf<Kind extends JobKind>(report: { kind: JobKind }, kind: Kind): report is JobReportOf<Kind> {
  return report.kind === kind;
}

/** Waits until INFO of the server has the text. */
export async function untilInfo(server: RunningServer, text: string): Promise<void> {
  const client = server.client();
  const signal = AbortSignal.timeout(30_000);
  while (!(await client.info()).includes(text)) await systemClock.sleep(20, signal);
}

/**
 * Writes numbered keys until it is refused: `acknowledged` is the number of the last one that was taken, `refusal`
 * resolves with the text of the refusal.
 */
export function startWriter(server: RunningServer) {
  const client = server.client();
  const writer = { acknowledged: 0, refusal: writeUntilRefused() };
  return writer;

  async function writeUntilRefused(): Promise<string> {
    // The first write waits for the next tick, when `writer` is there.
    await client.ping();
    for (;;) {
      try {
        await client.set(`written:${writer.acknowledged + 1}`, 'x');
        writer.acknowledged += 1;
      } catch (error) {
        return String(error);
      }
    }
  }
}
