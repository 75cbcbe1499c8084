/** Texts up to this size are remembered. */
const BYTES_MAX = 24;
/** Buckets; a name that falls into the one of another takes its place. */
const BUCKETS = 1024;

type Spelling<Value> = { readonly bytes: Uint8Array; readonly value: Value };

/**
 * What short texts that come again and again stand for, such as the names of commands, so that none is decoded twice.
 *
 * Making a string of the name of every command was a third of the work for a stream.
 */
export class Spellings<Value> {
  readonly #make: (text: string) => Value;
  readonly #buckets: (Spelling<Value> | undefined)[] = new Array<Spelling<Value> | undefined>(BUCKETS).fill(
    undefined,
  );

  /** `make`: what a text stands for, which must always be the same. */
  constructor(make: (text: string) => Value) {
    this.#make = make;
  }

  /** What the text of `bytes[start, end)` stands for, one character for each byte. */
  find(bytes: Buffer, start: number, end: number): Value {
    const length = end - start;
    if (length > BYTES_MAX) return this.#make(bytes.toString('latin1', start, end));
    let hash = length;
    for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + (bytes[at] ?? 0)) | 0;
    const bucket = hash & (BUCKETS - 1);
    const known = this.#buckets[bucket];
    if (known !== undefined && isEqual(known.bytes, bytes, start, length)) return known.value;
    const value = this.#make(bytes.toString('latin1', start, end));
    this.#buckets[bucket] = { bytes: Uint8Array.prototype.slice.call(bytes, start, end), value };
    return value;
  }
}

function isEqual(known: Uint8Array, bytes: Buffer, start: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let index = 0; index < length; index++) if (known[index] !== bytes[start + index]) return false;
  return true;
}
