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
  /** Those that were seen in the stream and are not committed, in its order. */
  #inStream: { readonly offset: number; readonly sentAtMs: number }[] = [];
  /** The newest that was committed, and the lag that was measured then. */
  #last: { readonly sentAtMs: number; readonly lagMs: number; readonly atMs: number } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The message of a canary that is sent now. */
  message(): { text: string; sentAtMs: number } {
    const sentAtMs = this.#clock.nowMs();
    return { text: `${this.#life} ${sentAtMs}`, sentAtMs };
  }

  /**
   * A canary stands in the stream before this offset; false for one that is not of this life.
   *
   * It may be seen again when the stream is gone through again.
   */
  seen(message: string, offset: number): boolean {
    const [life, sentAtMs] = message.split(' ');
    if (life !== this.#life) return false;
    if (this.#inStream.length < UNDER_WAY_MAX) this.#inStream.push({ offset, sentAtMs: Number(sentAtMs) });
    return true;
  }

  /** The source has taken a canary: from now on it is missed while it does not arrive. */
  expect(sentAtMs: number): void {
    const hasArrived = this.#last !== undefined && sentAtMs <= this.#last.sentAtMs;
    if (!hasArrived && this.#underWay.length < UNDER_WAY_MAX) this.#underWay.push(sentAtMs);
  }

  /** The target has committed the stream up to this offset, and with it all canaries before. */
  committed(offset: number): void {
    if ((this.#inStream[0]?.offset ?? Number.POSITIVE_INFINITY) > offset) return;
    // The oldest of a batch has waited longest.
    const [first, last] = [this.#inStream[0], this.#inStream.findLast((canary) => canary.offset <= offset)];
    this.#inStream = this.#inStream.filter((canary) => canary.offset > offset);
    if (first === undefined || last === undefined) return;
    const nowMs = this.#clock.nowMs();
    this.#last = { sentAtMs: last.sentAtMs, lagMs: Math.max(0, nowMs - first.sentAtMs), atMs: nowMs };
    this.#underWay = this.#underWay.filter((sent) => sent > last.sentAtMs);
  }

  /** Forgets those under way: the copy that begins holds what came before it, and they are not in its stream. */
  forget(): void {
    this.#underWay = [];
    this.#inStream = [];
    this.#last = undefined;
  }

  /** The lag of the canary that arrived last; undefined when that is too long ago. */
  get arrivedLagMs(): number | undefined {
    if (this.#last === undefined || this.#clock.nowMs() - this.#last.atMs > FRESH_MS) return undefined;
    return this.#last.lagMs;
  }

  /** The lag now: that of the last one, or the age of the oldest that has not arrived; undefined when there is none. */
  get lagMs(): number | undefined {
    const [oldest] = this.#underWay;
    if (oldest === undefined) return this.arrivedLagMs;
    return Math.max(this.arrivedLagMs ?? 0, this.#clock.nowMs() - oldest);
  }
}
