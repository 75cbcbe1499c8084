import type { SyncReport } from '../../contract/reports.ts';
import type { JobContext } from '../job/context.ts';
import { HistoryLost } from './feeding.ts';
import type { Meter } from './meter.ts';
import { isPassing, Patience } from './patience.ts';
import { runSession, type SyncWorld } from './session.ts';

/**
 * Runs one session after the other, as long as what ends them passes.
 *
 * @throws the signal's reason when it was stopped before a copy was whole; sync-lost; what ends a session for good
 */
export async function syncUntilStopped(world: SyncWorld): Promise<void> {
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

/** What a sync has done. */
export function makeReport(meter: Meter): SyncReport {
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
