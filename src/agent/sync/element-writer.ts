import { encodeCommands } from '../redis/raw-connection.ts';
import { SLOT_COMMAND_BYTES_MAX, type TargetWriter, type WaitForTarget } from './target-writer.ts';

/** A command carries so many elements and bytes of them at most, unless a single element is larger. */
const ELEMENTS_MAX = 512;
const CHUNK_BYTES = 64 * 1024;
/** An argument beyond this size is not gathered, but sent in pieces. */
export const GATHERED_BYTES_MAX = 64 * 1024;
/** A full chunk, and the arguments of one more element with what stands around them. */
const BUFFER_BYTES = CHUNK_BYTES + 3 * (GATHERED_BYTES_MAX + 32);

/** What the elements of one key are written by: `HSET` with 2 arguments for each, `SADD` with 1, and so on. */
export type ElementCommand = {
  readonly name: string;
  readonly key: Buffer;
  readonly argumentsPerElement: number;
};

/** Where they are written to. */
export type ElementTarget = { readonly writer: TargetWriter; readonly waitForTarget: WaitForTarget };

/**
 * Writes the elements of a large collection by commands of bounded size: `NAME key argument*`.
 *
 * A long argument begins a command of its own for its element, of which the bytes go out as they come.
 */
export class ElementWriter {
  readonly #writer: TargetWriter;
  readonly #waitForTarget: WaitForTarget;
  readonly #command: ElementCommand;
  readonly #nameId: number;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #used = 0;
  #elements = 0;
  /** Where the arguments of the element under way begin. */
  #elementAt = 0;
  #isOwnCommandOpen = false;

  constructor({ writer, waitForTarget }: ElementTarget, command: ElementCommand) {
    this.#writer = writer;
    this.#waitForTarget = waitForTarget;
    this.#command = command;
    this.#nameId = writer.names.id(command.name);
  }

  /** Adds an argument of at most {@link GATHERED_BYTES_MAX} bytes to the element under way. */
  put(argument: Buffer): void {
    const { length } = argument;
    this.#used += this.#buffer.write(`$${length}\r\n`, this.#used, 'latin1');
    this.#used += argument.copy(this.#buffer, this.#used);
    this.#used += this.#buffer.write('\r\n', this.#used, 'latin1');
  }

  /** Adds an argument of ASCII characters. */
  putText(text: string): void {
    this.#used += this.#buffer.write(`$${text.length}\r\n${text}\r\n`, this.#used, 'latin1');
  }

  /** Adds a longer argument of `size` bytes, which come in pieces. */
  async putLong(size: number, pieces: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    if (!this.#isOwnCommandOpen) await this.#openOwnCommand();
    this.#used += this.#buffer.write(`$${size}\r\n`, this.#used, 'latin1');
    await this.#sendGathered();
    for await (const piece of pieces) await this.#send(piece);
    this.#used += this.#buffer.write('\r\n', 0, 'latin1');
  }

  /** Ends the element under way; true when `flush` should follow. */
  endElement(): boolean {
    this.#elements += 1;
    this.#elementAt = this.#used;
    return this.#isOwnCommandOpen || this.#elements >= ELEMENTS_MAX || this.#used >= CHUNK_BYTES;
  }

  /** Writes the elements that are complete, and waits until there is room for more. */
  async flush(): Promise<void> {
    const writer = this.#writer;
    if (this.#isOwnCommandOpen) {
      await this.#sendGathered();
      writer.endLarge();
      this.#isOwnCommandOpen = false;
    } else if (this.#elements > 0) {
      const head = this.#head(this.#elements);
      const size = head.length + this.#used;
      if (size > SLOT_COMMAND_BYTES_MAX) {
        const parts = [head, this.#buffer.subarray(0, this.#used)];
        await this.#waitForTarget(writer.writeLarge(this.#nameId, parts));
      } else {
        const slot = writer.reserve(size);
        const at = writer.offset;
        head.copy(slot, at);
        this.#buffer.copy(slot, at + head.length, 0, this.#used);
        writer.commit(this.#nameId, at + size);
      }
    }
    this.#used = 0;
    this.#elements = 0;
    this.#elementAt = 0;
    if (!writer.hasRoom) await this.#waitForTarget(writer.room());
  }

  /** Writes what is complete, and begins a command with what there is of the element under way. */
  async #openOwnCommand(): Promise<void> {
    const begun = Buffer.from(this.#buffer.subarray(this.#elementAt, this.#used));
    this.#used = this.#elementAt;
    await this.flush();
    this.#writer.beginLarge(this.#nameId);
    this.#isOwnCommandOpen = true;
    await this.#send(this.#head(1));
    this.#used = begun.copy(this.#buffer);
  }

  async #sendGathered(): Promise<void> {
    await this.#send(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }

  #send(part: Buffer): Promise<void> {
    return this.#waitForTarget(this.#writer.writePart(part));
  }

  /** `*count CRLF` and the name and the key as bulk strings. */
  #head(elements: number): Buffer {
    const { name, key, argumentsPerElement } = this.#command;
    const count = Buffer.from(`*${2 + elements * argumentsPerElement}\r\n`, 'latin1');
    const nameAndKey = encodeCommands([[name, key]]);
    return Buffer.concat([count, nameAndKey.subarray(nameAndKey.indexOf('\n') + 1)]);
  }
}
