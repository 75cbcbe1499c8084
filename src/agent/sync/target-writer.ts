import type { Socket } from 'node:net';
import { type Clock, systemClock } from '../../core/clock.ts';
import { type MigrationError, toMigrationError } from '../../core/errors.ts';
import type { RateLimit } from '../../core/rate-limit.ts';
import type { Access } from '../redis/access.ts';
import { type Part, partBytes } from '../redis/held-bytes.ts';
import { type Command, encodeCommands } from '../redis/raw-connection.ts';
import { ReplyScanner, type ScannedError } from '../redis/reply-scanner.ts';
import { toServerError } from '../redis/server-error.ts';
import { connectSocket, watchConnection } from '../redis/socket.ts';
import { CommandNames } from './command-names.ts';
import { isExpected, type Refusal, refusalError } from './refusal.ts';

/** What is written at once. */
const SLOT_BYTES = 256 * 1024;
/** Commands up to this size are copied into a slot; larger ones are written from where they are. */
export const SLOT_COMMAND_BYTES_MAX = 128 * 1024;
/** Bytes and commands on their way that the target has not answered yet. */
const UNANSWERED_BYTES_MAX = 8 * 1024 * 1024;
const UNANSWERED_COMMANDS_MAX = 2 ** 19;
/** The shortest of so many counts: a busy host answers one late. */
const ROUND_TRIP_PINGS = 3;
/** Pieces in which a large command is handed to the socket. */
const PIECE_BYTES = 1024 * 1024;
/** A target that owes answers and says nothing for this long is lost. */
const SILENCE_MAX_MS = 60_000;

/** Why nothing more can be written; `isDivergence`: a transaction was applied without one of its commands. */
export type WriteFailure = { readonly error: MigrationError; readonly isDivergence: boolean };

/** Waits for what the target owes, and keeps account of it. */
export type WaitForTarget = (wait: Promise<void>) => Promise<void>;

/** How to open a {@link TargetWriter}. */
export type TargetWriterOptions = {
  readonly access: Access;
  /** Shown in CLIENT LIST of the target. */
  readonly clientName: string;
  readonly clock?: Clock;
  /** The commands per second that may be written; several writers may share it. */
  readonly limit?: RateLimit | undefined;
  /** How many writers share the memory that one has by itself; 1 by default. */
  readonly sharedBy?: number;
  /** Says what a refusal means that is not to be taken as it is; undefined for all others. */
  readonly explain?: (refusal: Refusal) => WriteFailure | undefined;
  /** Called once, when the target is lost or has refused something; nothing is written afterwards. */
  readonly onFailure: (failure: WriteFailure) => void;
  /** Called whenever answers have come. */
  readonly onAnswers: () => void;
  readonly signal: AbortSignal;
};

/**
 * Writes commands to the target in large pieces and counts its answers.
 *
 * Who writes asks `hasRoom` between commands and waits for `room` when there is none: that bounds the memory. Small
 * commands are put together in a slot that goes out when it is full or at `flush`.
 */
export class TargetWriter implements AsyncDisposable {
  readonly names = new CommandNames();
  readonly #access: Access;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #scanner: ReplyScanner;
  readonly #limit: RateLimit | undefined;
  readonly #signal: AbortSignal;
  readonly #unansweredBytesMax: number;
  readonly #unansweredCommandsMax: number;
  readonly #explain: (refusal: Refusal) => WriteFailure | undefined;
  readonly #onFailure: (failure: WriteFailure) => void;
  readonly #onAnswers: () => void;
  /** The name of each unanswered command, by its number modulo the length, which is a power of two. */
  readonly #unansweredNames: Uint16Array;
  readonly #namesMask: number;
  /** How many commands and bytes had been written at each flush that is not answered yet. */
  readonly #flushes: { commands: number; bytes: number }[] = [];
  readonly #freeSlots: Buffer[] = [];
  #slot: Buffer = Buffer.allocUnsafe(SLOT_BYTES);
  #used = 0;
  #commands = 0;
  #bytes = 0;
  #answeredBytes = 0;
  #answeredAtMs: number;
  #roundTripMs = Number.POSITIVE_INFINITY;
  #failure: MigrationError | undefined;
  #waiting: Waiting[] = [];

  /** Connects and authenticates. @throws target-unreachable, target-tls-failed, or the signal's reason */
  static async open(options: TargetWriterOptions): Promise<TargetWriter> {
    let take: ((piece: Buffer) => void) | undefined;
    const socket = await connectSocket(options.access, options.signal, { onRead: (piece) => take?.(piece) });
    const writer = new TargetWriter(options, socket);
    take = (piece) => writer.#takeAnswers(piece);
    try {
      const { username, password } = options.access;
      if (password !== undefined) {
        writer.write(['AUTH', ...(username === undefined ? [] : [username]), password.reveal()]);
      }
      writer.write(['CLIENT', 'SETNAME', options.clientName]);
      writer.write(['SELECT', 0]);
      await writer.settle();
      await writer.#measureRoundTrip();
      return writer;
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(options: TargetWriterOptions, socket: Socket) {
    this.#access = options.access;
    this.#socket = socket;
    this.#clock = options.clock ?? systemClock;
    this.#answeredAtMs = this.#clock.nowMs();
    this.#limit = options.limit;
    this.#signal = options.signal;
    const sharedBy = options.sharedBy ?? 1;
    this.#unansweredBytesMax = Math.max(SLOT_BYTES, UNANSWERED_BYTES_MAX / sharedBy);
    this.#unansweredCommandsMax = Math.floor(UNANSWERED_COMMANDS_MAX / sharedBy);
    this.#unansweredNames = new Uint16Array(2 ** Math.ceil(Math.log2(this.#unansweredCommandsMax * 2)));
    this.#namesMask = this.#unansweredNames.length - 1;
    this.#explain = options.explain ?? (() => undefined);
    this.#onFailure = options.onFailure;
    this.#onAnswers = options.onAnswers;
    this.#scanner = new ReplyScanner((error) => this.#refuse(error));
    watchConnection(socket, this.#access, (error) => this.#lose(error));
  }

  /** Commands that have been written or stand in the slot. */
  get commandCount(): number {
    return this.#commands;
  }

  /** Commands that the target has answered. */
  get answerCount(): number {
    return this.#scanner.count;
  }

  /** How long a command and its answer took when the connection was new. */
  get roundTripMs(): number {
    return this.#roundTripMs;
  }

  /** Bytes that stand in the slot and are not on their way. */
  get unflushedBytes(): number {
    return this.#used;
  }

  /** Whether more can be written without waiting. */
  get hasRoom(): boolean {
    return this.#hasCapacity && !(this.#limit?.isExhausted ?? false);
  }

  get #hasCapacity(): boolean {
    return (
      this.#bytes + this.#used - this.#answeredBytes < this.#unansweredBytesMax &&
      this.#commands - this.#scanner.count < this.#unansweredCommandsMax
    );
  }

  /** Waits until there is room. Throws what the target failed with, or while a limit holds back the signal's reason. */
  async room(): Promise<void> {
    this.flush();
    while (!this.#hasCapacity) await this.#nextAnswers();
    await this.#limit?.ready(this.#signal);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Sends what stands in the slot and waits until so many commands are answered. Throws what the target failed with. */
  async answered(count: number): Promise<void> {
    this.flush();
    while (this.#scanner.count < count) await this.#nextAnswers(count);
  }

  /** Writes what stands in the slot and waits until everything is answered. Throws what the target failed with. */
  async settle(): Promise<void> {
    this.flush();
    while (this.#scanner.count < this.#commands) await this.#nextAnswers(this.#commands);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Writes one small command, in words. */
  write(command: Command): void {
    const bytes = encodeCommands([command]);
    this.writeBytes(this.names.id(String(command[0])), bytes, 0, bytes.length);
  }

  /**
   * Writes one encoded command of at most {@link SLOT_COMMAND_BYTES_MAX} bytes. Its range is given in plain numbers, since
   * this runs for every command of the stream.
   */
  writeBytes(name: number, bytes: Buffer, start: number, end: number): void {
    const slot = this.reserve(end - start);
    bytes.copy(slot, this.#used, start, end);
    this.commit(name, this.#used + end - start);
  }

  /** Writes one encoded command that comes in pieces; a promise means that it is large, as with `writeLarge`. */
  writeParts(name: number, parts: readonly Part[]): Promise<void> | undefined {
    const size = parts.reduce((sum, part) => sum + partBytes(part), 0);
    if (size > SLOT_COMMAND_BYTES_MAX) return this.writeLarge(name, parts);
    const slot = this.reserve(size);
    let at = this.#used;
    for (const part of parts) {
      for (const piece of piecesOf(part)) at += piece.copy(slot, at);
    }
    this.commit(name, at);
    return undefined;
  }

  /** Bytes that can be appended before the slot must go out. */
  get roomInSlot(): number {
    return SLOT_BYTES - this.#used;
  }

  /** How many commands can be written without asking for room again. */
  get commandsMax(): number {
    return this.#limit === undefined ? this.#unansweredCommandsMax - this.#commands + this.#scanner.count : 1;
  }

  /** Counts a command of which the bytes are appended before anything else is done. */
  register(name: number): void {
    this.#limit?.take(1);
    this.#unansweredNames[this.#commands & this.#namesMask] = name;
    this.#commands += 1;
  }

  /** Appends the bytes of registered commands, for which there must be room. */
  append(bytes: Buffer, start: number, end: number): void {
    this.#used += bytes.copy(this.#slot, this.#used, start, end);
  }

  /** The slot, with room for `size` bytes from `offset` on; `commit` must follow before anything else is written. */
  reserve(size: number): Buffer {
    if (this.#used + size > SLOT_BYTES) this.flush();
    return this.#slot;
  }

  /** Where a reserved command begins in the slot. */
  get offset(): number {
    return this.#used;
  }

  /** Completes a command that was written into the reserved slot up to `end`. */
  commit(name: number, end: number): void {
    this.#used = end;
    this.register(name);
  }

  /**
   * Writes one command of any size, in pieces, from where it is; resolves when the socket has taken it, so that the
   * memory can be used for something else. Nothing else may be written meanwhile.
   */
  async writeLarge(name: number, parts: readonly Part[]): Promise<void> {
    this.beginLarge(name);
    for (const part of parts) {
      for (const piece of piecesOf(part)) await this.writePart(piece);
    }
    this.endLarge();
  }

  /** Begins a command whose bytes follow by `writePart`; nothing else may be written until `endLarge`. */
  beginLarge(name: number): void {
    this.flush();
    this.register(name);
  }

  /** Writes a part of the command that was begun, from where it is; resolves when the socket has taken it. */
  async writePart(part: Buffer): Promise<void> {
    for (let at = 0; at < part.length; at += PIECE_BYTES) {
      await this.#send(part.subarray(at, at + PIECE_BYTES));
    }
  }

  /** Ends the command that was begun. */
  endLarge(): void {
    this.#markFlush();
  }

  /** Sends what stands in the slot on its way. */
  flush(): void {
    if (this.#used === 0) return;
    const slot = this.#slot;
    const used = this.#used;
    this.#slot = this.#freeSlots.pop() ?? Buffer.allocUnsafe(SLOT_BYTES);
    this.#used = 0;
    this.#bytes += used;
    this.#markFlush();
    if (this.#failure !== undefined) return;
    this.#socket.write(slot.subarray(0, used), () => this.#freeSlots.push(slot));
  }

  /** Fails when the target owes answers and has been silent for too long; to be called every second or so. */
  checkSilence(): void {
    const isOwing = this.#scanner.count < this.#commands && this.#flushes.length > 0;
    if (!isOwing) this.#answeredAtMs = this.#clock.nowMs();
    if (this.#clock.nowMs() - this.#answeredAtMs <= SILENCE_MAX_MS) return;
    const silent = new Error(`timed out after ${SILENCE_MAX_MS} ms without an answer`);
    this.#lose(toServerError(this.#access, 'writing', silent));
  }

  /** Gives the target up: whoever waits for it gets this error. */
  abandon(error: unknown): void {
    this.#lose(toMigrationError(error));
  }

  /** Closes the connection at once: a transaction without its EXEC is dropped by the target. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#failure ??= toServerError(this.#access, 'writing', new Error('connection closed by us'));
    this.#socket.destroy();
    this.#wakeAll();
  }

  async #measureRoundTrip(): Promise<void> {
    for (let ping = 0; ping < ROUND_TRIP_PINGS; ping++) {
      const sentAtMs = this.#clock.nowMs();
      this.write(['PING']);
      await this.settle();
      this.#roundTripMs = Math.min(this.#roundTripMs, this.#clock.nowMs() - sentAtMs);
    }
  }

  #markFlush(): void {
    this.#flushes.push({ commands: this.#commands, bytes: this.#bytes });
  }

  #send(piece: Buffer): Promise<void> {
    this.#bytes += piece.length;
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#socket.write(piece, (error) => {
        if (error == null) resolve();
        else reject(this.#failure ?? toServerError(this.#access, 'writing', new Error('connection closed')));
      });
    });
  }

  #takeAnswers(chunk: Buffer): void {
    if (this.#failure !== undefined) return;
    try {
      this.#scanner.push(chunk);
    } catch (error) {
      this.#lose(toServerError(this.#access, 'reading its answers', error));
      return;
    }
    this.#answeredAtMs = this.#clock.nowMs();
    let flush = this.#flushes[0];
    while (flush !== undefined && flush.commands <= this.#scanner.count) {
      this.#answeredBytes = flush.bytes;
      this.#flushes.shift();
      flush = this.#flushes[0];
    }
    this.#wakeAll();
    if (this.#failure === undefined) this.#onAnswers();
  }

  /** An element of EXEC's answer belongs to one of the commands before it, as many as there are elements. */
  #refuse({ reply, element, text }: ScannedError): void {
    const number = element === undefined ? reply : reply - element.count + element.index;
    const command = this.names.name(this.#unansweredNames[number & this.#namesMask] ?? 0);
    if (isExpected({ command, text })) return;
    const isApplied = element !== undefined;
    const refusal = { command, text, isApplied };
    const error = () => refusalError(this.#access, refusal);
    this.#fail(this.#explain(refusal) ?? { error: error(), isDivergence: isApplied });
  }

  #lose(error: MigrationError): void {
    this.#fail({ error, isDivergence: false });
  }

  #fail(failure: WriteFailure): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure.error;
    this.#socket.destroy();
    this.#wakeAll();
    this.#onFailure(failure);
  }

  /** Waits for answers, or until so many commands are answered: it is not woken for each piece before. */
  #nextAnswers(count = 0): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#waiting.push({
        count,
        wake: () => (this.#failure === undefined ? resolve() : reject(this.#failure)),
      });
    });
  }

  #wakeAll(): void {
    if (this.#waiting.length === 0) return;
    const isDue = ({ count }: Waiting) => this.#failure !== undefined || this.#scanner.count >= count;
    const due = this.#waiting.filter(isDue);
    if (due.length === 0) return;
    this.#waiting = this.#waiting.filter((waiting) => !isDue(waiting));
    for (const { wake } of due) wake();
  }
}

/** Who waits until so many commands are answered. */
type Waiting = { readonly count: number; readonly wake: () => void };

/** The bytes of a part, in pieces that hold until the next is asked for. */
export function piecesOf(part: Part): Iterable<Buffer> {
  return Buffer.isBuffer(part) ? [part] : part.held.pieces(part.start, part.end);
}
