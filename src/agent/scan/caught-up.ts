import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';
import type { SiblingJobs } from '../job/context.ts';

const POLL_MS = 20;

/** Who waits for a sync by scanning, on the same host. */
export type CatchUp = {
  readonly siblings: Pick<SiblingJobs, 'state'>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/**
 * Waits until the target has everything that the source holds when this is called, as far as events tell: there is no
 * offset to compare, so the sync says up to which moment that is so. It has then looked for what no event tells, and had
 * a PING come back on its subscription behind all events of before.
 *
 * What is neither told nor counted (XACK, reads of stream groups) only a comparison finds.
 *
 * @throws sync-not-running, or the signal's reason
 */
export async function waitForScan({ siblings, clock, signal }: CatchUp): Promise<void> {
  const sinceMs = clock.nowMs();
  for (;;) {
    const sync = await siblings.state('sync');
    if (sync?.status !== 'running') {
      const state = sync?.status ?? 'there is none';
      throw new MigrationError('sync-not-running', `The sync ended while it was waited for (${state}).`);
    }
    if ((sync.progress.caughtUpAtMs ?? 0) >= sinceMs) return;
    await clock.sleep(POLL_MS, signal);
  }
}
