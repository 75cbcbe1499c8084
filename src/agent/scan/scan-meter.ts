import type { Progress } from '../../contract/job-state.ts';
import type { SyncReport } from '../../contract/reports.ts';
import type { Skipped } from '../../contract/skipped.ts';
import type { Clock } from '../../core/clock.ts';
import type { Stage, SyncLimits } from '../sync/meter.ts';

/** The most notes that are kept; the oldest go first. */
const NOTES_MAX = 10;
/** Rates over less than this are noise. */
const RATE_SECONDS_MIN = 0.2;
/** Not all is in the target before everything was gone over. */
const PERCENT_MAX = 99;

/** Counts what a sync by scanning does over all its passes, and says how far it is. */
export class ScanMeter {
  stage: Stage = 'connecting';
  reconnects = 0;
  /** How often everything was gone over again, and what was removed from the target then. */
  rescans = 0;
  removedKeys = 0;
  /** From when a change was made until the target had it, as last measured. */
  lagMs: number | undefined;
  /** What is to be read again. */
  dirty: { readonly count: number } | undefined;
  /** What is left out; undefined until the target has been looked at. */
  skips: { report(): Skipped[]; brief(): Skipped[] } | undefined;
  readonly limits: SyncLimits;
  readonly #clock: Clock;
  readonly #notes: string[] = [];
  #scannedKeys = 0;
  #expectedKeys = 0;
  #writtenKeys = 0;
  #writtenBytes = 0;
  #passKeys = 0;
  #passStartedAtMs = 0;
  #passMs = 0;
  #last: { readonly atMs: number; readonly keys: number; readonly bytes: number };
  #rates = { keysPerSecond: 0, bytesPerSecond: 0 };

  constructor(clock: Clock, limits: SyncLimits = {}) {
    this.#clock = clock;
    this.limits = limits;
    this.#last = { atMs: clock.nowMs(), keys: 0, bytes: 0 };
  }

  /** Begins to go over everything; so many keys are expected. */
  startPass(expectedKeys: number): void {
    this.stage = 'copying';
    this.#expectedKeys = expectedKeys;
    this.#scannedKeys = 0;
    this.#passStartedAtMs = this.#clock.nowMs();
    this.lagMs = undefined;
  }

  /** Everything was gone over once. */
  finishPass(): void {
    this.stage = 'catching-up';
    this.#passMs = this.#clock.nowMs() - this.#passStartedAtMs;
    this.#passKeys = this.#scannedKeys;
  }

  /** So many keys of the pass are in the target. */
  scanned(keys: number): void {
    this.#scannedKeys += keys;
  }

  /** Keys were read and are on their way to the target. */
  copied(keys: number, bytes = 0): void {
    this.#writtenKeys += keys;
    this.#writtenBytes += bytes;
  }

  /** Adds a line to what the status shows; a few words. */
  note(text: string): void {
    this.#notes.push(text.slice(0, 300));
    if (this.#notes.length > NOTES_MAX) this.#notes.shift();
  }

  /** The progress now; rates are those since the last call. */
  progress(): Progress {
    this.#updateRates();
    const skipped = this.skips?.brief() ?? [];
    const isFollowing = this.stage === 'catching-up' || this.stage === 'live';
    return {
      stage: this.stage,
      ...this.#share(),
      keys: isFollowing ? this.#passKeys : this.#scannedKeys,
      bytes: this.#writtenBytes,
      ...this.#rates,
      ...(isFollowing && this.lagMs !== undefined ? { lagMs: this.lagMs } : {}),
      ...(this.dirty === undefined ? {} : { dirtyKeys: this.dirty.count }),
      ...(skipped.length === 0 ? {} : { skipped }),
      notes: [...this.#notes],
    };
  }

  /** What it did in all. */
  report(): SyncReport {
    return {
      kind: 'sync',
      copiedKeys: this.#passKeys,
      copiedBytes: this.#writtenBytes,
      copyDurationMs: this.#passMs,
      appliedCommands: Math.max(0, this.#writtenKeys - this.#passKeys),
      reconnects: this.reconnects,
      ...(this.rescans === 0 ? {} : { reconciles: this.rescans, removedKeys: this.removedKeys }),
      skipped: this.skips?.report() ?? [],
    };
  }

  #share(): { percent?: number; etaMs?: number } {
    if (this.stage === 'catching-up' || this.stage === 'live') return { percent: 100 };
    if (this.stage !== 'copying' || this.#expectedKeys === 0) return {};
    const done = this.#scannedKeys;
    const percent = Math.min(PERCENT_MAX, (100 * done) / this.#expectedKeys);
    if (done === 0) return { percent };
    const elapsedMs = this.#clock.nowMs() - this.#passStartedAtMs;
    return { percent, etaMs: Math.round(Math.max(0, (elapsedMs / done) * (this.#expectedKeys - done))) };
  }

  #updateRates(): void {
    const atMs = this.#clock.nowMs();
    const seconds = (atMs - this.#last.atMs) / 1000;
    if (seconds < RATE_SECONDS_MIN) return;
    this.#rates = {
      keysPerSecond: Math.round((this.#writtenKeys - this.#last.keys) / seconds),
      bytesPerSecond: Math.round((this.#writtenBytes - this.#last.bytes) / seconds),
    };
    this.#last = { atMs, keys: this.#writtenKeys, bytes: this.#writtenBytes };
  }
}
