import type { JobKind } from '../../contract/jobs.ts';
import { stayAway } from './boot.ts';
import { type Launch, launchJob } from './launch.ts';

/**
 * Starts a job again that went down with the host, with what it was asked; one that had ended stays away.
 *
 * @throws job-dead when it does not come up, job-unknown, command-failed, host-state-unwritable
 */
export async function resumeJob(kind: JobKind, place: Omit<Launch, 'job'>): Promise<void> {
  const { migrationId, repository, hostId, request, jobId } = place.store.readJobFile(kind);
  if (place.store.readState(kind)?.status !== 'dead') return stayAway({ migrationId, kind, jobId });
  await launchJob({ ...place, job: { migrationId, repository, hostId, request } });
}
