/** The longest line of a handshake. */
const LINE_BYTES_MAX = 64 * 1024;

/** Who takes what arrives once the handshake is over. */
export type Receiver = {
  /** Takes the next bytes, which hold until it returns; at once, since a source is never held back. */
  take(chunk: Buffer): void;
  /** Called when nothing more will come; possibly more than once. */
  lost(error: unknown): void;
};

/**
 * What arrives at a socket: line by line at first, and from `pipeTo` on all of it to a receiver.
 *
 * The socket is never held back: a source that cannot send loses its replica, after repl-timeout or when its output
 * buffer is full.
 */
export class IncomingBytes {
  #pending = Buffer.alloc(0);
  #receiver: Receiver | undefined;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #arrivals = 0;

  /** Sees each piece before it is taken; one at a time. */
  watcher: ((piece: Buffer) => void) | undefined;

  /** Takes what has arrived. */
  push(piece: Buffer): void {
    this.#arrivals += 1;
    this.watcher?.(piece);
    if (this.#receiver !== undefined) {
      this.#receiver.take(piece);
      return;
    }
    this.#pending = Buffer.concat([this.#pending, piece]);
    this.#wake?.();
  }

  /** Bytes that have arrived, and were neither read as a line nor handed over. */
  get pendingBytes(): number {
    return this.#pending.length;
  }

  /** How often something has arrived. */
  get arrivals(): number {
    return this.#arrivals;
  }

  /** The next line without its CRLF; empty lines, which keep a connection alive, are passed over. */
  async readLine(signal: AbortSignal): Promise<string> {
    for (;;) {
      signal.throwIfAborted();
      const end = this.#pending.indexOf('\n');
      if (end !== -1) {
        const text = this.#pending.toString('latin1', 0, end).replace(/\r$/, '');
        this.#pending = this.#pending.subarray(end + 1);
        if (text !== '') return text;
        continue;
      }
      if (this.#pending.length > LINE_BYTES_MAX)
        throw new Error(`a line of more than ${LINE_BYTES_MAX} bytes`);
      if (this.#failure !== undefined) throw this.#failure.error;
      await this.#arrival(signal);
    }
  }

  /** Hands everything that was not read as a line to the receiver, now and from now on. */
  pipeTo(receiver: Receiver): void {
    this.#receiver = receiver;
    const pending = this.#pending;
    this.#pending = Buffer.alloc(0);
    if (pending.length > 0) receiver.take(pending);
    if (this.#failure !== undefined) receiver.lost(this.#failure.error);
  }

  /** Ends it: nothing more will come. */
  fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    this.#wake?.();
    this.#receiver?.lost(error);
  }

  #arrival(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        this.#wake = undefined;
        resolve();
      };
      this.#wake = wake;
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
