import type { ClusterNode } from '../../redis/cluster/topology.ts';
import { type Part, partBytes } from '../../redis/held-bytes.ts';
import { encodeArguments } from '../../redis/raw-connection.ts';
import { piecesOf, type TargetWriter } from '../target-writer.ts';
import { BATCH_COMMAND_ARGUMENTS_MAX, BATCH_SCRIPT_SHA, HEAD_FACTOR } from './batch-script.ts';

/** A batch of this size is closed as soon as it can be. */
const BATCH_BYTES_WORTH = 64 * 1024;
const BATCH_COMMANDS_WORTH = 1_000;
/** A batch with more is closed even within a transaction. */
const BATCH_ARGUMENTS_MAX = 500_000;
const HEAD_BYTES_MAX = 32;
/** A larger buffer is not kept for the next batch. */
const SPARE_BYTES_MAX = 4 * 1024 * 1024;

/** What a lane begins with. */
export type LaneOptions = {
  readonly node: ClusterNode;
  readonly writer: TargetWriter;
  /** The session that writes: see ClusterClaim. */
  readonly generation: number;
  /** The key under which the node keeps its checkpoint, and what stands there. */
  readonly checkpointKey: Buffer;
  readonly checkpoint: string;
  /** Where the stream begins. */
  readonly offset: number;
  nowMs(): number;
  /** Called before a checkpoint of that offset is sent. */
  beforeCheckpoint(offset: number): void;
};

type SentBatch = {
  readonly answers: number;
  readonly offset: number;
  readonly commands: number;
  readonly openedAtMs: number;
};

/** A place in the stream: the offset, and the database that it stands in. */
export type Place = { readonly offset: number; readonly db: number };

/**
 * What goes to one primary: commands in the order of the stream, in batches that each commit a checkpoint.
 *
 * Several batches may be on their way: see the script for why one that follows a refused one does no harm.
 */
export class Lane {
  readonly node: ClusterNode;
  readonly writer: TargetWriter;
  readonly #checkpointKey: Buffer;
  readonly #generation: number;
  readonly #nowMs: () => number;
  readonly #beforeCheckpoint: (offset: number) => void;
  readonly #name: number;
  readonly #sent: SentBatch[] = [];
  #buffer: Buffer = Buffer.allocUnsafe(BATCH_BYTES_WORTH);
  /** Takes turns with the buffer while a large batch is on its way: memory of this size is given back late. */
  #spare: Buffer | undefined;
  #used = 0;
  #arguments = 0;
  #commands = 0;
  #openedAtMs = 0;
  /** Where the batch begins, and the checkpoint that the node has then. */
  #base: number;
  #expected: string;
  #committed: number;
  /** While a large batch is on its way to the socket: nothing else may be written then. */
  #writing: Promise<void> | undefined;

  constructor(options: LaneOptions) {
    this.node = options.node;
    this.writer = options.writer;
    this.#checkpointKey = options.checkpointKey;
    this.#generation = options.generation;
    this.#nowMs = options.nowMs;
    this.#beforeCheckpoint = options.beforeCheckpoint;
    this.#name = options.writer.names.id('EVALSHA');
    this.#base = options.offset;
    this.#committed = options.offset;
    this.#expected = options.checkpoint;
  }

  /** Bytes of the batch that is open. */
  get openBytes(): number {
    return this.#used;
  }

  /** Up to where the checkpoint of the node will be when everything on its way is answered. */
  get base(): number {
    return this.#base;
  }

  /** Whether everything that came here is committed. */
  get isSettled(): boolean {
    return this.#used === 0 && this.#sent.length === 0;
  }

  /** Whether a batch is on its way. */
  get isAwaiting(): boolean {
    return this.#sent.length > 0;
  }

  /** Whether the socket has yet to take a large batch, so that nothing may be written. */
  get isWriting(): boolean {
    return this.#writing !== undefined;
  }

  /** Whether the batch should be closed as soon as it can be. */
  get isWorth(): boolean {
    return this.#used >= BATCH_BYTES_WORTH || this.#commands >= BATCH_COMMANDS_WORTH;
  }

  /** When the oldest command came that is not committed. */
  get oldestAtMs(): number | undefined {
    return this.#sent[0]?.openedAtMs ?? (this.#used > 0 ? this.#openedAtMs : undefined);
  }

  /** Where the checkpoint of the node is known to be. */
  get checkpoint(): number {
    return this.#committed;
  }

  /** What the node has committed, of a stream that has been given out up to `offset`. */
  committed(offset: number): number {
    return this.isSettled ? offset : this.#committed;
  }

  /**
   * Adds an encoded command, in pieces; `through` is the offset that is committed if the next one fails.
   *
   * The command has at most {@link BATCH_COMMAND_ARGUMENTS_MAX} arguments.
   */
  add(parts: readonly Part[], through: number): void {
    if (this.#used === 0) this.#openedAtMs = this.#nowMs();
    const { count, first, others } = withoutCount(parts);
    this.#makeRoom(parts.reduce((sum, part) => sum + partBytes(part), HEAD_BYTES_MAX));
    this.#putHead(count, through);
    this.#used += first.copy(this.#buffer, this.#used);
    for (const part of others) {
      for (const piece of piecesOf(part)) this.#used += piece.copy(this.#buffer, this.#used);
    }
    this.#arguments += count + 1;
    this.#commands += 1;
  }

  /** Whether so many more arguments fit into the batch. */
  hasRoomFor(argumentCount: number): boolean {
    return this.#arguments + argumentCount < BATCH_ARGUMENTS_MAX;
  }

  /** Sends the batch, with the checkpoint that it commits; a promise means that the socket has yet to take it. */
  close({ offset, db }: Place): Promise<void> | undefined {
    if (this.#writing !== undefined) return this.#writing.then(() => this.close({ offset, db }));
    if (this.#used === 0 && offset === this.#base) return undefined;
    const bytes = this.#buffer.subarray(0, this.#used);
    return this.#send({ parts: [bytes], argumentCount: this.#arguments }, { offset, db });
  }

  /**
   * Sends one large command as a batch of its own, from where it is; what was added before must have been closed.
   * Resolves when the socket has taken it.
   */
  async closeWith(parts: readonly Part[], place: Place): Promise<void> {
    await this.#writing;
    const { count, first, others } = withoutCount(parts);
    const head = Buffer.from(bulk(headText(count, place.offset - this.#base)), 'latin1');
    this.#openedAtMs = this.#nowMs();
    this.#commands = 1;
    await this.#send({ parts: [head, first, ...others], argumentCount: count + 1 }, place);
  }

  /** Waits until everything on its way is answered. Throws what the node failed with. */
  settle(): Promise<void> {
    return this.writer.settle();
  }

  /** Takes note of answers; returns how many commands have been committed by them. */
  takeAnswers(): number {
    let commands = 0;
    for (;;) {
      const [batch] = this.#sent;
      if (batch === undefined || this.writer.answerCount < batch.answers) return commands;
      this.#sent.shift();
      this.#committed = batch.offset;
      commands += batch.commands;
    }
  }

  #send(
    { parts, argumentCount }: { parts: readonly Part[]; argumentCount: number },
    { offset, db }: Place,
  ): Promise<void> | undefined {
    this.#beforeCheckpoint(offset);
    const checkpoint = `${this.#generation} ${offset} ${db}`;
    const head = encodeArguments([
      'EVALSHA',
      BATCH_SCRIPT_SHA,
      0,
      this.#checkpointKey,
      this.#expected,
      `${this.#generation} `,
      ` ${db}`,
      this.#base,
      checkpoint,
    ]);
    const count = Buffer.from(`*${9 + argumentCount}\r\n`, 'latin1');
    const taken = this.writer.writeParts(this.#name, [count, head, ...parts]);
    this.#sent.push({
      answers: this.writer.commandCount,
      offset,
      commands: this.#commands,
      openedAtMs: this.#used > 0 || argumentCount > 0 ? this.#openedAtMs : this.#nowMs(),
    });
    this.#base = offset;
    this.#expected = checkpoint;
    this.#used = 0;
    this.#arguments = 0;
    this.#commands = 0;
    if (taken === undefined) {
      this.writer.flush();
      return undefined;
    }
    // The socket reads it until it is taken.
    const sent = this.#buffer;
    this.#buffer = this.#spare ?? Buffer.allocUnsafe(BATCH_BYTES_WORTH);
    this.#spare = undefined;
    this.#writing = taken.finally(() => {
      this.#writing = undefined;
      if (sent.length <= SPARE_BYTES_MAX) this.#spare = sent;
    });
    return this.#writing;
  }

  #putHead(count: number, through: number): void {
    this.#used += this.#buffer.write(bulk(headText(count, through - this.#base)), this.#used, 'latin1');
  }

  #makeRoom(bytes: number): void {
    const needed = this.#used + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length));
    this.#buffer.copy(larger, 0, 0, this.#used);
    this.#buffer = larger;
  }
}

function headText(count: number, done: number): string {
  if (count > BATCH_COMMAND_ARGUMENTS_MAX) throw new Error(`a command of ${count} arguments in a batch`);
  return String(done * HEAD_FACTOR + count);
}

function bulk(text: string): string {
  return `$${text.length}\r\n${text}\r\n`;
}

/** An encoded command without the `*count CRLF` at its beginning, which is always in memory. */
function withoutCount([head, ...others]: readonly Part[]): {
  count: number;
  first: Buffer;
  others: readonly Part[];
} {
  if (!Buffer.isBuffer(head)) throw new Error('a command without a head');
  let count = 0;
  let at = 1;
  for (; at < head.length && head[at] !== CARRIAGE_RETURN; at++) count = 10 * count + (head[at] ?? 0) - 48;
  return { count, first: head.subarray(at + 2), others };
}

const CARRIAGE_RETURN = 13;
