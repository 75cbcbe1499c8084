import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import type { BenchmarkReport } from '../../contract/reports.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { type Job, type JobContext, NO_PROGRESS } from '../job/context.ts';
import { summarizeRoundTrips, timeRequest } from '../preflight/latency.ts';
import { resolveAccess } from '../redis/access.ts';
import { readClaim } from '../redis/checkpoint.ts';
import type { Client } from '../redis/client.ts';
import { openPrimaries, type Primaries } from '../redis/cluster/primaries.ts';
import { benchmarkKey } from '../redis/reserved-key.ts';

const KEYS = 1000;
const VALUE_BYTES = 128;
/** Requests that are under way at a time. */
const IN_FLIGHT = 16;
/** The bounds of the writes, and of the reads: whichever is reached first. */
const COMMANDS_MAX = 10_000;
const PART_MS = 3000;
/** If the host dies before it removes its keys, the target does by itself. */
const KEY_LIFE_MS = 60_000;

/**
 * Writes and reads keys of its own on the target for some seconds, and removes them.
 *
 * Only for a target that has been handed over: that the migration is completed is checked before this job starts, and
 * here that no other one holds the target.
 *
 * @throws migration-conflict, the codes of the connection to the target, and the signal's reason
 */
export const runBenchmark: Job<'benchmark'> = async ({ target }, context) => {
  const access = await resolveAccess('target', target, context.resolveSecret);
  await using primaries = await openPrimaries(access);
  await refuseClaimed(primaries);
  const keys = ownKeys(primaries);
  let removed = false;
  let parts: Pick<BenchmarkReport, 'writes' | 'reads'>;
  try {
    parts = await writeAndRead(keys, context);
  } finally {
    removed = await removeKeys(keys, context);
  }
  return {
    kind: 'benchmark',
    address: access.address,
    keys: keys.length,
    valueBytes: VALUE_BYTES,
    inFlight: IN_FLIGHT,
    ...parts,
    removed,
  };
};

/** A migration of another host would find the keys among its own data. */
async function refuseClaimed({ home }: Primaries): Promise<void> {
  const claim = await readClaim(home);
  if (claim === undefined) return;
  throw new MigrationError(
    'migration-conflict',
    `The migration ${claim.migrationId} of ${claim.repository} holds the target; a benchmark would write beside its sync.`,
  );
}

type OwnKey = { readonly client: Client; readonly name: Buffer };

/** Spread evenly over the primaries, each in a slot that is theirs. */
function ownKeys({ all, topology }: Primaries): OwnKey[] {
  const run = randomBytes(8).toString('hex');
  return Array.from({ length: KEYS }, (_, number) => {
    const index = number % all.length;
    const client = all[index];
    if (client === undefined) throw new Error('a target without a primary');
    return { client, name: benchmarkKey(topology?.nodes[index]?.ranges[0]?.[0] ?? 0, `${run}:${number}`) };
  });
}

async function writeAndRead(
  keys: readonly OwnKey[],
  context: JobContext,
): Promise<Pick<BenchmarkReport, 'writes' | 'reads'>> {
  const value = randomBytes(VALUE_BYTES);
  context.report({ ...NO_PROGRESS, stage: 'writing' });
  const writes = await load(
    keys,
    ({ client, name }) => client.call('SET', name, value, 'PX', KEY_LIFE_MS),
    context,
  );
  context.report({ ...NO_PROGRESS, stage: 'reading', keys: keys.length });
  // A slow target has not got all of them by now.
  const written = keys.slice(0, writes.roundTrips.count);
  const reads = await load(written, ({ client, name }) => client.call('GET', name), context);
  return { writes, reads };
}

/** Sends a command for one key after the other, in turns, from several lanes at once. */
async function load(
  keys: readonly OwnKey[],
  send: (key: OwnKey) => Promise<unknown>,
  { clock, signal }: JobContext,
): Promise<BenchmarkReport['writes']> {
  const untilMs = clock.nowMs() + PART_MS;
  const startedAt = performance.now();
  const timesMs: number[] = [];
  let sent = 0;
  let isBroken = false;
  const lane = async () => {
    while (!isBroken && sent < COMMANDS_MAX && clock.nowMs() < untilMs) {
      signal.throwIfAborted();
      const key = keys[sent % keys.length];
      if (key === undefined) return;
      sent += 1;
      timesMs.push(await timeRequest(() => send(key)));
    }
  };
  // All of them, also when one fails: what is still written after its keys are removed would stay.
  const lanes = await Promise.allSettled(
    Array.from({ length: IN_FLIGHT }, () =>
      lane().catch((error: unknown) => {
        isBroken = true;
        throw error;
      }),
    ),
  );
  for (const end of lanes) if (end.status === 'rejected') throw end.reason;
  return { durationMs: performance.now() - startedAt, roundTrips: summarizeRoundTrips(timesMs) };
}

/** Whether all are gone; what could not be removed expires soon. */
async function removeKeys(keys: readonly OwnKey[], context: JobContext): Promise<boolean> {
  context.report({ ...NO_PROGRESS, stage: 'removing' });
  const ends = await Promise.allSettled(keys.map(({ client, name }) => client.call('DEL', name)));
  const failure = ends.find((end) => end.status === 'rejected');
  if (failure === undefined) return true;
  context.log(`keys of the benchmark are left to expire: ${errorText(failure.reason)}`);
  return false;
}
