import type { Clock } from '../../core/clock.ts';
import { MigrationError } from '../../core/errors.ts';

/** So many full copies in a row may fail to bring the target up to the source. */
const COPIES_IN_A_ROW_MAX = 3;
/** So many copies may begin within a day, whatever became of them. */
const COPIES_PER_DAY_MAX = 20;
const DAY_MS = 24 * 60 * 60_000;
const LARGER_BUFFERS =
  'Give the source a larger output buffer for replicas and a larger backlog (client-output-buffer-limit replica, repl-backlog-size; `tune-source: true` sets both), or run start-migration at a quieter time.';

/**
 * Bounds how often everything is copied: a source that drops its replica each time, because its output buffer is too
 * small for what it is written meanwhile, would otherwise be made to fork and send for ever.
 */
export class CopyBudget {
  readonly #clock: Clock;
  readonly #perDayMax: number;
  readonly #remedy: string;
  readonly #begunAtMs: number[] = [];
  #inARow = 0;
  /** Why the last copy came to nothing, or had to be made; a few words. */
  reason = 'the source no longer holds what follows the checkpoint';

  /** `remedy`: what helps when it is used up. */
  constructor(clock: Clock, { perDayMax = COPIES_PER_DAY_MAX, remedy = LARGER_BUFFERS } = {}) {
    this.#clock = clock;
    this.#perDayMax = perDayMax;
    this.#remedy = remedy;
  }

  /** A full copy is about to begin. @throws sync-lost when there were too many */
  begin(): void {
    const nowMs = this.#clock.nowMs();
    while ((this.#begunAtMs[0] ?? nowMs) < nowMs - DAY_MS) this.#begunAtMs.shift();
    if (this.#inARow >= COPIES_IN_A_ROW_MAX) {
      throw this.#used(`${this.#inARow} full copies in a row did not bring the target up to the source`);
    }
    if (this.#begunAtMs.length >= this.#perDayMax) {
      throw this.#used(`${this.#begunAtMs.length} full copies were necessary within a day`);
    }
    this.#begunAtMs.push(nowMs);
    this.#inARow += 1;
  }

  /** The target has caught up with the source. */
  caughtUp(): void {
    this.#inARow = 0;
  }

  #used(what: string): MigrationError {
    return new MigrationError(
      'sync-lost',
      `The sync was given up: ${what}. The last reason: ${this.reason}`,
      { remedy: this.#remedy },
    );
  }
}
