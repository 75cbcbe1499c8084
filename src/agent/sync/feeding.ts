import type { Clock } from '../../core/clock.ts';
import type { Access } from '../redis/access.ts';
import type { HistoryPlace, Journal } from '../redis/journal.ts';
import { openReplication, type RdbFraming, type ReplicationLink } from '../redis/replication.ts';
import type { Meter } from './meter.ts';
import { isPassing, Patience } from './patience.ts';
import { followSourceOffset } from './source-offset.ts';

/** What a feeding works with; `signal` ends it. */
export type FeedingOptions = {
  /** Where the source is, which may be elsewhere after a failover. */
  readonly locate: () => Promise<Access>;
  readonly journal: Journal;
  readonly meter: Meter;
  readonly clock: Clock;
  readonly log: (message: string) => void;
  readonly signal: AbortSignal;
  /** Called with the connection on which the source has begun to send everything, instead of what follows the journal. */
  readonly onHistoryLost: (link: ReplicationLink, start: HistoryPlace) => void;
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

/** How a full start begins: the place behind the RDB, and how that is framed. */
export type FullStart = HistoryPlace & { readonly framing: Promise<RdbFraming> };

/** The source cannot give what follows the journal: it has begun to send everything. */
export class HistoryLost extends Error {
  override readonly name = 'HistoryLost';
}

/** Fills one journal from the source, over a connection that is made anew when it is lost in the stream. */
export class Feeding {
  readonly journal: Journal;
  /** What the source has begun to send; undefined when it goes on in the middle of its stream. */
  full: FullStart | undefined;
  readonly #options: FeedingOptions;
  readonly #ending = new AbortController();
  readonly #signal: AbortSignal;
  #link: ReplicationLink | undefined;
  /** Keeps the RDB to the rate that is allowed. */
  #limited: Disposable | undefined;
  #isCut = false;
  #reconnecting: Promise<void> | undefined;

  constructor(options: FeedingOptions) {
    this.#options = options;
    this.journal = options.journal;
    this.#signal = AbortSignal.any([options.signal, this.#ending.signal]);
  }

  /** Aborted when nothing of it is of use any more. */
  get ended(): AbortSignal {
    return this.#ending.signal;
  }

  /** Whether its RDB can no longer come whole. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** What a session sees of it. */
  get stream(): SourceStream {
    return {
      incoming: this.journal,
      acknowledge: (offset) => this.#link?.acknowledge(offset),
      beginStream: (place) => this.#beginStream(place),
      ended: this.#ending.signal,
    };
  }

  /** Takes the stream that the source goes on with, under another id if it has one. @throws spool-failed */
  goOn(link: ReplicationLink): void {
    const { start } = link;
    if (start.kind === 'continue' && start.replid !== undefined) this.journal.continueAs(start.replid);
    this.#attach(link);
  }

  /** Takes everything that the source sends from now on, whether or not anybody reads it already. */
  begin(link: ReplicationLink, { replid, offset }: HistoryPlace): void {
    this.#link = link;
    const limit = this.#options.meter.limits.source;
    const framing = link.readRdbFraming(this.#signal).then((read) => {
      if (limit !== undefined) this.#limited = link.limitCopy({ limit, framing: read, signal: this.#signal });
      this.#attach(link);
      return read;
    });
    framing.catch(() => {
      // Thrown to who waits for the framing; who comes later begins anew.
      this.#isCut = true;
    });
    this.full = { replid, offset, framing };
  }

  /** Tells the source what is committed; while an RDB is under way that is nothing. */
  acknowledge(): void {
    this.#link?.acknowledge(this.journal.committedOffset);
  }

  /** Ends the connection, and resolves when nothing more happens. */
  async stop(reason: unknown): Promise<void> {
    this.#end(reason);
    await this.#reconnecting;
  }

  #attach(link: ReplicationLink): void {
    const { locate, meter, clock, log } = this.#options;
    const attached = new AbortController();
    this.#link = link;
    meter.isSourceLost = false;
    link.pipeTo({
      take: (chunk) => {
        if (this.#link !== link) return;
        try {
          this.journal.append(chunk);
        } catch (error) {
          this.#end(error);
        }
      },
      lost: (error) => {
        attached.abort();
        if (this.#link === link) this.#lose(error);
      },
    });
    const signal = AbortSignal.any([attached.signal, this.#signal]);
    void followSourceOffset({ locate, meter, clock, log, signal });
  }

  #beginStream(place: HistoryPlace): void {
    this.#limited?.[Symbol.dispose]();
    this.journal.beginStream(place);
    this.#link?.acknowledge(place.offset);
    this.#link?.beginStream();
    if (!this.#isCut) return;
    // The RDB had come whole before the connection was lost.
    const lost = this.journal.failure;
    this.#isCut = false;
    this.journal.revive();
    this.#reconnecting = this.#reconnect(lost);
  }

  /** Nothing of it is of use any more. */
  #end(reason: unknown): void {
    this.#ending.abort(reason);
    this.#drop();
  }

  #drop(): void {
    const link = this.#link;
    this.#link = undefined;
    void link?.[Symbol.asyncDispose]();
  }

  /** In the stream the connection is made anew; an RDB may be whole with what has arrived. */
  #lose(error: unknown): void {
    this.#drop();
    if (this.#signal.aborted) return;
    if (this.journal.replid === undefined) {
      this.#isCut = true;
      this.journal.fail(error);
    } else {
      this.#reconnecting = this.#reconnect(error);
    }
  }

  async #reconnect(lost: unknown): Promise<void> {
    const { meter, clock, log } = this.#options;
    const patience = new Patience(clock);
    meter.reconnects += 1;
    meter.isSourceLost = true;
    for (let error = lost; ; ) {
      try {
        if (!isPassing(error)) throw error;
        log(`reconnecting to the source after ${error.code}: ${error.message}`);
        meter.note(`reconnecting: ${error.code}`);
        await patience.wait(error, this.#signal);
        return await this.#ask();
      } catch (failure) {
        if (this.#signal.aborted) return;
        if (failure === error || !isPassing(failure)) return this.journal.fail(failure);
        error = failure;
      }
    }
  }

  /** Asks the source for what follows the journal. */
  async #ask(): Promise<void> {
    const { locate, clock, meter, log, onHistoryLost } = this.#options;
    const { replid, receivedOffset: offset } = this.journal;
    if (replid === undefined) throw new Error('there is no stream to go on with');
    const link = await openReplication({
      access: await locate(),
      from: { replid, offset },
      clock,
      signal: this.#signal,
    });
    if (this.#signal.aborted) return link[Symbol.asyncDispose]();
    if (link.start.kind === 'full') {
      log(`the source no longer holds what follows offset ${offset}`);
      onHistoryLost(link, link.start);
      this.#end(new HistoryLost('the source no longer holds what follows the journal'));
      return;
    }
    this.goOn(link);
    // A source that has failed over may be behind the one before it.
    meter.sourceOffset = offset;
    log(`resumed at offset ${offset} of ${this.journal.replid}`);
  }
}
