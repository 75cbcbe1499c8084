/*
 * reply = "+" text CRLF | "-" text CRLF | ":" number CRLF
 *       | "$" length CRLF bytes CRLF | "*" count CRLF *reply        length or count -1: null
 */

/** An error among the replies. */
export type ScannedError = {
  /** Which reply, counted from 0. */
  readonly reply: number;
  /** Which element of that reply, and of how many; undefined when the reply itself is the error. */
  readonly element: { readonly index: number; readonly count: number } | undefined;
  readonly text: string;
};

const LINE_BYTES_MAX = 64 * 1024;
const [PLUS, MINUS, COLON, DOLLAR, STAR, LINE_FEED, CARRIAGE_RETURN] = [43, 45, 58, 36, 42, 10, 13];
const QUEUED_BYTES = 9;
const OK_BYTES = 5;

/**
 * Counts replies and finds the errors among them without making anything of the others: a full copy has millions of
 * replies, of which only the errors matter.
 */
export class ReplyScanner {
  /** Complete replies so far. */
  count = 0;
  readonly #onError: (error: ScannedError) => void;
  /** Elements that are missing of each array under way, the outermost first. */
  readonly #missing: number[] = [];
  #outermostCount = 0;
  #bulkBytesLeft = 0;
  #partialLine: Buffer | undefined;

  constructor(onError: (error: ScannedError) => void) {
    this.#onError = onError;
  }

  /** Takes the next bytes; throws a plain Error for what is no reply. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#bulkBytesLeft > 0) {
        const taken = Math.min(this.#bulkBytesLeft, chunk.length - at);
        this.#bulkBytesLeft -= taken;
        at += taken;
        if (this.#bulkBytesLeft === 0) this.#complete();
        continue;
      }
      if (this.#partialLine === undefined) {
        const from = at;
        at = this.#missing.length === 0 ? this.#countQueued(chunk, at) : this.#countOk(chunk, at);
        if (at !== from) continue;
      }
      let end = at;
      while (end < chunk.length && chunk[end] !== LINE_FEED) end += 1;
      if (end === chunk.length) {
        this.#keepPartial(chunk.subarray(at));
        return;
      }
      if (this.#partialLine === undefined) {
        this.#takeLine(chunk, at, end);
      } else {
        const line = Buffer.concat([this.#partialLine, chunk.subarray(at, end)]);
        this.#partialLine = undefined;
        this.#takeLine(line, 0, line.length);
      }
      at = end + 1;
    }
  }

  /** Counts all `+QUEUED` that come next, and returns where they end: half of the replies to transactions are these. */
  #countQueued(chunk: Buffer, from: number): number {
    let at = from;
    while (
      chunk[at + 8] === LINE_FEED &&
      chunk[at] === PLUS &&
      chunk[at + 1] === 0x51 &&
      chunk[at + 2] === 0x55 &&
      chunk[at + 3] === 0x45 &&
      chunk[at + 4] === 0x55 &&
      chunk[at + 5] === 0x45 &&
      chunk[at + 6] === 0x44 &&
      chunk[at + 7] === CARRIAGE_RETURN
    )
      at += QUEUED_BYTES;
    this.count += (at - from) / QUEUED_BYTES;
    return at;
  }

  /** Counts all `+OK` that come next in an array, but for its last element, and returns where they end. */
  #countOk(chunk: Buffer, from: number): number {
    const last = this.#missing.length - 1;
    let missing = this.#missing[last] ?? 0;
    let at = from;
    while (
      missing > 1 &&
      chunk[at + 4] === LINE_FEED &&
      chunk[at] === PLUS &&
      chunk[at + 1] === 0x4f &&
      chunk[at + 2] === 0x4b &&
      chunk[at + 3] === CARRIAGE_RETURN
    ) {
      at += OK_BYTES;
      missing -= 1;
    }
    this.#missing[last] = missing;
    return at;
  }

  #keepPartial(bytes: Buffer): void {
    const line = Buffer.concat([this.#partialLine ?? Buffer.alloc(0), bytes]);
    if (line.length > LINE_BYTES_MAX) throw new Error('a reply line without an end');
    this.#partialLine = line;
  }

  #takeLine(bytes: Buffer, start: number, end: number): void {
    switch (bytes[start]) {
      case PLUS:
      case COLON:
        this.#complete();
        return;
      case MINUS:
        this.#onError({
          reply: this.count,
          element: this.#element(),
          text: bytes.toString('latin1', start, end).trimEnd(),
        });
        this.#complete();
        return;
      case DOLLAR: {
        const length = this.#number(bytes, start, end);
        if (length < 0) this.#complete();
        else this.#bulkBytesLeft = length + 2;
        return;
      }
      case STAR: {
        const count = this.#number(bytes, start, end);
        if (count <= 0) {
          this.#complete();
          return;
        }
        if (this.#missing.length === 0) this.#outermostCount = count;
        this.#missing.push(count);
        return;
      }
      default:
        throw new Error(`a reply that begins with byte ${bytes[start]}`);
    }
  }

  #element(): ScannedError['element'] {
    const missing = this.#missing[0];
    if (missing === undefined) return undefined;
    return { index: this.#outermostCount - missing, count: this.#outermostCount };
  }

  #complete(): void {
    for (;;) {
      const missing = this.#missing.pop();
      if (missing === undefined) {
        this.count += 1;
        return;
      }
      if (missing > 1) {
        this.#missing.push(missing - 1);
        return;
      }
    }
  }

  #number(bytes: Buffer, start: number, end: number): number {
    const value = Number(bytes.toString('latin1', start + 1, end));
    if (!Number.isSafeInteger(value)) throw new Error('a reply with a length that is no number');
    return value;
  }
}
