import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Access } from './access.ts';
import { watchConnection } from './socket.ts';

/** Bytes that wait to be read before the socket is held back, and below which it goes on. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;
const WAITING_BYTES_RESUME = 1024 * 1024;
/** The longest line of a handshake. */
const LINE_BYTES_MAX = 64 * 1024;

/** What arrives at a socket, to be taken in the pieces it came in; one reader at a time. */
export class IncomingBytes {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #chunks: Buffer[] = [];
  /** When each of the chunks arrived. */
  readonly #arrivalsMs: number[] = [];
  #waitingBytes = 0;
  #failure: unknown;
  #lastByteAtMs: number;
  #waiting: { wake: () => void; sinceMs: number } | undefined;
  #readArrivedAtMs = 0;

  constructor(socket: Socket, access: Access, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.#lastByteAtMs = clock.nowMs();
    socket.on('data', (chunk) => this.#take(chunk));
    watchConnection(socket, access, (error) => this.fail(error));
  }

  /** Bytes that can be read without waiting. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** When the bytes that were read last had arrived, however long they waited to be read. */
  get readArrivedAtMs(): number {
    return this.#readArrivedAtMs;
  }

  /** For how long a reader has waited in vain; 0 while nobody waits. */
  get silenceMs(): number {
    if (this.#waiting === undefined) return 0;
    return this.#clock.nowMs() - Math.max(this.#waiting.sinceMs, this.#lastByteAtMs);
  }

  /** The next bytes, as many as came at once. Rejects when the connection is lost or the signal aborted. */
  async read(signal: AbortSignal): Promise<Buffer> {
    for (;;) {
      signal.throwIfAborted();
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#waitingBytes -= chunk.length;
        this.#readArrivedAtMs = this.#arrivalsMs.shift() ?? this.#clock.nowMs();
        if (this.#waitingBytes < WAITING_BYTES_RESUME && this.#socket.isPaused()) this.#socket.resume();
        return chunk;
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
    this.#waitingBytes += bytes.length;
  }

  /** Ends all reading: what has arrived can still be read, then `error` is thrown. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#waiting?.wake();
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#waitingBytes += chunk.length;
    this.#lastByteAtMs = this.#clock.nowMs();
    this.#arrivalsMs.push(this.#lastByteAtMs);
    if (this.#waitingBytes > WAITING_BYTES_MAX) this.#socket.pause();
    this.#waiting?.wake();
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
