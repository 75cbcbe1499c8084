import type { Clock } from '../../core/clock.ts';
import type { ErrorCode } from '../../core/error-codes.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';

/** For how long a sync that had been running tries to get a connection back. */
const RECONNECT_MAX_MS = 5 * 60_000;
/** After the first attempt, which is made at once: the source's backlog may be short. */
const SECOND_DELAY_MS = 200;
const DELAY_MAX_MS = 10_000;

/** What passes: the connection is made anew. */
const PASSING_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'source-unreachable',
  'source-not-ready',
  'target-unreachable',
  'target-not-ready',
  'target-read-only',
]);

/** Whether an error is of the kind that passes when the connection is made anew. */
export function isPassing(error: unknown): error is MigrationError {
  return isMigrationError(error) && PASSING_CODES.has(error.code);
}

/** Waits between attempts to get one connection back: longer each time, and not for ever. */
export class Patience {
  readonly #clock: Clock;
  #lostAtMs: number | undefined;
  #delayMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The connection was back: what is lost from now on is lost anew. */
  renew(): void {
    this.#lostAtMs = undefined;
    this.#delayMs = 0;
  }

  /**
   * Waits before the next attempt.
   *
   * @throws sync-lost when the connection has been lost for five minutes, or the signal's reason
   */
  async wait(error: MigrationError, signal: AbortSignal): Promise<void> {
    this.#lostAtMs ??= this.#clock.nowMs();
    if (this.#clock.nowMs() - this.#lostAtMs > RECONNECT_MAX_MS) {
      throw new MigrationError(
        'sync-lost',
        `The sync tried for ${formatDuration(RECONNECT_MAX_MS)} to go on after: ${error.message}`,
        { cause: error },
      );
    }
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(Math.max(2 * delayMs, SECOND_DELAY_MS), DELAY_MAX_MS);
    await this.#clock.sleep(delayMs, signal);
  }
}
