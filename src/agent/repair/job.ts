import type { JobRequestOf } from '../../contract/jobs.ts';
import type { Job, JobContext } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { runVerify } from '../verify/job.ts';
import { assertMayRepair } from './may-repair.ts';
import { createMender } from './mender.ts';

type Repair = JobRequestOf<'verify'> & { readonly repair: NonNullable<JobRequestOf<'verify'>['repair']> };

/**
 * Verifies, writes on the target anew what differs, and verifies that again. The source is only read.
 *
 * @throws repair-refused, secret-unreadable, and the codes of the comparison and of the connections
 */
export async function runVerifyAndRepair(request: Repair, context: JobContext): ReturnType<Job<'verify'>> {
  const source = await resolveAccess('source', request.source, context.resolveSecret);
  const target = await resolveAccess('target', request.target, context.resolveSecret);
  await assertMayRepair({ source, target }, context);
  const { repair: mode, hashFieldTtl } = request;
  const mender = createMender({ mode, hashFieldTtl, target, clock: context.clock, signal: context.signal });
  return await runVerify(request, context, mender);
}
