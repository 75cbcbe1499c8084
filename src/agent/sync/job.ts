import type { SyncReport } from '../../contract/reports.ts';
import type { ErrorCode } from '../../core/error-codes.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import type { Job, JobContext } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import { SPOOL_BYTES_MAX } from '../redis/spool.ts';
import { Meter } from './meter.ts';
import { runSession, type SyncWorld } from './session.ts';

const REPORT_MS = 250;
/** For how long a sync that had been running tries to get its connections back. */
const RECONNECT_MAX_MS = 5 * 60_000;
const RECONNECT_FIRST_DELAY_MS = 200;
const RECONNECT_DELAY_MAX_MS = 10_000;

/** What passes: the connection is made anew, and the claim in the target says where to go on. */
const PASSING_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'source-unreachable',
  'source-not-ready',
  'target-unreachable',
  'target-not-ready',
  'target-read-only',
]);

/**
 * The `replica` route: a full copy by PSYNC, then the command stream, until the job is asked to stop.
 *
 * Stopped while it applies the stream it resolves with its report; stopped before that it throws the signal's reason.
 * In both cases the claim in the target says what the next run begins with.
 *
 * @throws sync-lost when a connection stays lost; route-replica-denied, target-not-empty, migration-conflict,
 *   target-read-only, target-refused-command, target-memory-too-small, target-databases-too-few,
 *   source-data-unsupported, source-modules-unsupported, source-version-unsupported, source-cluster-unsupported,
 *   input-contradictory, spool-full, spool-failed, and the codes of a connection that cannot be made in the beginning
 */
export const runSync: Job<'sync'> = async (request, context) => {
  const { migrationId, repository, hostId, resolveSecret } = context;
  const meter = new Meter(context.clock);
  const world: SyncWorld = {
    source: await resolveAccess('source', request.source, resolveSecret),
    target: await resolveAccess('target', request.target, resolveSecret),
    targetNodes: [],
    flushTarget: request.flushTarget,
    spoolBytesMax: request.spoolBytesMax ?? SPOOL_BYTES_MAX,
    holder: { migrationId, repository, hostId },
    meter,
    context,
  };
  const done = new AbortController();
  const reporting = reportProgress(meter, context, done.signal);
  try {
    await syncUntilStopped(world);
    return makeReport(meter);
  } finally {
    done.abort();
    await reporting;
  }
};

/** Runs one session after the other, as long as what ends them passes. */
async function syncUntilStopped(world: SyncWorld): Promise<void> {
  const { context, meter } = world;
  let lostAtMs: number | undefined;
  let delayMs = RECONNECT_FIRST_DELAY_MS;
  for (;;) {
    const streamsBefore = meter.streamsStarted;
    try {
      return await runSession(world);
    } catch (error) {
      const isPassing = isMigrationError(error) && PASSING_CODES.has(error.code);
      if (context.signal.aborted && (isPassing || error === context.signal.reason)) {
        return endStopped(meter, context);
      }
      if (meter.streamsStarted === 0 || !isPassing) throw error;
      if (meter.streamsStarted > streamsBefore) {
        lostAtMs = undefined;
        delayMs = RECONNECT_FIRST_DELAY_MS;
      }
      lostAtMs ??= context.clock.nowMs();
      if (context.clock.nowMs() - lostAtMs > RECONNECT_MAX_MS) throw lost(error);
      meter.reconnects += 1;
      meter.note(`reconnecting: ${error.code}`);
      context.log(`reconnecting after ${error.code}: ${error.message}`);
      await context.clock.sleep(delayMs, context.signal).catch(() => {
        // Asked to stop meanwhile: the next session sees it first of all.
      });
      delayMs = Math.min(2 * delayMs, RECONNECT_DELAY_MAX_MS);
      if (context.signal.aborted) return endStopped(meter, context);
    }
  }
}

/** A sync that stands at a checkpoint has something to report; one without a whole copy is stopped without result. */
function endStopped(meter: Meter, { signal }: JobContext): void {
  if (meter.checkpoint === undefined) throw signal.reason;
}

function lost(cause: MigrationError): MigrationError {
  return new MigrationError(
    'sync-lost',
    `The sync tried for ${formatDuration(RECONNECT_MAX_MS)} to go on after: ${cause.message}`,
    { cause },
  );
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
    skipped: [],
  };
}
