import path from 'node:path';
import type { Checkpoint } from '../../contract/reports.ts';
import type { JobContext } from '../job/context.ts';
import { readBootId } from '../job/process-identity.ts';
import type { Access } from '../redis/access.ts';
import { type HistoryPlace, Journal, type JournalOptions } from '../redis/journal.ts';
import { openReplication, type ReplicationLink } from '../redis/replication.ts';
import { removeSpool, SPOOL_FOLDER } from '../redis/spool.ts';
import { Feeding, type FullStart, HistoryLost, type SourceStream } from './feeding.ts';
import type { Meter } from './meter.ts';

/** What a feed works with. */
export type FeedOptions = {
  /** Where the source is, which may be elsewhere after a failover. */
  readonly locate: () => Promise<Access>;
  /** See {@link JournalOptions}. */
  readonly spoolBytesMax: number;
  readonly memoryBytesMax?: number;
  readonly meter: Meter;
  readonly context: Pick<JobContext, 'directory' | 'clock' | 'signal' | 'log'>;
};

/** How what comes from the source begins: where the target stands, or with a whole RDB and the stream behind it. */
export type FeedStart =
  | { readonly kind: 'stream'; readonly stream: SourceStream; readonly start: Checkpoint }
  | ({ readonly kind: 'full'; readonly stream: SourceStream } & FullStart);

const ACKNOWLEDGE_MS = 1_000;

/**
 * The connection to the source, apart from the one to the target: it fills a journal, and is made anew by itself.
 *
 * A target that is lost is made good from the journal without asking the source, a source that is lost is asked for
 * what follows the journal, not for what follows the target. Once the source answers with everything the journal is
 * void: whoever reads from it is told by `ended`, and finds the beginning of everything at the next `resume`.
 */
export class SourceFeed implements AsyncDisposable {
  readonly #options: FeedOptions;
  readonly #journalOptions: JournalOptions;
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  readonly #acknowledging: Promise<void>;
  #current: Feeding | undefined;
  /** What the source has begun when it could not go on. */
  #next: Feeding | undefined;
  /** Until the source has answered for the first time, the disk may hold what an earlier process has left. */
  #hasBegun = false;

  constructor(options: FeedOptions) {
    const { context, spoolBytesMax, memoryBytesMax } = options;
    this.#options = options;
    this.#journalOptions = {
      directory: path.join(context.directory, SPOOL_FOLDER),
      bytesMax: spoolBytesMax,
      bootId: readBootId(),
      clock: context.clock,
      ...(memoryBytesMax === undefined ? {} : { memoryBytesMax }),
    };
    this.#signal = AbortSignal.any([context.signal, this.#closing.signal]);
    this.#acknowledging = this.#acknowledge();
  }

  /** Whether the source has answered at least once. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /**
   * Goes on behind a place: from the journal, from what an earlier process has left on disk, or by asking the source.
   *
   * @throws spool-full, spool-failed, and the codes of {@link openReplication}
   */
  async resume(checkpoint: Checkpoint): Promise<FeedStart> {
    const current = this.#current;
    if (current !== undefined && !current.ended.aborted && current.journal.holds(checkpoint)) {
      current.journal.rewind(checkpoint.offset);
      this.#options.context.log(`went on from the journal at offset ${checkpoint.offset}`);
      return this.#streamStart(current, checkpoint);
    }
    const begun = this.#takeNext();
    if (begun !== undefined) return begun;
    const options = this.#journalOptions;
    const left = this.#hasBegun ? undefined : Journal.recover(options, checkpoint);
    await this.#discardCurrent();
    const journal = left ?? Journal.from(options, checkpoint);
    try {
      const link = await this.#connect({ replid: checkpoint.replid, offset: journal.receivedOffset });
      if (link.start.kind === 'full') {
        journal.discard();
        return this.#fullStart(this.#beginFull(link, link.start));
      }
      if (left !== undefined) this.#note(`took up ${journal.waitingBytes} bytes from the disk of the host`);
      const feeding = this.#feeding(journal);
      feeding.goOn(link);
      this.#current = feeding;
      return this.#streamStart(feeding, checkpoint);
    } catch (error) {
      // What lies on disk stays for the next attempt.
      journal.close();
      throw error;
    }
  }

  /** Begins with everything. @throws spool-full, spool-failed, and the codes of {@link openReplication} */
  async begin(): Promise<FeedStart> {
    const begun = this.#takeNext();
    if (begun !== undefined) return begun;
    await this.#discardCurrent();
    removeSpool(this.#journalOptions.directory);
    const link = await this.#connect(undefined);
    if (link.start.kind !== 'full') throw new Error('the source goes on with what it was not asked to');
    return this.#fullStart(this.#beginFull(link, link.start));
  }

  /** Closes the connection. What the target has not committed stays on disk, as far as it lies there. */
  async [Symbol.asyncDispose](): Promise<void> {
    const current = this.#current;
    const isOfUse = current?.journal.replid !== undefined && !(current.ended.reason instanceof HistoryLost);
    const isKept = isOfUse && current.journal.spooledBytes > 0;
    this.#closing.abort(new Error('the feed is closed'));
    await this.#acknowledging;
    for (const feeding of [current, this.#next]) {
      await feeding?.stop(this.#closing.signal.reason);
      feeding?.journal.close();
    }
    // Before the source has answered, what lies there is an earlier process's, and may still be taken up.
    if (this.#hasBegun && !isKept) removeSpool(this.#journalOptions.directory);
  }

  async #connect(from: HistoryPlace | undefined): Promise<ReplicationLink> {
    const { locate, context } = this.#options;
    const access = await locate();
    const link = await openReplication({ access, from, clock: context.clock, signal: this.#signal });
    this.#hasBegun = true;
    return link;
  }

  #feeding(journal: Journal): Feeding {
    const { locate, meter, context } = this.#options;
    return new Feeding({
      locate,
      journal,
      meter,
      clock: context.clock,
      log: context.log,
      signal: this.#signal,
      onHistoryLost: (link, start) => {
        this.#next = this.#beginFull(link, start);
      },
    });
  }

  #beginFull(link: ReplicationLink, start: HistoryPlace): Feeding {
    const feeding = this.#feeding(new Journal(this.#journalOptions));
    feeding.begin(link, start);
    return feeding;
  }

  #takeNext(): FeedStart | undefined {
    const next = this.#next;
    this.#next = undefined;
    const reason: unknown = this.#current?.ended.reason;
    if (reason !== undefined && !(reason instanceof HistoryLost)) throw reason;
    if (next === undefined || next.isCut) {
      next?.journal.discard();
      return undefined;
    }
    this.#current?.journal.discard();
    return this.#fullStart(next);
  }

  async #discardCurrent(): Promise<void> {
    const current = this.#current;
    this.#current = undefined;
    await current?.stop(new Error('another journal has taken its place'));
    current?.journal.discard();
  }

  #streamStart(feeding: Feeding, checkpoint: Checkpoint): FeedStart {
    this.#show(feeding);
    const replid = feeding.journal.replid ?? checkpoint.replid;
    return { kind: 'stream', stream: feeding.stream, start: { ...checkpoint, replid } };
  }

  #fullStart(feeding: Feeding): FeedStart {
    this.#current = feeding;
    this.#show(feeding);
    if (feeding.full === undefined) throw new Error('no RDB was announced');
    return { kind: 'full', stream: feeding.stream, ...feeding.full };
  }

  #show({ journal }: Feeding): void {
    this.#options.meter.spool = {
      get bytes() {
        return journal.spooledBytes;
      },
    };
  }

  /**
   * Tells the source every second what is committed: it closes a connection on which it hears nothing.
   *
   * While a copy goes on that is nothing. Saying so also brings the stream, which would otherwise fill the source's
   * output buffer for as long as the RDB waits here for the target.
   */
  async #acknowledge(): Promise<void> {
    const { clock } = this.#options.context;
    while (!this.#closing.signal.aborted) {
      await clock.sleep(ACKNOWLEDGE_MS, this.#closing.signal).catch(() => {
        // Closed: the loop ends by itself.
      });
      this.#current?.acknowledge();
      this.#next?.acknowledge();
    }
  }

  #note(text: string): void {
    this.#options.meter.note(text);
    this.#options.context.log(text);
  }
}
