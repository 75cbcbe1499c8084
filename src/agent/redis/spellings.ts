/** Texts up to this size are remembered. */
const BYTES_MAX = 24;
/** Buckets; a name that falls into the one of another takes its place. */
const BUCKETS = 1024;

type Spelling = { readonly bytes: Uint8Array; readonly text: string };

/**
 * Short texts that come again and again, such as the names of commands, so that none is decoded twice.
 *
 * Making a string of the name of every command was a third of the work for a stream.
 */
export class Spellings {
  readonly #buckets: (Spelling | undefined)[] = new Array<Spelling | undefined>(BUCKETS).fill(undefined);

  /** The text of `bytes[start, end)`, one character for each byte. */
  text(bytes: Buffer, start: number, end: number): string {
    const length = end - start;
    if (length > BYTES_MAX) return bytes.toString('latin1', start, end);
    let hash = length;
    for (let at = start; at < end; at++) hash = (hash * 31 + (bytes[at] ?? 0)) | 0;
    const bucket = hash & (BUCKETS - 1);
    const known = this.#buckets[bucket];
    if (known !== undefined && isEqual(known.bytes, bytes, start, length)) return known.text;
    const text = bytes.toString('latin1', start, end);
    this.#buckets[bucket] = { bytes: Uint8Array.prototype.slice.call(bytes, start, end), text };
    return text;
  }
}

function isEqual(known: Uint8Array, bytes: Buffer, start: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let index = 0; index < length; index++) if (known[index] !== bytes[start + index]) return false;
  return true;
}
