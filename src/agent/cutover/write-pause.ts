import type { ClientList } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import { formatBytes, formatDuration } from '../../core/units.ts';

/** What is known of a write pause while it lasts, and tells why it was too long. */
export type WritePauseMeasures = {
  /** When the fence was begun to be set. */
  readonly fencedAtMs: number;
  /** The fence in words; empty until it stands. */
  fence: string;
  /** Who was connected to the source before it. */
  readonly clients?: ClientList | undefined;
  lagBytes?: number;
  drainedAtMs?: number;
  provedAtMs?: number;
};

/** The budget of a write pause: its signal is aborted when the time is over, or with the job's own. */
export type WritePauseBudget = Disposable & { readonly signal: AbortSignal };

/**
 * Starts the time of a write pause.
 *
 * The signal's reason is a `write-pause-exceeded` that says what was measured until then.
 */
export function startWritePause(options: {
  maxWritePauseMs: number;
  measures: WritePauseMeasures;
  clock: Clock;
  signal: AbortSignal;
}): WritePauseBudget {
  const { maxWritePauseMs, measures, clock, signal } = options;
  const over = new AbortController();
  const done = new AbortController();
  clock.sleep(maxWritePauseMs, done.signal).then(
    () => over.abort(writePauseExceeded({ maxWritePauseMs, measures, nowMs: clock.nowMs() })),
    () => {
      // The pause ended in time: nobody waits for this timer any more.
    },
  );
  return { signal: AbortSignal.any([signal, over.signal]), [Symbol.dispose]: () => done.abort() };
}

/**
 * Resolves as `work` does, or rejects with the signal's reason as soon as it is aborted: a server that does not
 * answer must not hold the fence.
 */
export async function untilAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  const { promise: aborted, reject } = rejectable();
  const onAbort = () => reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function rejectable(): { promise: Promise<never>; reject: (reason: unknown) => void } {
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<never>((_, rejectPromise) => {
    reject = rejectPromise;
  });
  return { promise, reject };
}

function writePauseExceeded(exceeded: {
  maxWritePauseMs: number;
  measures: WritePauseMeasures;
  nowMs: number;
}): MigrationError {
  const { fencedAtMs, drainedAtMs, lagBytes } = exceeded.measures;
  const reached =
    drainedAtMs === undefined
      ? `the drain was not done after ${formatDuration(exceeded.nowMs - fencedAtMs)}, with ${lagBytes === undefined ? 'an unknown lag' : `${formatBytes(lagBytes)} of lag`} left`
      : `the drain took ${formatDuration(drainedAtMs - fencedAtMs)}, and the proof was not done after ${formatDuration(exceeded.nowMs - drainedAtMs)}`;
  return new MigrationError(
    'write-pause-exceeded',
    `Writes may be fenced for ${formatDuration(exceeded.maxWritePauseMs)}: ${reached}.`,
  );
}
