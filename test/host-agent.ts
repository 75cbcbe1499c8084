import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type MigrationStore, openMigrationStore } from '../src/agent/job/store.ts';
import type { Endpoint } from '../src/contract/endpoint.ts';
import { type HostCommand, hostResponseSchema, reverseIdOf } from '../src/contract/host-commands.ts';
import type { JobState } from '../src/contract/job-state.ts';
import type { JobKind, JobRequest } from '../src/contract/jobs.ts';
import { CONTRACT_VERSION } from '../src/contract/version.ts';
import { systemClock } from '../src/core/clock.ts';

/** The built agent. */
export const AGENT = path.join(import.meta.dirname, '../dist/agent/index.js');

const POLL_MS = 50;
const STOP_LIMIT_MS = 20_000;
const MIGRATION = { migrationId: 'proof', repository: 'example/shop' };

/** The jobs of one migration on the host. */
export type HostJobs = {
  /** Starts a job. Throws the answer of the host when it refuses. */
  start(job: JobRequest): Promise<void>;
  /** Resolves when the job's state satisfies the condition; rejects when the job ends before, or the time is over. */
  until(kind: JobKind, condition: (state: JobState) => boolean, limitMs?: number): Promise<JobState>;
  /** Starts a job and waits for its end, which must be a good one. */
  run(job: JobRequest): Promise<void>;
  readonly store: MigrationStore;
};

/** The built agent on a host of its own, as the runner uses it: short commands, and jobs that outlive them. */
export type HostAgent = AsyncDisposable &
  HostJobs & {
    /** Marks the migration complete and begins its way back. */
    completeWithWayBack(): Promise<HostJobs>;
    /** Removes the state of the migration. Throws the answer of the host when it refuses. */
    remove(): Promise<void>;
    /** Marks the way back complete: the old source has taken over again. */
    completeWayBack(): Promise<void>;
    /** Forgets the way back. */
    forgetWayBack(): Promise<void>;
  };

const UNTIL_LIMIT_MS = 120_000;

/** Opens a migration by the replica route between two servers. */
export async function openHostAgent(
  source: Endpoint,
  target: Endpoint,
  systemd?: { readonly bin: string },
): Promise<HostAgent> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-host-'));
  const ask = (place: string, command: HostCommand) => askAgent(place, command, systemd);
  await ask(directory, { command: 'open', ...MIGRATION, route: 'replica', source, target });
  const jobs = jobsOf(directory, MIGRATION.migrationId, ask);
  const wayBackId = { ...MIGRATION, migrationId: reverseIdOf(MIGRATION.migrationId) };
  const wayBack = jobsOf(directory, wayBackId.migrationId, ask);
  return {
    ...jobs,
    completeWithWayBack: async () => {
      await ask(directory, { command: 'complete', ...MIGRATION, reverse: {} });
      return wayBack;
    },
    completeWayBack: () => ask(directory, { command: 'complete', ...wayBackId }),
    remove: () => ask(directory, { command: 'remove', ...MIGRATION }),
    forgetWayBack: () => ask(directory, { command: 'forget', ...wayBackId }),
    [Symbol.asyncDispose]: async () => {
      await endJobs(jobs, () => ask(directory, { command: 'stop', ...MIGRATION, kind: 'sync' }));
      await endJobs(wayBack, () => ask(directory, { command: 'stop', ...wayBackId, kind: 'sync' }));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function endJobs({ store, until }: HostJobs, stopSync: () => Promise<void>): Promise<void> {
  if (store.readState('sync')?.status === 'running') {
    await stopSync();
    await until('sync', ({ status }) => status !== 'running', STOP_LIMIT_MS);
  }
  // It ends by itself, a moment after its cutover.
  if (store.readState('keeper') !== undefined) {
    await until('keeper', ({ status }) => status !== 'running', STOP_LIMIT_MS);
  }
}

type Ask = (directory: string, command: HostCommand) => Promise<void>;

function jobsOf(directory: string, migrationId: string, ask: Ask): HostJobs {
  const store = openMigrationStore(path.join(directory, 'migrations', migrationId));
  const until: HostJobs['until'] = async (kind, condition, limitMs = UNTIL_LIMIT_MS) => {
    const signal = AbortSignal.timeout(limitMs);
    for (;;) {
      const state = store.readState(kind);
      if (state !== undefined && condition(state)) return state;
      if (state !== undefined && state.status !== 'running') {
        throw new Error(`The ${kind} job is ${state.status}: ${state.error?.code} ${state.error?.message}`);
      }
      await systemClock.sleep(POLL_MS, signal).catch(() => {
        throw new Error(`The ${kind} job did not come to it in ${limitMs} ms: ${JSON.stringify(state)}`);
      });
    }
  };
  const start = (job: JobRequest) => ask(directory, { command: 'start', ...MIGRATION, migrationId, job });
  return {
    store,
    start,
    until,
    run: async (job) => {
      await start(job);
      await until(job.kind, ({ status }) => status === 'succeeded');
    },
  };
}

/** One short command; throws what the host refuses it with. */
async function askAgent(
  directory: string,
  command: HostCommand,
  systemd: { readonly bin: string } | undefined,
): Promise<void> {
  const supervisor = systemd === undefined ? ['--supervisor', 'process'] : [];
  const args = [AGENT, 'host', '--state-directory', directory, ...supervisor];
  const env =
    systemd === undefined ? process.env : { ...process.env, PATH: `${systemd.bin}:${process.env.PATH}` };
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
  child.stdin.end(JSON.stringify({ contractVersion: CONTRACT_VERSION, command }));
  const parts: Buffer[] = [];
  for await (const part of child.stdout) parts.push(part);
  const response = hostResponseSchema.parse(JSON.parse(Buffer.concat(parts).toString()));
  if (!response.ok) throw new Error(`${command.command}: ${response.error.code} ${response.error.message}`);
}
