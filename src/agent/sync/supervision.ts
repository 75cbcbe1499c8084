import type { SyncWorld } from './session.ts';
import type { TargetWriter } from './target-writer.ts';

const SUPERVISE_MS = 1_000;
/** How long a stopping sync waits for the target to answer what is on its way. */
const FINISH_MS = 10_000;
const MARK_ATTEMPTS = 3;

/** A stream under way, see stream-applier.ts and cluster/applier.ts. */
type Applier = { run(): Promise<never>; finish(): Promise<void> };

/** Applies the stream until the job is asked to stop, then commits what is complete. Throws what the applier does. */
export async function applyUntilStopped(applier: Applier, { context }: SyncWorld): Promise<void> {
  try {
    await applier.run();
  } catch (error) {
    if (!context.signal.aborted || error !== context.signal.reason) throw error;
    await applier.finish();
  }
}

/** The connections to a target that one session writes over. */
type Supervised = {
  readonly world: SyncWorld;
  readonly writers: readonly TargetWriter[];
  readonly signal: AbortSignal;
};

/** Every second: looks whether the target has gone silent or has caught up, and ends a long stop. */
export async function supervise({ world, writers, signal }: Supervised): Promise<void> {
  const { context, meter, copies } = world;
  const { clock } = context;
  let stoppingSinceMs: number | undefined;
  while (!signal.aborted) {
    await clock.sleep(SUPERVISE_MS, signal).catch(() => {
      // Aborted: the loop ends by itself.
    });
    for (const writer of writers) writer.checkSilence();
    if (meter.isCaughtUp) copies.caughtUp();
    if (context.signal.aborted) stoppingSinceMs ??= clock.nowMs();
    // A target that does not answer must not keep a stopping job: what is not committed is applied by the next one.
    if (clock.nowMs() - (stoppingSinceMs ?? Number.POSITIVE_INFINITY) > FINISH_MS) await closeAll(writers);
  }
}

/** Closes the connections at once. */
export async function closeAll(writers: readonly TargetWriter[]): Promise<void> {
  for (const writer of writers) await writer[Symbol.asyncDispose]();
}

/**
 * Says in the claim that the data is not that of its checkpoint, so that the next start does not resume from it.
 *
 * @throws what `mark` failed with the last time
 */
export async function markDiverged(mark: () => Promise<void>, { context }: SyncWorld): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await mark();
    } catch (error) {
      if (attempt === MARK_ATTEMPTS) throw error;
      context.log('the target could not be marked for being reconciled; trying again');
      await context.clock.sleep(SUPERVISE_MS, context.signal);
    }
  }
}
