import type { Progress } from '../../contract/job-state.ts';
import type { Checkpoint } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import { formatBytes } from '../../core/units.ts';

/** What a sync is doing, in the order in which it happens. */
export type Stage = 'connecting' | 'waiting' | 'copying' | 'catching-up' | 'live';

/** The most notes that are kept; the oldest go first. */
const NOTES_MAX = 10;
/** The sync counts as live when the target is behind by less than this. */
const LIVE_LAG_BYTES = 64 * 1024;

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
  /** What the target has committed; undefined until the stream has begun. */
  checkpoint: Checkpoint | undefined;
  /** When the oldest command was received that is not committed; undefined when all are. */
  oldestPendingAtMs: number | undefined;
  /** Whether the connection to the source is being made anew, while the target goes on with what has arrived. */
  isSourceLost = false;
  /** What waits on the disk of the host; undefined before there was a connection. */
  spool: { readonly bytes: number } | undefined;
  readonly #clock: Clock;
  readonly #notes: string[] = [];
  #expectedKeys = 0;
  #sourceWaitMs = 0;
  #targetWaitMs = 0;
  #waitingFor: { side: 'source' | 'target'; sinceMs: number } | undefined;
  #last = { atMs: 0, keys: 0, bytes: 0 };
  #rates = { keysPerSecond: 0, bytesPerSecond: 0 };
  #spanStartMs: number;
  /** Where the stream of this attempt began. */
  #streamStart = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#spanStartMs = clock.nowMs();
    this.#last.atMs = this.#spanStartMs;
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
    this.copyStartedAtMs = this.#clock.nowMs();
    this.#streamStart = 0;
    this.checkpoint = undefined;
    this.sourceOffset = 0;
    this.#last = { atMs: this.copyStartedAtMs, keys: this.appliedCommands, bytes: 0 };
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
      notes: this.#allNotes(),
    };
  }

  #allNotes(): string[] {
    const spooled = this.spool?.bytes ?? 0;
    return spooled === 0 ? [...this.#notes] : [...this.#notes, `spooled on disk: ${formatBytes(spooled)}`];
  }

  #share(): { percent?: number; etaMs?: number } {
    if (this.stage === 'live' || this.stage === 'catching-up') return { percent: 100 };
    if (this.stage !== 'copying') return {};
    const done = this.rdbBytes === undefined ? this.copiedKeys : this.copiedBytes;
    const total = this.rdbBytes ?? this.#expectedKeys;
    if (total === 0) return {};
    const percent = Math.min(100, (100 * done) / total);
    if (done === 0) return { percent };
    const elapsedMs = this.#clock.nowMs() - this.copyStartedAtMs;
    return { percent, etaMs: Math.round(Math.max(0, (elapsedMs / done) * (total - done))) };
  }
  #bytes(): number {
    return this.copiedBytes + Math.max(0, this.#committedOffset - this.#streamStart);
  }

  #lagMs(): number {
    if (this.lagBytes === 0) return 0;
    if (this.oldestPendingAtMs !== undefined) return this.#clock.nowMs() - this.oldestPendingAtMs;
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
    this.#last = { atMs, keys, bytes };
  }

  /** Who was waited for longer, if that is worth a word; what nobody waits for is done by the host itself. */
  #bottleneck(): { bottleneck?: 'source' | 'host' | 'target' } {
    const nowMs = this.#clock.nowMs();
    if (this.#waitingFor !== undefined) {
      this.#addWait(this.#waitingFor.side, nowMs - this.#waitingFor.sinceMs);
      this.#waitingFor.sinceMs = nowMs;
    }
    const [source, target, span] = [this.#sourceWaitMs, this.#targetWaitMs, nowMs - this.#spanStartMs];
    this.#sourceWaitMs = 0;
    this.#targetWaitMs = 0;
    this.#spanStartMs = nowMs;
    const isAtRest = this.stage === 'live' && this.lagBytes < LIVE_LAG_BYTES;
    if (isAtRest || this.stage === 'connecting' || this.stage === 'waiting') return {};
    if (source + target < span / 2) return { bottleneck: 'host' };
    return { bottleneck: source >= target ? 'source' : 'target' };
  }

  async #wait<Result>(side: 'source' | 'target', promise: Promise<Result>): Promise<Result> {
    const waiting = { side, sinceMs: this.#clock.nowMs() };
    this.#waitingFor = waiting;
    try {
      return await promise;
    } finally {
      this.#waitingFor = undefined;
      this.#addWait(side, this.#clock.nowMs() - waiting.sinceMs);
    }
  }

  #addWait(side: 'source' | 'target', durationMs: number): void {
    if (side === 'source') this.#sourceWaitMs += durationMs;
    else this.#targetWaitMs += durationMs;
  }
}

/** Rates over less time than this say nothing. */
const RATE_SECONDS_MIN = 0.2;
