import type { JobRequestOf } from '../../contract/jobs.ts';
import type { SyncReport } from '../../contract/reports.ts';
import { RateLimit } from '../../core/rate-limit.ts';
import type { Job, JobContext } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { SPOOL_BYTES_MAX } from '../redis/spool.ts';
import { TouchedKeys } from '../touched/touched-keys.ts';
import { openTuning } from '../tune/source-tuning.ts';
import { CopyBudget } from './copy-budget.ts';
import { HistoryLost } from './feeding.ts';
import { Meter, type SyncLimits } from './meter.ts';
import { moduleCommands } from './module-commands.ts';
import { isPassing, Patience } from './patience.ts';
import { publishCanaries } from './publish-canaries.ts';
import { runSession, type SyncWorld } from './session.ts';
import { SourceFeed } from './source-feed.ts';

const REPORT_MS = 250;

/**
 * The `replica` route: a full copy by PSYNC, then the command stream, until the job is asked to stop.
 *
 * Stopped while it applies the stream it resolves with its report; stopped before that it throws the signal's reason.
 * In both cases the claim in the target says what the next run begins with.
 *
 * @throws sync-lost when a connection stays lost, or after too many full copies; route-replica-denied, target-not-empty, migration-conflict,
 *   target-read-only, target-refused-command, target-memory-too-small, target-databases-too-few,
 *   source-data-unsupported, source-version-unsupported, source-cluster-unsupported,
 *   input-contradictory, spool-full, spool-failed, and the codes of a connection that cannot be made in the beginning
 */
export const runSync: Job<'sync'> = async (request, context) => {
  const { migrationId, repository, hostId, resolveSecret } = context;
  const meter = new Meter(context.clock, limitsOf(request, context));
  const source = await resolveAccess('source', request.source, resolveSecret);
  const target = await resolveAccess('target', request.target, resolveSecret);
  const spoolBytesMax = request.spoolBytesMax ?? SPOOL_BYTES_MAX;
  const tuning = openTuning({
    ...context,
    isWanted: request.tuneSource ?? false,
    source: request.source,
    access: source,
    sourceBytesPerSecondMax: request.sourceBytesPerSecondMax,
    note: (text) => meter.note(text),
  });
  const done = new AbortController();
  const reporting = reportProgress(meter, context, done.signal);
  const { clock, log } = context;
  const signal = AbortSignal.any([context.signal, done.signal]);
  const canaries = publishCanaries({ access: source, meter, clock, log, signal });
  using touched = new TouchedKeys({ directory: context.directory, log });
  const answering = touched.answer({ clock, signal });
  try {
    await using feed = new SourceFeed({ source, spoolBytesMax, meter, context });
    await syncUntilStopped({
      source,
      target,
      tuning,
      targetNodes: [],
      flushTarget: request.flushTarget,
      hashFieldTtl: request.hashFieldTtl ?? 'refuse',
      keyDisplay: request.keyDisplay ?? 'hashed',
      moduleCommands: moduleCommands(undefined),
      holder: { migrationId, repository, hostId },
      meter,
      context,
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
};

function limitsOf(request: JobRequestOf<'sync'>, { clock }: JobContext): SyncLimits {
  const { sourceBytesPerSecondMax: source, targetCommandsPerSecondMax: target } = request;
  return {
    ...(source === undefined ? {} : { source: new RateLimit({ perSecond: source, clock }) }),
    ...(target === undefined ? {} : { target: new RateLimit({ perSecond: target, clock }) }),
  };
}

/** Runs one session after the other, as long as what ends them passes. */
async function syncUntilStopped(world: SyncWorld): Promise<void> {
  const { context, meter, feed, copies } = world;
  const patience = new Patience(context.clock);
  for (;;) {
    const begunBefore = meter.streamsStarted + meter.copiesStarted;
    try {
      return await runSession(world);
    } catch (error) {
      const isAnew = isPassing(error) || error instanceof HistoryLost;
      if (context.signal.aborted && (isAnew || error === context.signal.reason)) {
        return endStopped(meter, context);
      }
      if (!feed.hasBegun || !isAnew) throw error;
      copies.reason = error.message;
      if (meter.streamsStarted + meter.copiesStarted > begunBefore) patience.renew();
      if (error instanceof HistoryLost) continue;
      meter.reconnects += 1;
      meter.note(`reconnecting: ${error.code}`);
      context.log(`reconnecting after ${error.code}: ${error.message}`);
      await patience.wait(error, context.signal).catch((reason: unknown) => {
        // Asked to stop meanwhile: that is looked at below.
        if (!context.signal.aborted) throw reason;
      });
      if (context.signal.aborted) return endStopped(meter, context);
    }
  }
}

/** A sync that stands at a checkpoint has something to report; one without a whole copy is stopped without result. */
function endStopped(meter: Meter, { signal }: JobContext): void {
  if (meter.checkpoint === undefined) throw signal.reason;
}

async function reportProgress(meter: Meter, context: JobContext, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    context.report(meter.progress());
    await context.clock.sleep(REPORT_MS, signal).catch(() => {
      // The sync is over: one last report follows.
    });
  }
  context.report(meter.progress());
}

function makeReport(meter: Meter): SyncReport {
  const { checkpoint } = meter;
  return {
    kind: 'sync',
    ...(checkpoint === undefined ? {} : { checkpoint }),
    copiedKeys: meter.copiedKeys,
    copiedBytes: meter.copiedBytes,
    copyDurationMs: meter.copyDurationMs,
    appliedCommands: meter.appliedCommands,
    reconnects: meter.reconnects,
    ...(meter.reconciles === 0 ? {} : { reconciles: meter.reconciles, removedKeys: meter.removedKeys }),
    skipped: meter.skips?.report() ?? [],
  };
}
