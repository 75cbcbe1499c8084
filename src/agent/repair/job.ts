import type { JobRequestOf } from '../../contract/jobs.ts';
import type { Job, JobContext } from '../job/context.ts';
import { type Access, resolveAccess } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { closeEvery } from '../redis/cluster/open-every.ts';
import { readServerInfo } from '../redis/server-info.ts';
import { holdsHashFieldTtls, readTargetCommands } from '../sync/target-commands.ts';
import { runVerify } from '../verify/job.ts';
import type { Pair } from '../verify/key-comparison.ts';
import type { Mender } from '../verify/mender.ts';
import type { Suspect } from '../verify/suspects.ts';
import { type Lane, openLane } from './lanes.ts';
import { assertMayRepair } from './may-repair.ts';
import { mendFunctions } from './mend-functions.ts';
import { type KeyMender, mendKeys } from './mend-keys.ts';

type Repair = JobRequestOf<'verify'> & { readonly repair: NonNullable<JobRequestOf<'verify'>['repair']> };

/** Lanes beside one another: in a cluster a transaction has one slot, and each waits for the sync by itself. */
const LANES_OF_SERVER = 2;
const LANES_OF_CLUSTER = 16;

/**
 * Verifies, writes on the target anew what differs, and verifies that again. The source is only read.
 *
 * @throws repair-refused, secret-unreadable, and the codes of the comparison and of the connections
 */
export async function runVerifyAndRepair(request: Repair, context: JobContext): ReturnType<Job<'verify'>> {
  const source = await resolveAccess('source', request.source, context.resolveSecret);
  const target = await resolveAccess('target', request.target, context.resolveSecret);
  await assertMayRepair({ source, target }, context);
  const mender: Mender = {
    mode: request.repair,
    mendKeys: (pair, suspects) => mendAll({ request, context, target, pair, suspects }),
    mendFunctions: (pair) => mendFunctions(pair, request.repair),
  };
  return await runVerify(request, context, mender);
}

type MendAll = {
  readonly request: Repair;
  readonly context: JobContext;
  readonly target: Access;
  readonly pair: Pair;
  readonly suspects: Iterable<Suspect>;
};

async function mendAll({ request, context, target, pair, suspects }: MendAll) {
  const lanes: Lane[] = [await openLane(target, context)];
  try {
    const count = lanes[0]?.isCluster ? LANES_OF_CLUSTER : LANES_OF_SERVER;
    while (lanes.length < count) lanes.push(await openLane(target, context));
    const form = await readForm(request, target, pair);
    return await mendKeys({ pair, mode: request.repair, lanes, form }, suspects);
  } finally {
    await closeEvery(lanes);
  }
}

async function readForm(
  { hashFieldTtl = 'refuse' }: Repair,
  target: Access,
  { target: session }: Pair,
): Promise<KeyMender['form']> {
  await using client = await openClient(target);
  const { kind } = await readServerInfo(client);
  return {
    hasHashFieldTtls: holdsHashFieldTtls(await readTargetCommands(client), kind),
    hashFieldTtl,
    areExpiriesExact: !session.capabilities.paddedExpiry,
  };
}
