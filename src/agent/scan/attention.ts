/** What a session must act on: news of any kind, and gaps. */
export class Attention {
  readonly #waiting: (() => void)[] = [];
  #gap: string | undefined;
  #hasNews = false;

  /** Why changes may have been missed, so that everything must be gone over again; undefined when none may. */
  get gap(): string | undefined {
    return this.#gap;
  }

  /** Changes may have been missed, `reason` says why in a few words. */
  markGap(reason: string): void {
    this.#gap ??= reason;
    this.wake();
  }

  /** Everything is about to be gone over. */
  closeGap(): void {
    this.#gap = undefined;
  }

  /** Something has happened. */
  wake(): void {
    this.#hasNews = true;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when something has happened since it resolved last. */
  async news(): Promise<void> {
    if (!this.#hasNews) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    this.#hasNews = false;
  }
}
