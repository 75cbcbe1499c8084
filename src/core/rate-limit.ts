import type { Clock } from './clock.ts';

/** What is not used is kept for a burst of so much time. */
const BURST_MS = 100;

/**
 * Keeps a rate over time: anything may be taken at once, and is paid for by waiting before the next taking.
 *
 * What is counted is up to the user: bytes, commands. The rate is exact over time whatever the clock's resolution,
 * and never above it by more than a burst of 100 ms.
 */
export class RateLimit {
  readonly perSecond: number;
  readonly #clock: Clock;
  readonly #burst: number;
  #credit: number;
  #refilledAtMs: number;
  #heldMs = 0;
  #holding: { count: number; sinceMs: number } = { count: 0, sinceMs: 0 };

  constructor({ perSecond, clock }: { perSecond: number; clock: Clock }) {
    this.perSecond = perSecond;
    this.#clock = clock;
    this.#burst = (perSecond * BURST_MS) / 1000;
    this.#credit = this.#burst;
    this.#refilledAtMs = clock.nowMs();
  }

  /** Takes an amount, into debt where there is not as much. */
  take(amount: number): void {
    this.#refill();
    this.#credit -= amount;
  }

  /** Whether nothing may be taken now; cheap while something may. */
  get isExhausted(): boolean {
    if (this.#credit > 0) return false;
    this.#refill();
    return this.#credit <= 0;
  }

  /** For how long it has made others wait, the wait that goes on included. */
  get heldMs(): number {
    const { count, sinceMs } = this.#holding;
    return this.#heldMs + (count === 0 ? 0 : Math.max(0, this.#clock.nowMs() - sinceMs));
  }

  /**
   * Waits until half a burst may be taken: whoever takes little at a time does not wait for each of it.
   *
   * Rejects with the signal's reason.
   */
  async ready(signal: AbortSignal): Promise<void> {
    if (!this.isExhausted) return;
    this.#hold(1);
    try {
      for (;;) {
        const missing = this.#burst / 2 - this.#credit;
        if (missing <= 0) return;
        await this.#clock.sleep(Math.ceil((1000 * missing) / this.perSecond), signal);
        this.#refill();
      }
    } finally {
      this.#hold(-1);
    }
  }

  /** A clock that is set back gives nothing, one that is set forward a burst. */
  #refill(): void {
    const nowMs = this.#clock.nowMs();
    const earned = (Math.max(0, nowMs - this.#refilledAtMs) * this.perSecond) / 1000;
    this.#credit = Math.min(this.#burst, this.#credit + earned);
    this.#refilledAtMs = nowMs;
  }

  #hold(change: 1 | -1): void {
    const heldMs = this.heldMs;
    const count = this.#holding.count + change;
    this.#heldMs = heldMs;
    this.#holding = { count, sinceMs: this.#clock.nowMs() };
  }
}
