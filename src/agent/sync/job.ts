import type { Progress } from '../../contract/job-state.ts';
import type { JobRequestOf } from '../../contract/jobs.ts';
import type { SyncReport } from '../../contract/reports.ts';
import { RateLimit } from '../../core/rate-limit.ts';
import type { Job, JobContext } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { SPOOL_BYTES_MAX } from '../redis/spool.ts';
import { TouchedKeys } from '../touched/touched-keys.ts';
import { openTuning } from '../tune/source-tuning.ts';
import { CopyBudget } from './copy-budget.ts';
import { Meter, type SyncLimits } from './meter.ts';
import { moduleCommands } from './module-commands.ts';
import { publishCanaries } from './publish-canaries.ts';
import { ShardMeters } from './shards/shard-meters.ts';
import { isSourceCluster, type ShardsOptions, syncShards } from './shards/sync-shards.ts';
import { SourceFeed } from './source-feed.ts';
import { makeReport, syncUntilStopped } from './until-stopped.ts';

const REPORT_MS = 250;

/**
 * The `replica` route: a full copy by PSYNC, then the command stream, until the job is asked to stop.
 *
 * Stopped while it applies the stream it resolves with its report; stopped before that it throws the signal's reason.
 * In both cases the claim in the target says what the next run begins with.
 *
 * @throws sync-lost when a connection stays lost, or after too many full copies; route-replica-denied, target-not-empty, migration-conflict,
 *   target-read-only, target-refused-command, target-memory-too-small, target-databases-too-few,
 *   source-data-unsupported, source-version-unsupported, source-cluster-unsupported, source-slots-moved,
 *   input-contradictory, spool-full, spool-failed, and the codes of a connection that cannot be made in the beginning
 */
export const runSync: Job<'sync'> = async (request, context) => {
  const { migrationId, repository, hostId, resolveSecret } = context;
  const source = await resolveAccess('source', request.source, resolveSecret);
  const target = await resolveAccess('target', request.target, resolveSecret);
  const syncing: Syncing = {
    source,
    target,
    targetNodes: [],
    flushTarget: request.flushTarget,
    hashFieldTtl: request.hashFieldTtl ?? 'refuse',
    keyDisplay: request.keyDisplay ?? 'hashed',
    holder: { migrationId, repository, hostId },
    limits: limitsOf(request, context),
    tuneSource: request.tuneSource ?? false,
    spoolBytesMax: request.spoolBytesMax ?? SPOOL_BYTES_MAX,
    context,
  };
  if (await isSourceCluster(source, context)) return syncCluster(syncing);
  return syncServer(syncing, request);
};

type Syncing = Omit<ShardsOptions, 'meters'>;

async function syncCluster(syncing: Syncing): Promise<SyncReport> {
  const meters = new ShardMeters();
  const done = new AbortController();
  const reporting = reportProgress(meters, syncing.context, done.signal);
  try {
    return await syncShards({ ...syncing, meters });
  } finally {
    done.abort();
    await reporting;
  }
}

async function syncServer(syncing: Syncing, request: JobRequestOf<'sync'>): Promise<SyncReport> {
  const { source, limits, spoolBytesMax, context } = syncing;
  const meter = new Meter(context.clock, limits);
  const locate = async () => source;
  const tuning = openTuning({
    ...context,
    isWanted: syncing.tuneSource,
    source: request.source,
    access: source,
    sourceBytesPerSecondMax: request.sourceBytesPerSecondMax,
    note: (text) => meter.note(text),
  });
  const done = new AbortController();
  const reporting = reportProgress(meter, context, done.signal);
  const { clock, log } = context;
  const signal = AbortSignal.any([context.signal, done.signal]);
  const canaries = publishCanaries({ locate, meter, clock, log, signal });
  using touched = new TouchedKeys({ directory: context.directory, log });
  const answering = touched.answer({ clock, signal });
  try {
    await using feed = new SourceFeed({ locate, spoolBytesMax, meter, context });
    await syncUntilStopped({
      ...syncing,
      locateSource: locate,
      tuning,
      moduleCommands: moduleCommands(undefined),
      meter,
      feed,
      copies: new CopyBudget(context.clock),
      touched,
    });
    return makeReport(meter);
  } finally {
    await tuning.end();
    done.abort();
    await Promise.all([reporting, canaries, answering]);
  }
}

function limitsOf(request: JobRequestOf<'sync'>, { clock }: JobContext): SyncLimits {
  const { sourceBytesPerSecondMax: source, targetCommandsPerSecondMax: target } = request;
  return {
    ...(source === undefined ? {} : { source: new RateLimit({ perSecond: source, clock }) }),
    ...(target === undefined ? {} : { target: new RateLimit({ perSecond: target, clock }) }),
  };
}

async function reportProgress(
  meter: { progress(): Progress },
  context: JobContext,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    context.report(meter.progress());
    await context.clock.sleep(REPORT_MS, signal).catch(() => {
      // The sync is over: one last report follows.
    });
  }
  context.report(meter.progress());
}
