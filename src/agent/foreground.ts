import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Progress } from '../contract/job-state.ts';
import type { JobKind } from '../contract/jobs.ts';
import { notAgreedTo } from '../contract/skipped.ts';
import { fromErrorRecord, MigrationError } from '../core/errors.ts';
import { formatBytes, formatDuration } from '../core/units.ts';
import type { Invocation } from './command-line.ts';
import { newJobState } from './job/context.ts';
import { hostId } from './job/host-id.ts';
import { type JobRuntime, runPreparedJob } from './job/run.ts';
import { requestStop } from './job/siblings.ts';
import { JOB_KINDS, type MigrationStore, openMigrationStore } from './job/store.ts';
import { measureLatency } from './preflight/latency.ts';
import { resolveAccess } from './redis/access.ts';
import { openClient } from './redis/client.ts';
import { describeTuning } from './tune/record.ts';
import { describeVerification } from './verify/report-text.ts';

/** What the command line needs from `main` besides what every job needs. */
export type Shell = Omit<JobRuntime, 'store'> & {
  /** Results, for programs. */
  print(text: string): void;
  /** Progress, for people. */
  show(line: string): void;
};

/** Progress is shown this often. */
const SHOW_INTERVAL_MS = 1000;

/**
 * Runs a job in this process, in the same folder as a detached one: `status` and `stop` of another shell find it.
 *
 * Returns the exit status: 0 for good, 1 for different or failing findings.
 *
 * @throws migration-conflict while a job of this kind runs; the error of the job
 */
export async function runInForeground(
  { stateDirectory, migrationId, request, isJson }: Extract<Invocation, { verb: 'run' }>,
  shell: Shell,
): Promise<number> {
  const store = openMigrationStore(join(stateDirectory, 'migrations', migrationId));
  const { kind } = request;
  if (store.readState(kind)?.status === 'running') {
    throw new MigrationError('migration-conflict', `A ${kind} job of ${migrationId} is already running.`, {
      remedy: 'Look at it with `status`, end it with `stop`, or use another --migration-id.',
    });
  }
  const startedAtMs = shell.clock.nowMs();
  const jobId = randomBytes(8).toString('hex');
  store.prepareJob(
    { jobId, migrationId, repository: 'command line', hostId: hostId(stateDirectory), startedAtMs, request },
    newJobState(kind, { jobId, startedAtMs }),
  );
  await runPreparedJob(kind, {
    ...shell,
    store,
    run: (job, context) => shell.run(job, { ...context, report: progressLine(shell, context.report) }),
  });
  return conclude(store, { kind, isJson, shell });
}

type Ending = { readonly kind: JobKind; readonly isJson: boolean; readonly shell: Shell };

function conclude(store: MigrationStore, { kind, isJson, shell }: Ending): number {
  const { error } = store.readState(kind) ?? {};
  if (error !== undefined) throw fromErrorRecord(error);
  const report = store.readReport(kind);
  if (kind === 'verify' && report === undefined) {
    // Not 0: a shell would take a verification that was stopped for one that found nothing.
    throw new MigrationError('verification-incomplete', 'The verification was stopped before it was over.');
  }
  const isInWords = report?.kind === 'verify' && !isJson;
  shell.print(isInWords ? describeVerification(report) : JSON.stringify(report, null, 2));
  // What was skipped is not proved equal, and a shell sees no summary.
  if (report?.kind === 'verify') return report.passed && notAgreedTo(report.skipped).length === 0 ? 0 : 1;
  if (report?.kind === 'preflight') return report.findings.some(({ status }) => status === 'fail') ? 1 : 0;
  return 0;
}

/** Passes progress on, and shows it now and then. */
function progressLine(
  { clock, show }: Shell,
  pass: (progress: Progress) => void,
): (progress: Progress) => void {
  let shownAtMs = 0;
  return (progress) => {
    pass(progress);
    if (clock.nowMs() - shownAtMs < SHOW_INTERVAL_MS) return;
    shownAtMs = clock.nowMs();
    const { stage, percent, keys, keysPerSecond, bytesPerSecond, lagBytes, lagMs, etaMs } = progress;
    const parts = [
      stage,
      percent === undefined ? undefined : `${percent.toFixed(0)} %`,
      `${keys} keys`,
      `${Math.round(keysPerSecond)}/s`,
      `${formatBytes(bytesPerSecond)}/s`,
      lagBytes === undefined ? undefined : `lag ${lagBytes} B`,
      lagMs === undefined ? undefined : `${Math.round(lagMs)} ms`,
      etaMs === undefined ? undefined : `${formatDuration(etaMs)} left`,
      progress.bottleneck === undefined ? undefined : `waits for the ${progress.bottleneck}`,
      ...progress.notes,
    ];
    show(parts.filter((part) => part !== undefined).join('  '));
  };
}

/** Prints what the state directory knows of a migration; with `stop`, asks its jobs to end first. */
export function lookAt(
  { verb, stateDirectory, migrationId, kind }: Extract<Invocation, { verb: 'status' | 'stop' }>,
  { print }: Pick<Shell, 'print'>,
): number {
  const store = openMigrationStore(join(stateDirectory, 'migrations', migrationId));
  const kinds = kind === undefined ? JOB_KINDS : [kind];
  if (verb === 'stop') for (const one of kinds) requestStop(store, one);
  const jobs = kinds.flatMap((one) => store.readState(one) ?? []);
  const tuning = describeTuning(store.directory);
  print(JSON.stringify({ migration: store.readMigration() ?? null, jobs, tuning }, null, 2));
  return 0;
}

/**
 * Measures the round-trip time to each server.
 *
 * @throws the codes of the connection
 */
export async function ping(
  { endpoints, count }: Extract<Invocation, { verb: 'ping' }>,
  shell: Pick<Shell, 'print' | 'resolveSecret'>,
): Promise<number> {
  for (const { side, endpoint } of endpoints) {
    const access = await resolveAccess(side, endpoint, (reference) =>
      shell.resolveSecret(reference, { endpoint }),
    );
    await using client = await openClient(access);
    const latency = await measureLatency(client, count);
    shell.print(JSON.stringify({ side, address: access.address, ...latency }));
  }
  return 0;
}
