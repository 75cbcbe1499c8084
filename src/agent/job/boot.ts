import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { JobKind } from '../../contract/jobs.ts';
import { removeIfThere, writeFileAtomically } from './files.ts';
import type { JobProcess } from './spawn.ts';

/*
 * What outlives a boot. The units of jobs are transient and go down with the host; a job that must not stay away has a
 * unit of its own beside, which does nothing but start it again at a boot, for as long as the job runs.
 */

/** Jobs that come back: behind a fence nobody else may be there to lift it. */
const RETURNING: ReadonlySet<JobKind> = new Set(['keeper']);
/** Where an administrator's units lie, which are there after a boot. */
const PERSISTENT = '/etc/systemd/system';

const run = promisify(execFile);

/** Has systemd start the job again at a boot. Throws what systemd or the disk refused. */
export async function returnAtBoot(job: JobProcess): Promise<void> {
  if (!RETURNING.has(job.kind)) return;
  const directory = await unitDirectory();
  if (directory === undefined) return;
  const command = [process.execPath, job.agentPath, 'resume', job.kind, job.migrationDirectory];
  const unit = [
    '[Unit]',
    `Description=valkey-migrate ${job.kind} of ${job.migrationId}, again after a boot`,
    'Wants=network-online.target',
    'After=network-online.target',
    '',
    '[Service]',
    'Type=oneshot',
    `ExecStart=${command.map(quoted).join(' ')}`,
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ].join('\n');
  writeFileAtomically(join(directory, unitName(job)), unit);
  await run('systemctl', ['--quiet', 'enable', unitName(job)]);
}

/** The job is over, and nothing of it comes back. What cannot be removed is found to be over at the next boot. */
export async function stayAway(job: Pick<JobProcess, 'migrationId' | 'kind' | 'jobId'>): Promise<void> {
  if (!RETURNING.has(job.kind)) return;
  try {
    const directory = await unitDirectory();
    if (directory === undefined || !existsSync(join(directory, unitName(job)))) return;
    await run('systemctl', ['--quiet', 'disable', unitName(job)]);
    removeIfThere(join(directory, unitName(job)));
  } catch {
    // No systemd here, or it does not let us.
  }
}

/** Undefined where systemd does not say that it has such a folder. */
async function unitDirectory(): Promise<string | undefined> {
  const { stdout } = await run('systemctl', ['show', '--property=UnitPath']);
  const paths = stdout.trim().replace(/^UnitPath=/, '');
  return paths.split(/\s+/).find((path) => path.endsWith(PERSISTENT));
}

function unitName({ migrationId, kind, jobId }: Pick<JobProcess, 'migrationId' | 'kind' | 'jobId'>): string {
  return `valkey-migrate-${migrationId}-${kind}-${jobId}-boot.service`;
}

/** As systemd.service(5) reads a command line: quotes, specifiers by `%`, variables by `$`. */
function quoted(argument: string): string {
  const escaped = argument.replace(/[\\"]/g, '\\$&').replaceAll('%', '%%').replaceAll('$', '$$$$');
  return `"${escaped}"`;
}
