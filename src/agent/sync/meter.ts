import type { Progress } from '../../contract/job-state.ts';
import type { Checkpoint } from '../../contract/reports.ts';
import type { Skipped } from '../../contract/skipped.ts';
import type { Clock } from '../../core/clock.ts';
import type { RateLimit } from '../../core/rate-limit.ts';
import { formatBytes, formatCount } from '../../core/units.ts';
import { Canaries } from './canaries.ts';

/** What a sync is doing, in the order in which it happens. */
export type Stage = 'connecting' | 'waiting' | 'copying' | 'catching-up' | 'live';

/** The most notes that are kept; the oldest go first. */
const NOTES_MAX = 10;
/** The sync counts as live when the target is behind by less than this. */
const LIVE_LAG_BYTES = 64 * 1024;

/** What a sync keeps to, where it was told to: bytes of the copy from the source, commands to the target. */
export type SyncLimits = { readonly source?: RateLimit; readonly target?: RateLimit };

/** Counts what a sync does over all its connections, and says how far it is. */
export class Meter {
  stage: Stage = 'connecting';
  copiedKeys = 0;
  copiedBytes = 0;
  copyStartedAtMs = 0;
  copyDurationMs = 0;
  /** Commands of the stream that the target has committed. */
  appliedCommands = 0;
  reconnects = 0;
  /** How often the stream began: after a copy or a resume. */
  streamsStarted = 0;
  /** How often a full copy began. */
  copiesStarted = 0;
  /** How often the target was reconciled, and what was removed from it altogether. */
  reconciles = 0;
  removedKeys = 0;
  /** The length of the RDB, where the source says it beforehand. */
  rdbBytes: number | undefined;
  /** The greatest offset that the source is known to have reached. */
  sourceOffset = 0;
  /** When the oldest command was received that is not committed; undefined when all are. */
  oldestPendingAtMs: number | undefined;
  /** What is left out; undefined until the target has been looked at. */
  skips: { report(): Skipped[]; brief(): Skipped[] } | undefined;
  /** Whether the connection to the source is being made anew, while the target goes on with what has arrived. */
  isSourceLost = false;
  /** What waits on the disk of the host; undefined before there was a connection. */
  spool: { readonly bytes: number } | undefined;
  readonly canaries: Canaries;
  readonly limits: SyncLimits;
  readonly #clock: Clock;
  #checkpoint: Checkpoint | undefined;
  readonly #notes: string[] = [];
  #expectedKeys = 0;
  #percent = 0;
  #waitedMs: Record<Side, number> = { source: 0, target: 0 };
  #heldMs: Record<Side, number> = { source: 0, target: 0 };
  #waitingFor: { side: Side; sinceMs: number } | undefined;
  #last = { atMs: 0, keys: 0, bytes: 0, lagBytes: 0 };
  #rates = { keysPerSecond: 0, bytesPerSecond: 0 };
  /** By how much the lag shrinks. */
  #catchUpBytesPerSecond = 0;
  #spanStartMs: number;
  /** Where the stream of this attempt began. */
  #streamStart = 0;

  constructor(clock: Clock, limits: SyncLimits = {}) {
    this.#clock = clock;
    this.limits = limits;
    this.canaries = new Canaries(clock);
    this.#spanStartMs = clock.nowMs();
    this.#last.atMs = this.#spanStartMs;
  }

  /** What the target has committed; undefined until the stream has begun. */
  get checkpoint(): Checkpoint | undefined {
    return this.#checkpoint;
  }

  set checkpoint(checkpoint: Checkpoint | undefined) {
    this.#checkpoint = checkpoint;
    if (checkpoint !== undefined) this.canaries.committed(checkpoint.offset);
  }

  /** Bytes of the source's stream that the target has not committed. */
  get lagBytes(): number {
    return Math.max(0, this.sourceOffset - this.#committedOffset);
  }

  /** Whether the target is as far as the source, but for what is on its way. */
  get isCaughtUp(): boolean {
    return this.checkpoint !== undefined && this.lagBytes < LIVE_LAG_BYTES && !this.isSourceLost;
  }

  get #committedOffset(): number {
    return this.checkpoint?.offset ?? 0;
  }

  /** Begins a full copy: what an earlier one had counted is void. */
  startCopy({ rdbBytes, expectedKeys }: { rdbBytes: number | undefined; expectedKeys: number }): void {
    this.stage = 'copying';
    this.copiesStarted += 1;
    this.rdbBytes = rdbBytes;
    this.copiedKeys = 0;
    this.copiedBytes = 0;
    this.#expectedKeys = expectedKeys;
    this.#percent = 0;
    this.canaries.forget();
    this.copyStartedAtMs = this.#clock.nowMs();
    this.#streamStart = 0;
    this.checkpoint = undefined;
    this.sourceOffset = 0;
    this.#last = { atMs: this.copyStartedAtMs, keys: this.appliedCommands, bytes: 0, lagBytes: 0 };
  }

  /** At least so many keys will come. */
  expectKeys(count: number): void {
    this.#expectedKeys = Math.max(this.#expectedKeys, count);
  }

  /** Ends a full copy. */
  finishCopy(): void {
    this.copyDurationMs = this.#clock.nowMs() - this.copyStartedAtMs;
  }

  /** A full copy was written over what the target held, and so many keys removed that it did not have. */
  reconciled(removedKeys: number): void {
    this.reconciles += 1;
    this.removedKeys += removedKeys;
  }

  /** The target stands here and takes the stream from here on. */
  startStream(start: Checkpoint): void {
    this.stage = 'catching-up';
    this.streamsStarted += 1;
    this.#streamStart = start.offset;
    this.oldestPendingAtMs = undefined;
    this.checkpoint = start;
    this.sourceOffset = Math.max(this.sourceOffset, start.offset);
  }

  /** Adds a line to what the status shows; a few words. */
  note(text: string): void {
    this.#notes.push(text.slice(0, 300));
    if (this.#notes.length > NOTES_MAX) this.#notes.shift();
  }

  /** Waits, and counts the time as waiting for the source. */
  waitForSource<Result>(promise: Promise<Result>): Promise<Result> {
    return this.#wait('source', promise);
  }

  /** Waits, and counts the time as waiting for the target. */
  waitForTarget<Result>(promise: Promise<Result>): Promise<Result> {
    return this.#wait('target', promise);
  }

  /** The progress now; rates and the bottleneck are those since the last call. */
  progress(): Progress {
    this.#updateRates();
    if (this.stage === 'live' && this.isSourceLost) this.stage = 'catching-up';
    if (this.stage === 'catching-up' && this.isCaughtUp) this.stage = 'live';
    const isStreaming = this.stage === 'catching-up' || this.stage === 'live';
    return {
      stage: this.stage,
      ...this.#share(),
      keys: this.copiedKeys,
      bytes: this.#bytes(),
      ...this.#rates,
      ...(isStreaming ? { lagBytes: this.lagBytes, lagMs: this.#lagMs() } : {}),
      ...this.#bottleneck(),
      ...this.#skipped(),
      notes: this.#allNotes(),
    };
  }

  #skipped(): { skipped?: Skipped[] } {
    const skipped = this.skips?.brief() ?? [];
    return skipped.length === 0 ? {} : { skipped };
  }

  #allNotes(): string[] {
    const { source, target } = this.limits;
    const spooled = this.spool?.bytes ?? 0;
    return [
      ...this.#notes,
      ...(source === undefined || this.stage !== 'copying'
        ? []
        : [`the copy takes at most ${formatBytes(source.perSecond)}/s from the source`]),
      ...(target === undefined
        ? []
        : [`the target gets at most ${formatCount(target.perSecond)} commands/s`]),
      ...(spooled === 0 ? [] : [`spooled on disk: ${formatBytes(spooled)}`]),
    ];
  }

  /** Never less than was said before of the same copy, and 100 only when all of it is in the target. */
  #share(): { percent?: number; etaMs?: number } {
    if (this.streamsStarted > 0 && this.checkpoint !== undefined) {
      const rate = this.#catchUpBytesPerSecond;
      if (this.stage !== 'catching-up' || rate <= 0) return { percent: 100 };
      return { percent: 100, etaMs: Math.round((1000 * this.lagBytes) / rate) };
    }
    if (this.stage !== 'copying') return {};
    const done = this.rdbBytes === undefined ? this.copiedKeys : this.copiedBytes;
    const total = this.rdbBytes ?? this.#expectedKeys;
    if (total === 0) return {};
    this.#percent = Math.max(this.#percent, Math.min(COPYING_PERCENT_MAX, (100 * done) / total));
    const percent = this.#percent;
    if (done === 0) return { percent };
    const elapsedMs = this.#clock.nowMs() - this.copyStartedAtMs;
    return { percent, etaMs: Math.round(Math.max(0, (elapsedMs / done) * (total - done))) };
  }

  #bytes(): number {
    return this.copiedBytes + Math.max(0, this.#committedOffset - this.#streamStart);
  }

  /** By canaries; where there are none, since the oldest bytes that are not committed arrived at this host. */
  #lagMs(): number {
    // Behind by nothing, one that has not arrived is not in the stream.
    const canaryMs = this.lagBytes === 0 ? this.canaries.arrivedLagMs : this.canaries.lagMs;
    if (canaryMs !== undefined) return canaryMs;
    if (this.lagBytes === 0) return 0;
    if (this.oldestPendingAtMs !== undefined)
      return Math.max(0, this.#clock.nowMs() - this.oldestPendingAtMs);
    const { bytesPerSecond } = this.#rates;
    return bytesPerSecond === 0 ? 0 : Math.round((1000 * this.lagBytes) / bytesPerSecond);
  }

  #updateRates(): void {
    const atMs = this.#clock.nowMs();
    const seconds = (atMs - this.#last.atMs) / 1000;
    if (seconds < RATE_SECONDS_MIN) return;
    const keys = this.copiedKeys + this.appliedCommands;
    const bytes = this.#bytes();
    this.#rates = {
      keysPerSecond: Math.round(Math.max(0, keys - this.#last.keys) / seconds),
      bytesPerSecond: Math.round(Math.max(0, bytes - this.#last.bytes) / seconds),
    };
    this.#catchUpBytesPerSecond = (this.#last.lagBytes - this.lagBytes) / seconds;
    this.#last = { atMs, keys, bytes, lagBytes: this.lagBytes };
  }

  /**
   * Who was waited for longer, if that is worth a word; what nobody waits for is done by the host itself. What a limit
   * held back is not the fault of the side behind it.
   */
  #bottleneck(): Pick<Progress, 'bottleneck'> {
    const nowMs = this.#clock.nowMs();
    if (this.#waitingFor !== undefined) {
      this.#waitedMs[this.#waitingFor.side] += nowMs - this.#waitingFor.sinceMs;
      this.#waitingFor.sinceMs = nowMs;
    }
    const waitedMs = this.#waitedMs;
    const spanMs = nowMs - this.#spanStartMs;
    const heldBeforeMs = this.#heldMs;
    this.#heldMs = { source: this.limits.source?.heldMs ?? 0, target: this.limits.target?.heldMs ?? 0 };
    this.#waitedMs = { source: 0, target: 0 };
    this.#spanStartMs = nowMs;
    const isAtRest = this.stage === 'live' && this.lagBytes < LIVE_LAG_BYTES;
    if (isAtRest || this.stage === 'connecting' || this.stage === 'waiting') return {};
    if (waitedMs.source + waitedMs.target < spanMs / 2) return { bottleneck: 'host' };
    const side = waitedMs.source >= waitedMs.target ? 'source' : 'target';
    const heldMs = this.#heldMs[side] - heldBeforeMs[side];
    return { bottleneck: heldMs >= waitedMs[side] / 2 ? 'throttle' : side };
  }

  async #wait<Result>(side: Side, promise: Promise<Result>): Promise<Result> {
    const waiting = { side, sinceMs: this.#clock.nowMs() };
    this.#waitingFor = waiting;
    try {
      return await promise;
    } finally {
      this.#waitingFor = undefined;
      this.#waitedMs[side] += this.#clock.nowMs() - waiting.sinceMs;
    }
  }
}

type Side = 'source' | 'target';

/** Rates over less time than this say nothing. */
const RATE_SECONDS_MIN = 0.2;
/** As long as anything of the copy is missing. */
const COPYING_PERCENT_MAX = 99.9;
