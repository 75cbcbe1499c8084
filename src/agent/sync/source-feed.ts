import path from 'node:path';
import type { Checkpoint } from '../../contract/reports.ts';
import type { JobContext } from '../job/context.ts';
import { readBootId } from '../job/process-identity.ts';
import type { Access } from '../redis/access.ts';
import { type HistoryPlace, Journal, type JournalOptions } from '../redis/journal.ts';
import { openReplication, type RdbFraming, type ReplicationLink } from '../redis/replication.ts';
import { removeSpool, SPOOL_FOLDER } from '../redis/spool.ts';
import type { Meter } from './meter.ts';
import { isPassing, Patience } from './patience.ts';
import { followSourceOffset } from './source-offset.ts';

/** What a feed works with. */
export type FeedOptions = {
  readonly source: Access;
  /** See {@link JournalOptions}. */
  readonly spoolBytesMax: number;
  readonly meter: Meter;
  readonly context: Pick<JobContext, 'directory' | 'clock' | 'signal' | 'log'>;
};

/** What comes from the source, as one session sees it. */
export type SourceStream = {
  readonly incoming: Journal;
  /** Tells the source which offset the target has committed, beyond what it is told every second. */
  acknowledge(offset: number): void;
  /** The RDB has been read and stands in the target: what comes next is the stream from the place on. */
  beginStream(place: HistoryPlace): void;
  /** Aborted when nothing of it is of use any more: with {@link HistoryLost}, spool-full or spool-failed. */
  readonly ended: AbortSignal;
};

/** How what comes from the source begins: where the target stands, or with a whole RDB and the stream behind it. */
export type FeedStart =
  | { readonly kind: 'stream'; readonly stream: SourceStream; readonly start: Checkpoint }
  | ({ readonly kind: 'full'; readonly stream: SourceStream } & FullStart);
type FullStart = HistoryPlace & { readonly framing: Promise<RdbFraming> };

/** The source cannot give what follows the journal: it has begun to send everything. */
export class HistoryLost extends Error {
  override readonly name = 'HistoryLost';
}

/** One journal and the connection that fills it, if it has one. */
type Feeding = {
  readonly journal: Journal;
  readonly ending: AbortController;
  readonly full: FullStart | undefined;
  link: ReplicationLink | undefined;
  /** Whether its RDB can no longer come whole. */
  isCut: boolean;
  reconnecting: Promise<void> | undefined;
};

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
    const { context, spoolBytesMax } = options;
    this.#options = options;
    this.#journalOptions = {
      directory: path.join(context.directory, SPOOL_FOLDER),
      bytesMax: spoolBytesMax,
      bootId: readBootId(),
      clock: context.clock,
    };
    this.#signal = AbortSignal.any([context.signal, this.#closing.signal]);
    this.#acknowledging = this.#acknowledge();
  }

  /** Whether the source has answered at least once. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Whether what follows a place is at hand, so that the source need not be asked. */
  holds(place: HistoryPlace): boolean {
    const current = this.#current;
    return current !== undefined && !current.ending.signal.aborted && current.journal.holds(place);
  }

  /**
   * Goes on behind a place: from the journal, from what an earlier process has left on disk, or by asking the source.
   *
   * @throws spool-full, spool-failed, and the codes of {@link openReplication}
   */
  async resume(checkpoint: Checkpoint): Promise<FeedStart> {
    if (this.holds(checkpoint) && this.#current !== undefined) {
      this.#current.journal.rewind(checkpoint.offset);
      this.#options.context.log(`went on from the journal at offset ${checkpoint.offset}`);
      return this.#streamStart(this.#current, checkpoint);
    }
    const begun = this.#takeNext();
    if (begun !== undefined) return begun;
    const options = this.#journalOptions;
    const left = this.#hasBegun ? undefined : Journal.recover(options, checkpoint);
    await this.#discardCurrent();
    const journal = left ?? Journal.from(options, checkpoint);
    const from = { replid: checkpoint.replid, offset: journal.receivedOffset };
    try {
      const link = await this.#connect(from);
      if (link.start.kind === 'full') {
        journal.discard();
        return this.#fullStart(this.#beginFull(link, link.start));
      }
      if (left !== undefined) this.#note(`took up ${journal.waitingBytes} bytes from the disk of the host`);
      return this.#streamStart(this.#goOn(journal, link, link.start.replid), checkpoint);
    } catch (error) {
      // What lies on disk stays for the next attempt.
      journal.close();
      throw error;
    }
  }

  /** Begins with everything. @throws spool-failed, and the codes of {@link openReplication} */
  async begin(): Promise<FeedStart & { kind: 'full' }> {
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
    this.#closing.abort(new Error('the feed is closed'));
    await this.#acknowledging;
    const current = this.#current;
    const isVoid =
      current?.journal.replid === undefined || current.ending.signal.reason instanceof HistoryLost;
    const isKept = !isVoid && current.journal.spooledBytes > 0;
    for (const feeding of [this.#current, this.#next]) {
      if (feeding === undefined) continue;
      feeding.ending.abort(this.#closing.signal.reason);
      await feeding.link?.[Symbol.asyncDispose]();
      await feeding.reconnecting;
      feeding.journal.close();
    }
    // Before the source has answered, what lies there is an earlier process's, and may still be taken up.
    if (this.#hasBegun && !isKept) removeSpool(this.#journalOptions.directory);
  }

  #connect(from: HistoryPlace | undefined, signal = this.#signal): Promise<ReplicationLink> {
    const { source, context } = this.#options;
    return openReplication({ access: source, from, clock: context.clock, signal });
  }

  #goOn(journal: Journal, link: ReplicationLink, replid: string | undefined): Feeding {
    this.#hasBegun = true;
    const feeding: Feeding = {
      journal,
      ending: new AbortController(),
      full: undefined,
      link: undefined,
      isCut: false,
      reconnecting: undefined,
    };
    this.#current = feeding;
    if (replid !== undefined) journal.continueAs(replid);
    this.#attach(feeding, link);
    return feeding;
  }

  /** Takes everything that the source sends from now on, whether or not anybody reads it already. */
  #beginFull(link: ReplicationLink, { replid, offset }: HistoryPlace): Feeding {
    this.#hasBegun = true;
    const framing = link.readRdbFraming(this.#signal).then((read) => {
      this.#attach(feeding, link);
      return read;
    });
    const feeding: Feeding = {
      journal: new Journal(this.#journalOptions),
      ending: new AbortController(),
      full: { replid, offset, framing },
      link,
      isCut: false,
      reconnecting: undefined,
    };
    framing.catch(() => {
      // Thrown to who waits for the framing; who comes later begins anew.
      feeding.isCut = true;
    });
    return feeding;
  }

  #takeNext(): (FeedStart & { kind: 'full' }) | undefined {
    const next = this.#next;
    this.#next = undefined;
    const failure: unknown = this.#current?.ending.signal.reason;
    if (failure !== undefined && !(failure instanceof HistoryLost)) throw failure;
    if (next === undefined || next.isCut) {
      next?.journal.discard();
      return undefined;
    }
    this.#current?.journal.discard();
    return this.#fullStart(next);
  }

  async #discardCurrent(): Promise<void> {
    const current = this.#current;
    if (current === undefined) return;
    this.#current = undefined;
    current.ending.abort(new Error('another journal has taken its place'));
    await current.link?.[Symbol.asyncDispose]();
    await current.reconnecting;
    current.journal.discard();
  }

  #attach(feeding: Feeding, link: ReplicationLink): void {
    const { source, meter, context } = this.#options;
    const attached = new AbortController();
    feeding.link = link;
    meter.isSourceLost = false;
    link.pipeTo({
      take: (chunk) => {
        if (feeding.link !== link || feeding.ending.signal.aborted) return;
        try {
          feeding.journal.append(chunk);
        } catch (error) {
          attached.abort();
          this.#end(feeding, error);
        }
      },
      lost: (error) => {
        attached.abort();
        if (feeding.link === link) this.#lose(feeding, error);
      },
    });
    const signal = AbortSignal.any([attached.signal, this.#closing.signal]);
    void followSourceOffset({ access: source, meter, clock: context.clock, log: context.log, signal });
  }

  /** Nothing of it is of use any more. */
  #end(feeding: Feeding, error: unknown): void {
    const { link } = feeding;
    feeding.link = undefined;
    feeding.ending.abort(error);
    void link?.[Symbol.asyncDispose]();
  }

  /** In the stream the connection is made anew; an RDB may be whole with what has arrived. */
  #lose(feeding: Feeding, error: unknown): void {
    const { link } = feeding;
    feeding.link = undefined;
    void link?.[Symbol.asyncDispose]();
    if (feeding.ending.signal.aborted || this.#signal.aborted) return;
    if (feeding.journal.replid === undefined) {
      feeding.isCut = true;
      feeding.journal.fail(error);
    } else {
      feeding.reconnecting = this.#reconnect(feeding, error);
    }
  }

  async #reconnect(feeding: Feeding, lost: unknown): Promise<void> {
    const { meter, context } = this.#options;
    const { journal, ending } = feeding;
    const patience = new Patience(context.clock);
    const signal = AbortSignal.any([this.#signal, ending.signal]);
    meter.reconnects += 1;
    meter.isSourceLost = true;
    for (let error = lost; ; ) {
      try {
        if (!isPassing(error)) throw error;
        context.log(`reconnecting to the source after ${error.code}: ${error.message}`);
        meter.note(`reconnecting: ${error.code}`);
        await patience.wait(error, signal);
        const { replid, receivedOffset } = journal;
        if (replid === undefined) throw new Error('there is no stream to go on with');
        const link = await this.#connect({ replid, offset: receivedOffset }, signal);
        if (signal.aborted) return await link[Symbol.asyncDispose]();
        return this.#takeAnswer(feeding, link);
      } catch (failure) {
        if (signal.aborted) return;
        if (failure === error || !isPassing(failure)) return journal.fail(failure);
        error = failure;
      }
    }
  }

  #takeAnswer(feeding: Feeding, link: ReplicationLink): void {
    const { meter, context } = this.#options;
    const { journal } = feeding;
    if (link.start.kind === 'full') {
      context.log(`the source no longer holds what follows offset ${journal.receivedOffset}`);
      this.#next = this.#beginFull(link, link.start);
      this.#end(feeding, new HistoryLost('the source no longer holds what follows the journal'));
      return;
    }
    if (link.start.replid !== undefined) journal.continueAs(link.start.replid);
    // A source that has failed over may be behind the one before it.
    meter.sourceOffset = journal.receivedOffset;
    context.log(`resumed at offset ${journal.receivedOffset} of ${journal.replid}`);
    this.#attach(feeding, link);
  }

  #streamStart(feeding: Feeding, checkpoint: Checkpoint): FeedStart {
    this.#show(feeding);
    const replid = feeding.journal.replid ?? checkpoint.replid;
    return { kind: 'stream', stream: this.#stream(feeding), start: { ...checkpoint, replid } };
  }

  #fullStart(feeding: Feeding): FeedStart & { kind: 'full' } {
    this.#current = feeding;
    this.#show(feeding);
    if (feeding.full === undefined) throw new Error('no RDB was announced');
    return { kind: 'full', stream: this.#stream(feeding), ...feeding.full };
  }

  #show({ journal }: Feeding): void {
    this.#options.meter.spool = {
      get bytes() {
        return journal.spooledBytes;
      },
    };
  }

  #stream(feeding: Feeding): SourceStream {
    const { journal, ending } = feeding;
    return {
      incoming: journal,
      acknowledge: (offset) => feeding.link?.acknowledge(offset),
      beginStream: (place) => {
        journal.beginStream(place);
        feeding.link?.acknowledge(place.offset);
        if (feeding.link !== undefined || !feeding.isCut) return;
        journal.revive();
        feeding.isCut = false;
        feeding.reconnecting = this.#reconnect(feeding, journal.failure);
      },
      ended: ending.signal,
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
      for (const feeding of [this.#current, this.#next]) {
        feeding?.link?.acknowledge(feeding.journal.committedOffset);
      }
    }
  }

  #note(text: string): void {
    this.#options.meter.note(text);
    this.#options.context.log(text);
  }
}
