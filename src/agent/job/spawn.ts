import { execFile, spawn, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import type { JobKind } from '../../contract/jobs.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { returnAtBoot } from './boot.ts';
import { heapOptions } from './heap.ts';

/** How a job is kept alive once the command that started it has ended. */
export type Supervisor = 'systemd' | 'process';

/** States in which systemd takes a unit. Source: systemctl(1), is-system-running. */
const SYSTEMD_STATES: ReadonlySet<string> = new Set([
  'initializing',
  'starting',
  'running',
  'degraded',
  'maintenance',
]);

/** systemd where it runs and we may use it; a detached process elsewhere, such as in a container. */
export function availableSupervisor(): Supervisor {
  if (process.getuid?.() !== 0) return 'process';
  const { stdout } = spawnSync('systemctl', ['is-system-running'], { encoding: 'utf8', timeout: 5000 });
  return SYSTEMD_STATES.has(stdout?.trim() ?? '') ? 'systemd' : 'process';
}

/** What to run: this agent, with the job folder as its only argument. */
export type JobProcess = {
  readonly migrationId: string;
  readonly kind: JobKind;
  readonly jobId: string;
  readonly migrationDirectory: string;
  /** Path of the agent's bundle. */
  readonly agentPath: string;
};

/**
 * Starts the process of a job so that it outlives this one.
 *
 * SSM kills the process group of a command without warning when the command is cancelled or times out, and keeps the
 * command open while a child holds its output: so the job gets a unit or a session of its own, and no open pipe.
 *
 * @throws command-failed when systemd refuses the unit.
 */
export async function spawnJob(job: JobProcess, supervisor: Supervisor): Promise<void> {
  const command = [...heapOptions(job.kind), job.agentPath, 'job', job.kind, job.migrationDirectory];
  if (supervisor === 'process') {
    const child = spawn(process.execPath, command, { detached: true, stdio: 'ignore', cwd: '/' });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.unref();
    return;
  }
  await returnAtBoot(job).catch(() => {
    // A host that does not allow it does without: the next run of a phase finds the job dead, as elsewhere.
  });
  // With the id: the unit of a job that was just stopped may still be ending.
  const unit = `valkey-migrate-${job.migrationId}-${job.kind}-${job.jobId}`;
  try {
    await promisify(execFile)('systemd-run', [
      `--unit=${unit}`,
      `--description=valkey-migrate ${job.kind} of ${job.migrationId}`,
      '--collect',
      '--quiet',
      '--property=KillSignal=SIGTERM',
      '--property=OOMScoreAdjust=-500',
      process.execPath,
      ...command,
    ]);
  } catch (error) {
    throw new MigrationError('command-failed', `systemd refused the unit ${unit}: ${errorText(error)}`, {
      cause: error,
    });
  }
}
