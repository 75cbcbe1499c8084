/** Lets one copy after the other be made: each needs the memory of a whole sync, and the cores of the host. */
export class CopyTurns {
  #isTaken = false;
  readonly #waiting = new Set<() => void>();

  /** Resolves when it is the caller's turn, until `release`. Rejects with the signal's reason. */
  async take(signal: AbortSignal): Promise<void> {
    while (this.#isTaken) await this.#change(signal);
    signal.throwIfAborted();
    this.#isTaken = true;
  }

  /** Ends a turn that was taken. */
  release(): void {
    this.#isTaken = false;
    for (const wake of this.#waiting) wake();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise<void>((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
      if (signal.aborted) wake();
    }).then(() => signal.throwIfAborted());
  }
}

/** The turn of one session; without others it is always its turn. */
export class CopyTurn implements Disposable {
  readonly #turns: CopyTurns | undefined;
  #isHeld = false;

  constructor(turns: CopyTurns | undefined) {
    this.#turns = turns;
  }

  /** Waits for the turn, unless it is held already. Rejects with the signal's reason. */
  async take(signal: AbortSignal): Promise<void> {
    if (this.#turns === undefined || this.#isHeld) return;
    await this.#turns.take(signal);
    this.#isHeld = true;
  }

  /** Ends it, if it is held. */
  [Symbol.dispose](): void {
    if (this.#isHeld) this.#turns?.release();
    this.#isHeld = false;
  }
}
