import type { Clock } from '../../core/clock.ts';
import { type Piece, RecentBytes } from './recent-bytes.ts';
import { Spool, type SpoolOptions } from './spool.ts';

/** What is kept in memory before it goes to disk, unless told. */
const MEMORY_BYTES_MAX = 12 * 1024 * 1024;
/** One part of so many is for what is committed: a failover of the target takes the last of it back. */
const HISTORY_PARTS = 3;

/** What a {@link Journal} works with. */
export type JournalOptions = SpoolOptions & {
  readonly clock: Clock;
  /** What it may keep in memory; 12 MiB unless told. */
  readonly memoryBytesMax?: number;
};

/** A place in the history of a source. */
export type HistoryPlace = { readonly replid: string; readonly offset: number };

/**
 * What was received from a source, to be read in order by one reader, and again from where the target stands.
 *
 *   RDB and stream   ... | kept: committed, and a little before | read | waiting | <- received
 *   on               nothing | disk, then memory
 *
 * It begins with an RDB, of which what is read is forgotten, or in the middle of the stream. From the stream on bytes
 * are kept until they are committed. The source is never held back: what exceeds the memory goes to disk, the first
 * bytes first, so that the disk always holds what is oldest, without a gap up to the memory. While the reader is on
 * disk everything goes there at once: a process that is killed then leaves all of it to the next.
 */
export class Journal {
  readonly #options: JournalOptions;
  readonly #memoryBytesMax: number;
  readonly #historyBytes: number;
  #spool: Spool;
  /** At most what is kept in memory. */
  readonly #freeBlocks: Buffer[] = [];
  #recent: RecentBytes;
  /** Places are offsets less this; known as soon as the stream begins. */
  #baseOffset = 0;
  /** Undefined while an RDB is under way. */
  #replid: string | undefined;
  /** The ids that the history had before, each up to where it is the same history. */
  #earlier: HistoryPlace[] = [];
  #readTo = 0;
  #readFrom = 0;
  #committedTo = 0;
  #readArrivedAtMs = 0;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  readonly #wakeReader = (): void => this.#wake?.();
  /** What the reader that waits is ended by. */
  #watched: AbortSignal | undefined;

  /** A journal that begins with an RDB. */
  constructor(options: JournalOptions) {
    this.#options = options;
    this.#memoryBytesMax = options.memoryBytesMax ?? MEMORY_BYTES_MAX;
    this.#historyBytes = Math.floor(this.#memoryBytesMax / HISTORY_PARTS);
    this.#spool = new Spool(options);
    this.#recent = new RecentBytes(0, this.#freeBlocks);
  }

  /** A journal of the stream from the given place on. */
  static from(options: JournalOptions, place: HistoryPlace): Journal {
    const journal = new Journal(options);
    journal.#recent = new RecentBytes(place.offset, journal.#freeBlocks);
    journal.#stand(place);
    return journal;
  }

  /**
   * A journal that begins with what an earlier process has left on disk of the stream from the given place on; the
   * rest of what it has left is deleted. Undefined when nothing fits.
   *
   * @throws spool-failed
   */
  static recover(options: JournalOptions, place: HistoryPlace): Journal | undefined {
    const spool = Spool.recover(options, place);
    if (spool === undefined) return undefined;
    const journal = new Journal(options);
    journal.#spool = spool;
    journal.#recent = new RecentBytes(spool.end, journal.#freeBlocks);
    journal.#stand(place);
    return journal;
  }

  /** Under this id every offset exists that was received. Undefined while an RDB is under way. */
  get replid(): string | undefined {
    return this.#replid;
  }

  /** The offset behind the last byte that was received; while an RDB is under way, how many bytes there were. */
  get receivedOffset(): number {
    return this.#recent.end + this.#baseOffset;
  }

  /** What the target has committed; 0 while an RDB is under way. */
  get committedOffset(): number {
    return this.#replid === undefined ? 0 : this.#committedTo + this.#baseOffset;
  }

  /** Bytes that can be read without waiting, in memory and on disk. */
  get waitingBytes(): number {
    return this.#recent.end - this.#readTo;
  }

  /** Bytes on disk that the target has not committed. */
  get spooledBytes(): number {
    return this.#spool.isEmpty
      ? 0
      : Math.max(0, this.#spool.end - Math.max(this.#committedTo, this.#spool.from));
  }

  /** When the bytes that were read last had arrived, however long they waited. */
  get readArrivedAtMs(): number {
    return this.#readArrivedAtMs;
  }

  /** Appends what has just arrived; as a copy. @throws spool-full, spool-failed */
  append(chunk: Buffer): void {
    const arrivedAtMs = this.#options.clock.nowMs();
    const recent = this.#recent;
    const isReaderOnDisk = !this.#spool.isEmpty && this.#readTo < this.#spool.end;
    if (!isReaderOnDisk && recent.allocatedBytes + chunk.length > this.#memoryBytesMax)
      recent.dropBefore(this.#keptFrom);
    if (isReaderOnDisk || recent.allocatedBytes + chunk.length > this.#memoryBytesMax) {
      this.#moveToDisk();
      this.#spool.push({ bytes: chunk, arrivedAtMs }, recent.end);
      this.#recent = new RecentBytes(this.#spool.end, this.#freeBlocks);
    } else {
      recent.push(chunk, arrivedAtMs);
    }
    this.#wake?.();
  }

  /**
   * The next bytes, as many as there are together: they hold until the next read. Rejects with what the journal failed
   * with, when all has been read, or with the signal's reason.
   */
  async read(signal: AbortSignal): Promise<Buffer> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#replid === undefined) this.#forget(this.#readFrom);
      const piece = this.#at(this.#readTo);
      if (piece !== undefined) {
        this.#readFrom = this.#readTo;
        this.#readTo += piece.bytes.length;
        this.#readArrivedAtMs = piece.arrivedAtMs;
        return piece.bytes;
      }
      if (this.#failure !== undefined) throw this.#failure.error;
      await this.#arrival(signal);
    }
  }

  /** The next `count` bytes, as a copy, when all of them have arrived. Rejects as `read` does. */
  async take(count: number, signal: AbortSignal): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let left = count; left > 0; ) {
      const bytes = await this.read(signal);
      const part = Buffer.from(bytes.subarray(0, left));
      this.unread(bytes.length - part.length);
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts, count);
  }

  /** Puts the last so many bytes of the last read back, to be read next. */
  unread(count: number): void {
    if (this.#readTo - count < this.#readFrom) throw new Error('more was put back than the last read gave');
    this.#readTo -= count;
  }

  /** The RDB has been read: the next byte is the first of the stream behind the offset. @throws spool-failed */
  beginStream(place: HistoryPlace): void {
    this.#baseOffset = place.offset - this.#readTo;
    this.#spool.placeInStream({ replid: place.replid, baseOffset: this.#baseOffset });
    this.#stand(place);
  }

  /** The source goes on under another id, which all that was received belongs to as well. @throws spool-failed */
  continueAs(replid: string): void {
    if (this.#replid === undefined || replid === this.#replid) return;
    const keptOffset = this.#from + this.#baseOffset;
    this.#earlier = this.#earlier.filter(({ offset }) => offset >= keptOffset);
    this.#earlier.push({ replid: this.#replid, offset: this.receivedOffset });
    this.#replid = replid;
    this.#spool.placeInStream({ replid, baseOffset: this.#baseOffset });
  }

  /** Whether what follows the place was received and is still there. */
  holds({ replid, offset }: HistoryPlace): boolean {
    const place = offset - this.#baseOffset;
    const isOfHistory =
      replid === this.#replid ||
      this.#earlier.some((other) => other.replid === replid && offset <= other.offset);
    return isOfHistory && place >= this.#from && place <= this.#recent.end;
  }

  /** Reads on from an offset that it holds, which is what the target has committed. */
  rewind(offset: number): void {
    this.#readTo = offset - this.#baseOffset;
    this.#readFrom = this.#readTo;
    this.#committedTo = this.#readTo;
  }

  /** The target has committed everything up to the offset. A disk that fails then ends the reading. */
  commit(offset: number): void {
    this.#committedTo = offset - this.#baseOffset;
    if (this.#spool.isEmpty) return;
    try {
      if (this.#committedTo >= this.#spool.end) this.#takeHistoryToMemory();
      this.#forget(this.#keptFrom);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Ends all reading: what has arrived can still be read, then `error` is thrown; until `revive`. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake?.();
  }

  /** What it failed with. */
  get failure(): unknown {
    return this.#failure?.error;
  }

  /** More will arrive after all. */
  revive(): void {
    this.#failure = undefined;
  }

  /** Ends it; what is on disk stays for a later process, if it is not removed. */
  close(): void {
    this.#spool.close();
  }

  /** Ends it, and gives back what is on disk. @throws spool-failed */
  discard(): void {
    this.#spool.dropBefore(this.#spool.end);
    this.#spool.close();
  }

  #stand({ replid, offset }: HistoryPlace): void {
    this.#replid = replid;
    this.rewind(offset);
    this.#spool.placeInStream({ replid, baseOffset: this.#baseOffset });
  }

  get #from(): number {
    return this.#spool.isEmpty ? this.#recent.from : this.#spool.from;
  }

  /** What lies before this place is not needed. */
  get #keptFrom(): number {
    return this.#replid === undefined ? this.#readFrom : this.#committedTo - this.#historyBytes;
  }

  #at(place: number): Piece | undefined {
    return place < this.#recent.from ? this.#spool.at(place) : this.#recent.at(place);
  }

  /** What is in memory may stay as long as there is room. */
  #forget(place: number): void {
    if (this.#replid === undefined) this.#recent.dropBefore(place);
    if (!this.#spool.isEmpty) this.#spool.dropBefore(place);
  }

  #moveToDisk(): void {
    const recent = this.#recent;
    for (let place = recent.from; place < recent.end; ) {
      const piece = recent.at(place);
      if (piece === undefined) throw new Error('the memory of the journal has a gap');
      this.#spool.push(piece, place);
      place += piece.bytes.length;
    }
    // What the reader has in hand is not given up.
    recent.dropBefore(this.#readFrom);
    this.#recent = new RecentBytes(recent.end, this.#freeBlocks);
  }

  /** Nothing on disk is needed any more but the history, which is small. */
  #takeHistoryToMemory(): void {
    const pieces: Piece[] = [];
    for (let place = Math.max(this.#spool.from, this.#keptFrom); place < this.#spool.end; ) {
      const piece = this.#spool.at(place);
      if (piece === undefined) throw new Error('the disk of the journal has a gap');
      pieces.push({ ...piece, bytes: Buffer.from(piece.bytes) });
      place += piece.bytes.length;
    }
    for (const piece of pieces.reverse()) this.#recent.unshift(piece);
    this.#spool.dropBefore(this.#spool.end);
  }

  #arrival(signal: AbortSignal): Promise<void> {
    this.#watch(signal);
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  /** One listener for all reads of a session: one for each cost more than the read. */
  #watch(signal: AbortSignal): void {
    if (signal === this.#watched) return;
    this.#watched?.removeEventListener('abort', this.#wakeReader);
    this.#watched = signal;
    signal.addEventListener('abort', this.#wakeReader, { once: true });
  }
}
