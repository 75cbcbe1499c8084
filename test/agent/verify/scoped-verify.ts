import { NO_PROGRESS, newJobState, type SiblingJobs } from '../../../src/agent/job/context.ts';
import { compareInScope } from '../../../src/agent/verify/delta.ts';
import type { VerifyScope } from '../../../src/contract/jobs.ts';
import type { VerifyReport } from '../../../src/contract/reports.ts';
import { accessTo, type Place, STILL_CLOCK } from './verify-pair.ts';

/** Two servers, the folder of their migration, and the stage of the sync beside which they are verified. */
export type ScopedVerify = {
  readonly source: Place;
  readonly target: Place;
  readonly directory: string;
  readonly stage?: string;
};

/** Verifies as the job would beside a sync. */
export function verifyInScope(
  scope: VerifyScope,
  { source, target, directory, stage = 'live' }: ScopedVerify,
): Promise<VerifyReport> {
  const state: SiblingJobs['state'] = async () => ({
    ...newJobState('sync', { jobId: 'j', startedAtMs: 0 }),
    progress: { ...NO_PROGRESS, stage },
  });
  return compareInScope(scope, {
    source: accessTo('source', source),
    target: accessTo('target', target),
    migrationId: 'sessions',
    maxDifferences: 0,
    ttlToleranceMs: 1000,
    keyDisplay: 'shown',
    clock: STILL_CLOCK,
    signal: new AbortController().signal,
    directory,
    siblings: { state },
    report: () => {},
  });
}

/** Differing keys as `db key`, sorted. */
export function differingKeys({ differences }: VerifyReport): string[] {
  return [...new Set(differences.listed.map(({ db, key }) => `${db} ${key}`))].sort();
}
