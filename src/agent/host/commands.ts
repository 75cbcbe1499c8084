import { createHash } from 'node:crypto';
import { statfsSync } from 'node:fs';
import { freemem, hostname } from 'node:os';
import { join } from 'node:path';
import type { SecretReference } from '../../contract/endpoint.ts';
import {
  type HostCommand,
  type HostReplyOf,
  type MigrationRecord,
  REPORT_PAGE_BYTES_MAX,
} from '../../contract/host-commands.ts';
import { CONTRACT_VERSION } from '../../contract/version.ts';
import { assertNever } from '../../core/assert.ts';
import type { Clock } from '../../core/clock.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import type { Secret } from '../../core/secret.ts';
import { areFencesRecorded } from '../cutover/fences.ts';
import {
  decideCompletion,
  decideProved,
  grantLease,
  isCutoverProved,
  PROMOTION_LEASES_MS,
  provedStep,
  readDecision,
} from '../cutover/state.ts';
import { stayAway } from '../job/boot.ts';
import { removeIfThere } from '../job/files.ts';
import { requestStop } from '../job/siblings.ts';
import type { Supervisor } from '../job/spawn.ts';
import { JOB_KINDS, type MigrationStore, openMigrationStore } from '../job/store.ts';
import type { SecretUse } from '../secret/reading.ts';
import { publicKeyOf } from '../secret/sealing-key.ts';
import { describeTuning } from '../tune/record.ts';
import { restoreSource } from '../tune/restore.ts';
import { withLock } from './lock.ts';
import { listMigrations, migrationDirectory } from './migrations.ts';
import { openMigration } from './open-migration.ts';
import { type Asker, requirePasswordServers } from './password-servers.ts';
import { startJob } from './start-job.ts';
import { beginWayBack, refuseWhileWayBackOpen, wayBackStore } from './way-back.ts';

/** What a host command works on. */
export type HostRuntime = {
  readonly stateDirectory: string;
  readonly agentPath: string;
  readonly supervisor: Supervisor;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly resolveSecret: (reference: SecretReference, use: SecretUse) => Promise<Secret>;
  /** What the document says through which the host is asked. */
  readonly asker?: Asker;
};

/**
 * Answers one command of the runner; each is safe to send again.
 *
 * @throws what the reply then carries as its error
 */
export async function answerHostCommand(
  command: HostCommand,
  runtime: HostRuntime,
): Promise<HostReplyOf<HostCommand['command']>> {
  if (command.command === 'hello') return hello(runtime);
  const store = openMigrationStore(migrationDirectory(runtime, command.migrationId));
  return withLock(join(runtime.stateDirectory, 'lock'), runtime, async () => {
    refuseOtherRepository(store.readMigration(), command);
    requirePasswordServers(command, store, runtime.asker ?? {});
    return answer(command, store, runtime);
  });
}

type MigrationCommand = Exclude<HostCommand, { command: 'hello' }>;

async function answer(command: MigrationCommand, store: MigrationStore, runtime: HostRuntime) {
  switch (command.command) {
    case 'sealing-key':
      return { publicKeyBase64: publicKeyOf(store.directory) };
    case 'open':
      return openMigration(command, store, runtime);
    case 'start':
      return startJob(command, store, runtime);
    case 'status':
      return status(store);
    case 'stop': {
      requestStop(store, command.kind);
      const state = store.readState(command.kind);
      return state === undefined ? {} : { state };
    }
    case 'report':
      return reportPage(command, store);
    case 'hand-over':
      return { decided: decideHandOver(command, store, runtime) };
    case 'complete': {
      const record = requireMigration(store);
      if (record.completedAtMs === undefined) refuseUnproved(store, record);
      const migration = { ...record, completedAtMs: record.completedAtMs ?? runtime.clock.nowMs() };
      store.writeMigration(migration);
      if (command.reverse === undefined) return { migration };
      return { migration, reverse: await beginWayBack(store, { migration, sync: command.reverse }, runtime) };
    }
    case 'forget':
      refuseWhileRunning(store);
      refuseCompleted(store);
      store.forgetMigration();
      return { forgotten: true };
    case 'remove':
      refuseWhileRunning(store);
      refuseWhileOpen(store);
      refuseWhileWayBackOpen(store, command.migrationId);
      return removeMigration(command, store, runtime);
    default:
      return assertNever(command);
  }
}

function hello({ stateDirectory, supervisor }: HostRuntime): HostReplyOf<'hello'> {
  const { bavail, bsize } = statfsSync(stateDirectory);
  return {
    contractVersion: CONTRACT_VERSION,
    nodeVersion: process.version,
    hostname: hostname(),
    supervisor,
    freeDiskBytes: bavail * bsize,
    freeMemoryBytes: freemem(),
  };
}

function status(store: MigrationStore): HostReplyOf<'status'> {
  const migration = store.readMigration();
  const jobs = JOB_KINDS.flatMap((kind) => store.readState(kind) ?? []);
  const tuning = describeTuning(store.directory);
  // A hand-over that was decided and then withdrawn is no more than a fence that is being lifted.
  const cutover =
    readDecision(store.directory)?.decision === 'lift' ? undefined : provedStep(store.directory);
  return {
    ...(migration === undefined ? {} : { migration }),
    jobs,
    ...(cutover === undefined ? {} : { cutover }),
    ...(tuning === undefined ? {} : { tuning }),
  };
}

function reportPage(
  { kind, jobId, offset }: Extract<HostCommand, { command: 'report' }>,
  store: MigrationStore,
): HostReplyOf<'report'> {
  const content = store.readReportFile(kind);
  const actual = store.readState(kind)?.jobId;
  if (content === undefined || actual !== jobId) {
    throw new MigrationError('job-unknown', `There is no report of the ${kind} job ${jobId} on this host.`);
  }
  return {
    totalBytes: content.length,
    sha256: createHash('sha256').update(content).digest('hex'),
    dataBase64: content.subarray(offset, offset + REPORT_PAGE_BYTES_MAX).toString('base64'),
  };
}

/**
 * Restores the source first, where a sync has left settings. Once the target has taken over, the source may be gone
 * for good, and what is left to restore there is only told.
 */
async function removeMigration(
  command: Extract<HostCommand, { command: 'remove' }>,
  store: MigrationStore,
  runtime: HostRuntime,
): Promise<HostReplyOf<'remove'>> {
  const { directory } = store;
  let notRestored: string | undefined;
  try {
    await restoreSource({
      ...runtime,
      directory,
      resolveSecret: (reference, endpoint) =>
        runtime.resolveSecret(reference, { endpoint, sealedFor: { ...command, directory } }),
    });
  } catch (error) {
    if (store.readMigration()?.completedAtMs === undefined) throw error;
    notRestored = errorText(error);
  }
  const keeper = store.readState('keeper');
  if (keeper !== undefined) await stayAway({ ...command, ...keeper });
  const removed = removeState(store, command.migrationId, runtime);
  return { removed, ...(notRestored === undefined ? {} : { notRestored }) };
}

function removeState(store: MigrationStore, migrationId: string, runtime: HostRuntime): string[] {
  const removed: string[] = [];
  const remove = (path: string) => {
    removeIfThere(path);
    removed.push(path);
  };
  remove(store.directory);
  const wayBack = wayBackStore(store, migrationId);
  if (wayBack.readMigration()?.wayBackOf === migrationId) remove(wayBack.directory);
  // The agent stays as long as another migration on this host may still need it.
  if (listMigrations(runtime).length === 0) {
    remove(join(runtime.stateDirectory, 'migrations'));
    remove(join(runtime.stateDirectory, 'agent'));
  }
  return removed;
}

/** The lease first: the keeper must not see a decision that nobody seems to stand behind. */
function decideHandOver(
  { isAccepted = false }: Extract<HostCommand, { command: 'hand-over' }>,
  { directory }: MigrationStore,
  { clock }: HostRuntime,
): boolean {
  grantLease(directory, clock.nowMs() + PROMOTION_LEASES_MS[isAccepted ? 'accepted' : 'decided']);
  return decideProved(directory);
}

/** Between the proof and this mark somebody may have rolled the migration back, or the keeper withdrawn the hand-over. */
function refuseUnproved(store: MigrationStore, { route }: MigrationRecord): void {
  const isUndone = !isCutoverProved(store.directory) || store.readState('rollback')?.status === 'running';
  if (!isUndone && (route !== 'native' || decideCompletion(store.directory))) return;
  throw new MigrationError('migration-conflict', 'The cutover was undone before it was marked complete.', {
    remedy: 'Look at `status`, and run one phase at a time.',
  });
}

function refuseCompleted(store: MigrationStore): void {
  const completedAtMs = store.readMigration()?.completedAtMs;
  if (completedAtMs === undefined) return;
  throw new MigrationError(
    'migration-completed',
    `The migration was completed at ${new Date(completedAtMs).toISOString()}.`,
  );
}

function refuseWhileRunning(store: MigrationStore): void {
  const running = JOB_KINDS.filter((kind) => store.readState(kind)?.status === 'running');
  if (running.length > 0) {
    throw new MigrationError(
      'migration-conflict',
      `The migration still has running jobs on this host: ${running.join(', ')}.`,
      { remedy: 'Run `rollback` or `complete-migration` first.', retryable: true },
    );
  }
}

/**
 * A migration that is not over still needs its state: the settings that a fence replaced are recorded nowhere else, and
 * on the native route ElastiCache goes on although no job runs here.
 */
function refuseWhileOpen(store: MigrationStore): void {
  const migration = store.readMigration();
  if (migration?.completedAtMs !== undefined) return;
  if (migration === undefined && !areFencesRecorded(store.directory)) return;
  throw new MigrationError('migration-conflict', 'The migration is neither completed nor rolled back.', {
    remedy: 'Run `complete-migration` or `rollback` first, then `cleanup`.',
  });
}

function refuseOtherRepository(
  migration: MigrationRecord | undefined,
  { repository, migrationId }: { repository: string; migrationId: string },
): void {
  if (migration !== undefined && migration.repository !== repository) {
    throw new MigrationError(
      'migration-conflict',
      `The migration ${migrationId} on this host belongs to ${migration.repository}, not to ${repository}.`,
    );
  }
}

function requireMigration(store: MigrationStore): MigrationRecord {
  const migration = store.readMigration();
  if (migration === undefined) {
    throw new MigrationError('migration-unknown', `There is no migration in ${store.directory}.`);
  }
  return migration;
}
