/** What of a command stands before and behind its key, encoded; see {@link commandAround}. */
export type CommandFrame = { readonly head: Buffer; readonly tail: Buffer };

/** A command of one key: its name, what stands between the name and the key, and what follows the key. */
export function commandAround(
  before: readonly (string | number)[],
  after: readonly (string | number)[] = [],
): CommandFrame {
  const encode = (parts: readonly (string | number)[]) =>
    parts.map((part) => `$${String(part).length}\r\n${part}\r\n`).join('');
  const count = before.length + 1 + after.length;
  return { head: Buffer.from(`*${count}\r\n${encode(before)}`), tail: Buffer.from(encode(after)) };
}

const NO_FRAME: CommandFrame = { head: Buffer.alloc(0), tail: Buffer.alloc(0) };
const FIRST_BYTES = 32 * 1024;
const KEPT_BYTES = 256 * 1024;
const CR = 13;
const LF = 10;
const DOLLAR = 0x24;
/** `$`, ten digits and twice CRLF. */
const AROUND_KEY_BYTES_MAX = 16;

/** Memory that waits for its next use. */
const spare: Buffer[] = [];
const SPARE_MAX = 32;

/** Commands of one key each, encoded one behind the other: `"*" count CRLF 1*("$" length CRLF bytes CRLF)`. */
export class Request {
  #bytes: Buffer = spare.pop() ?? Buffer.allocUnsafeSlow(FIRST_BYTES);
  #end = 0;
  /** How many replies it will get. */
  count = 0;

  /** The commands so far. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }

  /** Adds a command. */
  add({ head, tail }: CommandFrame, key: Buffer): void {
    const size = head.length + key.length + tail.length + AROUND_KEY_BYTES_MAX;
    if (this.#end + size > this.#bytes.length) this.#grow(this.#end + size);
    const bytes = this.#bytes;
    let end = put(bytes, this.#end, head);
    bytes[end++] = DOLLAR;
    end = putLength(bytes, end, key.length);
    end = put(bytes, end, key);
    bytes[end++] = CR;
    bytes[end++] = LF;
    this.#end = put(bytes, end, tail);
    this.count += 1;
  }

  /** Adds one command of several keys. */
  addTogether(name: string, keys: readonly Buffer[]): void {
    const head = Buffer.from(`*${keys.length + 1}\r\n$${name.length}\r\n${name}\r\n`);
    this.addWhole(head);
    for (const key of keys) this.add(NO_FRAME, key);
    this.count -= keys.length;
  }

  /** Adds a command that is encoded already. */
  addWhole(command: Buffer): void {
    if (this.#end + command.length > this.#bytes.length) this.#grow(this.#end + command.length);
    this.#end = put(this.#bytes, this.#end, command);
    this.count += 1;
  }

  /** Ends its use: it has been answered, and its memory goes to another request. */
  release(): void {
    if (spare.length < SPARE_MAX && this.#bytes.length <= KEPT_BYTES) spare.push(this.#bytes);
    this.#bytes = Buffer.alloc(0);
  }

  #grow(size: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(size, 2 * this.#bytes.length));
    this.#bytes.copy(grown, 0, 0, this.#end);
    this.#bytes = grown;
  }
}

/** Below it a loop is faster than a call of `set`. */
const LOOP_BYTES_MAX = 48;

function put(bytes: Buffer, at: number, part: Buffer): number {
  const { length } = part;
  if (length > LOOP_BYTES_MAX) bytes.set(part, at);
  else for (let index = 0; index < length; index++) bytes[at + index] = part[index] ?? 0;
  return at + length;
}

function putLength(bytes: Buffer, at: number, length: number): number {
  let end = at;
  if (length < 10) bytes[end++] = 48 + length;
  else if (length < 100) {
    bytes[end++] = 48 + Math.floor(length / 10);
    bytes[end++] = 48 + (length % 10);
  } else end += bytes.write(String(length), end, 'latin1');
  bytes[end++] = CR;
  bytes[end++] = LF;
  return end;
}
