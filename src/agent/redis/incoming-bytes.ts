import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Access } from './access.ts';
import { watchConnection } from './socket.ts';
import type { Spool } from './spool.ts';

/** What waits in memory to be read before the rest goes to disk; chunks are counted because each takes its own space. */
const MEMORY_BYTES_MAX = 8 * 1024 * 1024;
const MEMORY_CHUNKS_MAX = 4096;
/** The longest line of a handshake. */
const LINE_BYTES_MAX = 64 * 1024;

/** What an {@link IncomingBytes} works with; `onSpoolFailure` is called once, when the spool can take no more. */
export type IncomingOptions = {
  readonly access: Access;
  readonly clock: Clock;
  readonly spool: Spool;
  readonly onSpoolFailure: (error: unknown) => void;
};

/**
 * What arrives at a socket, to be taken in order; one reader at a time.
 *
 * The socket is never held back: a source that cannot send loses its replica, after repl-timeout or when its output
 * buffer is full. What exceeds the memory waits in the spool. The first bytes that wait are in memory, those behind
 * them on disk, and memory takes no more until the disk is read.
 */
export class IncomingBytes {
  readonly #spool: Spool;
  readonly #onSpoolFailure: (error: unknown) => void;
  readonly #clock: Clock;
  readonly #chunks: Buffer[] = [];
  /** When each of the chunks arrived. */
  readonly #arrivalsMs: number[] = [];
  #memoryBytes = 0;
  #failure: unknown;
  #lastByteAtMs: number;
  #waiting: { wake: () => void; sinceMs: number } | undefined;
  #readArrivedAtMs = 0;

  constructor(socket: Socket, { access, clock, spool, onSpoolFailure }: IncomingOptions) {
    this.#spool = spool;
    this.#onSpoolFailure = onSpoolFailure;
    this.#clock = clock;
    this.#lastByteAtMs = clock.nowMs();
    socket.on('data', (chunk) => {
      if (!this.#take(chunk)) socket.destroy();
    });
    watchConnection(socket, access, (error) => this.fail(error));
  }

  /** Bytes that can be read without waiting, in memory and on disk. */
  get waitingBytes(): number {
    return this.#memoryBytes + this.#spool.bytes;
  }

  /** When the bytes that were read last had arrived, however long they waited; from disk as exact as {@link Spool} says. */
  get readArrivedAtMs(): number {
    return this.#readArrivedAtMs;
  }

  /** For how long a reader has waited in vain; 0 while nobody waits. */
  get silenceMs(): number {
    if (this.#waiting === undefined) return 0;
    return this.#clock.nowMs() - Math.max(this.#waiting.sinceMs, this.#lastByteAtMs);
  }

  /**
   * The next bytes, as many as came at once: they hold until the next read. Rejects when the connection is lost, the
   * spool fails (spool-full, spool-failed) or the signal is aborted.
   */
  async read(signal: AbortSignal): Promise<Buffer> {
    for (;;) {
      signal.throwIfAborted();
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#memoryBytes -= chunk.length;
        this.#readArrivedAtMs = this.#arrivalsMs.shift() ?? this.#clock.nowMs();
        return chunk;
      }
      const spooled = this.#spool.shift();
      if (spooled !== undefined) {
        this.#readArrivedAtMs = spooled.arrivedAtMs;
        return spooled.bytes;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await this.#wait(signal);
    }
  }

  /** The next line without its CRLF; empty lines, which keep a connection alive, are passed over. */
  async readLine(signal: AbortSignal): Promise<string> {
    let line = Buffer.alloc(0);
    for (;;) {
      const chunk = await this.read(signal);
      const end = chunk.indexOf('\n');
      const part = end === -1 ? chunk : chunk.subarray(0, end);
      line = Buffer.concat([line, part]);
      if (line.length > LINE_BYTES_MAX) throw new Error(`a line of more than ${LINE_BYTES_MAX} bytes`);
      if (end === -1) continue;
      this.unread(chunk.subarray(end + 1));
      const text = line.toString('latin1').replace(/\r$/, '');
      if (text !== '') return text;
      line = Buffer.alloc(0);
    }
  }

  /** Puts bytes back, to be read next. */
  unread(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#chunks.unshift(bytes);
    this.#arrivalsMs.unshift(this.#readArrivedAtMs);
    this.#memoryBytes += bytes.length;
  }

  /** Ends all reading: what has arrived can still be read, then `error` is thrown. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#waiting?.wake();
  }

  /** Keeps the chunk; false when it cannot, and nothing more may come. */
  #take(chunk: Buffer): boolean {
    this.#lastByteAtMs = this.#clock.nowMs();
    const fitsInMemory =
      this.#memoryBytes + chunk.length <= MEMORY_BYTES_MAX && this.#chunks.length < MEMORY_CHUNKS_MAX;
    if (this.#spool.bytes === 0 && fitsInMemory) {
      this.#chunks.push(chunk);
      this.#arrivalsMs.push(this.#lastByteAtMs);
      this.#memoryBytes += chunk.length;
    } else if (!this.#takeToDisk(chunk)) {
      return false;
    }
    this.#waiting?.wake();
    return true;
  }

  #takeToDisk(chunk: Buffer): boolean {
    try {
      this.#spool.push(chunk, this.#lastByteAtMs);
      return true;
    } catch (error) {
      this.fail(error);
      this.#onSpoolFailure(error);
      return false;
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        this.#waiting = undefined;
        resolve();
      };
      this.#waiting = { wake, sinceMs: this.#clock.nowMs() };
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
