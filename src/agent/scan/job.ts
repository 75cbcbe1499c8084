import type { JobRequestOf } from '../../contract/jobs.ts';
import { isMigrationError, type MigrationError } from '../../core/errors.ts';
import { RateLimit } from '../../core/rate-limit.ts';
import { holdOldFence, originOf } from '../cutover/way-back.ts';
import type { Job, JobContext } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { CopyBudget } from '../sync/copy-budget.ts';
import type { SyncLimits } from '../sync/meter.ts';
import { isPassing, Patience } from '../sync/patience.ts';
import { TouchedKeys } from '../touched/touched-keys.ts';
import { SCAN_SETTINGS } from '../tune/plan.ts';
import { openTuning } from '../tune/source-tuning.ts';
import { ScanMeter } from './scan-meter.ts';
import { runScanSession, type ScanWorld } from './session.ts';
import { StreamGroups } from './stream-groups.ts';

const REPORT_MS = 250;
/** A client that flushes a database every hour is no reason to give up: a pass costs the source no fork. */
const PASSES = {
  perDayMax: 1000,
  remedy:
    'Give the source a larger output buffer for subscribers (client-output-buffer-limit pubsub), or run start-migration at a quieter time.',
};

/**
 * The `scan` route: subscribes to the source's keyspace notifications, copies every key, then follows what changes,
 * until the job is asked to stop. It needs neither PSYNC nor CONFIG nor scripts.
 *
 * Started again it goes over everything, and removes what the source has no more.
 *
 * @throws sync-lost when a connection stays lost, or after too many passes, and the codes of {@link runScanSession}
 */
export const runScanSync: Job<'sync'> = async (request, context) => {
  const { migrationId, repository, hostId, resolveSecret, clock } = context;
  const source = await resolveAccess('source', request.source, resolveSecret);
  const target = await resolveAccess('target', request.target, resolveSecret);
  const meter = new ScanMeter(clock, limitsOf(request, context));
  const done = new AbortController();
  const reporting = reportProgress(meter, context, done.signal);
  const { directory, log } = context;
  const tuning = openTuning({
    ...context,
    isWanted: request.tuneSource ?? false,
    only: SCAN_SETTINGS,
    source: request.source,
    access: source,
    sourceBytesPerSecondMax: request.sourceBytesPerSecondMax,
    note: (text) => meter.note(text),
  });
  const streams = new StreamGroups();
  using touched = new TouchedKeys({ directory, log, onBegin: () => streams.touchAll(touched) });
  const signal = AbortSignal.any([context.signal, done.signal]);
  const answering = touched.answer({ clock, signal });
  try {
    await syncUntilStopped({
      source,
      target,
      flushTarget: request.flushTarget,
      hashFieldTtl: request.hashFieldTtl ?? 'refuse',
      keyDisplay: request.keyDisplay ?? 'hashed',
      holder: { migrationId, repository, hostId, route: 'scan' },
      meter,
      context,
      copies: new CopyBudget(clock, PASSES),
      touched,
      streams,
      tuning,
      sourceNodes: [],
      sourceRunId: undefined,
      ...(originOf(directory) === undefined ? {} : { holdTarget: () => holdOldFence(context, log) }),
    });
    return meter.report();
  } finally {
    await tuning.end();
    done.abort();
    await Promise.all([reporting, answering]);
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
async function syncUntilStopped(world: ScanWorld): Promise<void> {
  const { context, meter, copies } = world;
  const patience = new Patience(context.clock);
  let wasFollowing = false;
  for (;;) {
    try {
      await runScanSession(world);
    } catch (error) {
      const isFollowing = meter.stage === 'live' || meter.stage === 'catching-up';
      if (isFollowing) patience.renew();
      wasFollowing ||= isFollowing;
      if (context.signal.aborted) {
        // All that was on its way has arrived, or is written anew by the next sync.
        if (isFollowing) return;
        throw context.signal.reason;
      }
      // In the beginning there is nothing to lose: whoever starts it sees at once what is wrong.
      const hasBegun = wasFollowing || meter.stage === 'copying';
      if (!hasBegun || !isMigrationError(error) || !doesPass(error)) throw error;
      wasFollowing = true;
      copies.reason = error.message;
      meter.reconnects += 1;
      meter.note(`reconnecting: ${error.code}`);
      context.log(`reconnecting after ${error.code}: ${error.message}`);
      await patience.wait(error, context.signal);
    }
  }
}

/** Slots that move between the primaries of a source are waited for; then everything is gone over again. */
function doesPass(error: MigrationError): boolean {
  return error.code === 'source-slots-moved' || isPassing(error);
}

async function reportProgress(meter: ScanMeter, context: JobContext, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    context.report(meter.progress());
    await context.clock.sleep(REPORT_MS, signal).catch(() => {
      // The sync is over: one last report follows.
    });
  }
  context.report(meter.progress());
}
