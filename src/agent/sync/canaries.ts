import { randomBytes } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';

/** Where canaries are published at the source; what comes on it is not passed on to the target. */
export const CANARY_CHANNEL = Buffer.from('__valkey-migrate__');

/** A lag that was measured longer ago than this is not the lag of now. */
const FRESH_MS = 3_000;
/** Canaries under way that are remembered: an hour of them. Beyond it the newest are not. */
const UNDER_WAY_MAX = 3_600;

/**
 * Measures the lag in time: a canary is sent to the source, travels in its stream, and arrives when the target has
 * committed the batch that it lies in.
 *
 * Both times are taken on this host. A canary of an earlier life of the sync, or of another sync, tells nothing.
 */
export class Canaries {
  readonly #clock: Clock;
  readonly #life = randomBytes(8).toString('hex');
  #underWay: number[] = [];
  #last: { sentAtMs: number; atMs: number } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The message of a canary that is sent now. */
  message(): { text: string; sentAtMs: number } {
    const sentAtMs = this.#clock.nowMs();
    return { text: `${this.#life} ${sentAtMs}`, sentAtMs };
  }

  /** When the canary of this message was sent; undefined for one that is not of this life. */
  sentAtMs(message: string): number | undefined {
    const [life, sentAtMs] = message.split(' ');
    return life === this.#life ? Number(sentAtMs) : undefined;
  }

  /** The source has taken a canary: from now on it is missed while it does not arrive. */
  expect(sentAtMs: number): void {
    const hasArrived = this.#last !== undefined && sentAtMs <= this.#last.sentAtMs;
    if (!hasArrived && this.#underWay.length < UNDER_WAY_MAX) this.#underWay.push(sentAtMs);
  }

  /** The target has committed a canary, and with it all that were sent before. */
  arrived(sentAtMs: number): void {
    this.#last = { sentAtMs, atMs: this.#clock.nowMs() };
    this.#underWay = this.#underWay.filter((sent) => sent > sentAtMs);
  }

  /** Forgets those under way: the copy that begins holds what came before it, and they are not in its stream. */
  forget(): void {
    this.#underWay = [];
    this.#last = undefined;
  }

  /** The lag of the canary that arrived last; undefined when that is too long ago. */
  get arrivedLagMs(): number | undefined {
    if (this.#last === undefined || this.#clock.nowMs() - this.#last.atMs > FRESH_MS) return undefined;
    return Math.max(0, this.#last.atMs - this.#last.sentAtMs);
  }

  /** The lag now: that of the last one, or the age of the oldest that has not arrived; undefined when there is none. */
  get lagMs(): number | undefined {
    const [oldest] = this.#underWay;
    if (oldest === undefined) return this.arrivedLagMs;
    return Math.max(this.arrivedLagMs ?? 0, this.#clock.nowMs() - oldest);
  }
}
