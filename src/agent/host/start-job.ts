import { isDeepStrictEqual } from 'node:util';
import type { Endpoint } from '../../contract/endpoint.ts';
import type { HostCommand, HostReplyOf } from '../../contract/host-commands.ts';
import type { JobKind, JobRequest } from '../../contract/jobs.ts';
import { MigrationError } from '../../core/errors.ts';
import { forgetCutover, isCutoverDoubted, isCutoverProved } from '../cutover/state.ts';
import { hostId } from '../job/host-id.ts';
import { launchJob, START_WAIT_MS } from '../job/launch.ts';
import { stopJob } from '../job/siblings.ts';
import type { MigrationStore } from '../job/store.ts';
import type { HostRuntime } from './commands.ts';

/** What a verification or a cutover said is void once the data is copied anew or the fence was lifted. */
const VOIDED_BY: Partial<Record<JobKind, readonly JobKind[]>> = {
  sync: ['verify', 'cutover'],
  unfence: ['cutover'],
};

/**
 * Starts a job and waits for its first sign of life, or adopts the running one of its kind.
 *
 * @throws migration-completed, migration-conflict, job-dead when the process does not come up
 */
export async function startJob(
  command: Extract<HostCommand, { command: 'start' }>,
  store: MigrationStore,
  runtime: HostRuntime,
): Promise<HostReplyOf<'start'>> {
  const { job, migrationId, repository } = command;
  const running = store.readState(job.kind);
  if (running?.status === 'running') {
    if (isAdoptable(store, job)) return { state: running, adopted: true };
    if (job.kind === 'cutover') refuseOtherCutover();
    await endJob(store, job.kind, runtime);
  }
  refuseAfterCompletion(store, job.kind);
  if (job.kind === 'benchmark') refuseBeforeCompletion(store);
  if (job.kind === 'sync') refuseBehindProof(store);
  for (const voided of VOIDED_BY[job.kind] ?? []) await endJob(store, voided, runtime);
  if (job.kind === 'sync') forgetCutover(store.directory);

  const state = await launchJob({
    ...runtime,
    store,
    job: { migrationId, repository, hostId: hostId(runtime.stateDirectory), request: job },
    launcher: runtime,
  });
  return { state, adopted: false };
}

const FORBIDDEN_AFTER_COMPLETION: readonly JobKind[] = ['sync', 'cutover', 'keeper', 'rollback'];

/**
 * A running job is adopted when it does what is asked for; a sync and a rollback do so whatever the other inputs say,
 * since their servers are those of the migration.
 */
function isAdoptable(store: MigrationStore, job: JobRequest): boolean {
  if (job.kind === 'sync' || job.kind === 'rollback') return true;
  const { targetFacts: _, ...running } = comparable(store.readJobFile(job.kind).request);
  const { targetFacts: __, ...wanted } = comparable(job);
  return isDeepStrictEqual(running, wanted);
}

/**
 * What AWS says of the target changes by itself, and only preflight has it. A password that is sealed again looks
 * otherwise each time; as any other, it is the same when its name is.
 */
function comparable(job: JobRequest): { targetFacts?: unknown } & Record<string, unknown> {
  return {
    ...job,
    ...('source' in job ? { source: namedOnly(job.source) } : {}),
    ...('target' in job ? { target: namedOnly(job.target) } : {}),
  };
}

function namedOnly({ password, ...endpoint }: Endpoint): unknown {
  return { ...endpoint, password: password?.from === 'sealed' ? password.name : password };
}

function refuseOtherCutover(): never {
  throw new MigrationError('migration-conflict', 'A cutover with other inputs is running.', {
    remedy: 'Wait until it ends, or run rollback, which stops it; then run the phase again.',
    retryable: true,
  });
}

/** A job that still runs would write its outcome after it has become void. */
async function endJob(store: MigrationStore, kind: JobKind, { clock, signal }: HostRuntime): Promise<void> {
  await stopJob(
    { store, clock, signal: AbortSignal.any([signal, AbortSignal.timeout(START_WAIT_MS)]) },
    kind,
  );
  store.dropJob(kind);
}

/**
 * Behind a proof the target may already be in use: a sync that starts then could empty it and copy an old source over
 * it, and the next cutover would go on behind the old proof.
 */
function refuseBehindProof(store: MigrationStore): void {
  if (!isCutoverProved(store.directory) && !isCutoverDoubted(store.directory)) return;
  throw new MigrationError(
    'migration-conflict',
    'The cutover of this migration is proved or handed over; a sync would copy over what it handed over.',
    { remedy: 'Run complete-migration again, which goes on from there, or rollback.' },
  );
}

/** After the hand-over a sync would copy an old source over a live target. */
function refuseAfterCompletion(store: MigrationStore, kind: JobKind): void {
  const completedAtMs = store.readMigration()?.completedAtMs;
  if (completedAtMs !== undefined && FORBIDDEN_AFTER_COMPLETION.includes(kind)) {
    throw new MigrationError(
      'migration-completed',
      `The migration was completed at ${new Date(completedAtMs).toISOString()}; ${kind} would undo that.`,
    );
  }
}

/** Until the hand-over the target is to hold what the source holds, and a load of ours would slow the sync down. */
function refuseBeforeCompletion(store: MigrationStore): void {
  if (store.readMigration()?.completedAtMs !== undefined) return;
  throw new MigrationError(
    'migration-conflict',
    'The target has not taken over yet; a benchmark writes to it.',
    {
      remedy: 'Run complete-migration first, or `status` without `benchmark`.',
    },
  );
}
