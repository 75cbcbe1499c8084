import type { Checkpoint } from '../../contract/reports.ts';
import type { Clock } from '../../core/clock.ts';
import { type Claim, encodeClaim } from '../redis/checkpoint.ts';
import type { CommandReader } from '../redis/command-reader.ts';
import type { Part } from '../redis/held-bytes.ts';
import type { Journal } from '../redis/journal.ts';
import { encodeCommands } from '../redis/raw-connection.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import type { TouchedKeys } from '../touched/touched-keys.ts';
import { type AbsentKeyCare, careForAbsentKeys } from './absent-keys.ts';
import { CANARY_CHANNEL } from './canaries.ts';
import type { CommandKeys } from './cluster/command-keys.ts';
import { type KnownCommands, openCommandReader } from './known-commands.ts';
import type { Meter } from './meter.ts';
import type { ModuleCommands } from './module-commands.ts';
import type { TargetForm } from './payload.ts';
import { type PassEnd, PlainCommands } from './plain-commands.ts';
import type { Skips } from './skips.ts';
import { CLAIM_CHECK, CLAIM_CHECK_COMMAND } from './standing-claim.ts';
import { knowCommands, type StreamCommand } from './stream-commands.ts';
import type { TargetCommands } from './target-commands.ts';
import { SLOT_COMMAND_BYTES_MAX, type TargetWriter } from './target-writer.ts';
import { touchKeys } from './touching.ts';
import { type InTurn, isInTurn, LEFT_OUT, refuseUnknown, type TranslationContext } from './translate.ts';

/** Where a stream comes from, and who is told how much of it is committed. */
export type StreamLink = {
  readonly incoming: Pick<Journal, 'read' | 'waitingBytes' | 'readArrivedAtMs' | 'replid' | 'commit'>;
  /** Tells the source at once which offset the target has committed. */
  acknowledge(offset: number): void;
};

/** What a stream is applied with. `start` is where the target stands; the link gives the bytes from there on. */
export type StreamOptions = TargetForm & {
  readonly link: StreamLink;
  readonly writer: TargetWriter;
  readonly start: Checkpoint;
  /** Makes sure that the target has a database. @throws target-databases-too-few, and what a connection fails with */
  readonly probeDatabase: (db: number) => Promise<void>;
  /** Who holds the target: written again with every checkpoint. */
  readonly holder: Pick<Claim, 'migrationId' | 'repository' | 'hostId'>;
  readonly commands: TargetCommands;
  readonly moduleCommands: ModuleCommands;
  readonly skips: Skips;
  /** Told of every key before the command that changes it is applied. */
  readonly touched: TouchedKeys;
  /** Undefined when the user at the target may not ask. */
  readonly keys: CommandKeys | undefined;
  /** Where bytes may be held on disk. */
  readonly directory: string;
  readonly meter: Meter;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** How long what only moves the offset (PING, GETACK) may wait for its checkpoint. */
const QUIET_CHECKPOINT_MS = 100;
/**
 * From this size on a batch is closed as soon as it can be, not only when the source pauses: the answer to the one
 * before may have come within a transaction of the source, and a slow target would then hold a batch without end.
 */
const BATCH_COMMANDS_WORTH = 1000;
/**
 * So many commands a batch has at most, as long as the answer to the one before is awaited, and more for every
 * millisecond that an answer takes on its way. What waits in a transaction is memory of the target: with batches of
 * 70,000 commands each of them cost it a third more than with a few thousand.
 */
const BATCH_COMMANDS_MAX = 4096;
const BATCH_COMMANDS_PER_ROUND_TRIP_MS = 16_384;

/**
 * Applies the command stream of the source to the target, each command once.
 *
 *   stream  a b MULTI c d EXEC e ...
 *   target  MULTI a b c d SET claim EXEC   MULTI e ... SET claim EXEC
 *
 * What arrives while a batch is being answered becomes the next one. A batch ends where the source is not within a
 * transaction, so that its transactions stay whole. Its checkpoint is committed with it: after any interruption the
 * claim in the target says exactly what is applied.
 *
 * The EXEC of a batch is sent only when that of the one before is answered: if both were on their way and the first
 * was refused, the second would move the checkpoint past what is missing.
 */
export class StreamApplier {
  readonly #options: StreamOptions;
  readonly #reader: CommandReader;
  readonly #translation: TranslationContext;
  readonly #known: KnownCommands<StreamCommand>;
  readonly #plain: PlainCommands;
  readonly #begin = (): void => this.#openBatch();
  #committed: Checkpoint;
  /** The database that the stream stands in. */
  #db: number;
  #isInTransaction = false;
  /** Those that the target has. */
  readonly #databases = new Set([0]);
  /** The batch takes the claim away itself, and writes it anew. */
  #isClaimTaken = false;
  /** MULTI is written, its EXEC is not. */
  #isBatchOpen = false;
  #batchCommands = 0;
  readonly #batchCommandsMax: number;
  #batchOpenedAtMs = 0;
  /** The batch of which the answer is awaited: complete when the target has answered so many commands. */
  #pending: { answers: number; checkpoint: Checkpoint; commands: number } | undefined;
  /** A canary was taken from the stream that no checkpoint covers: it does not wait, since it measures the lag. */
  #isCanaryDue = false;
  #isWritingLarge = false;
  #isQuietCheckpointDue = false;
  /** The offset up to which the source wants to know that we have come. */
  #askedOffset: number | undefined;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#reader = openCommandReader(options.directory);
    this.#known = knowCommands(options);
    this.#committed = options.start;
    this.#batchCommandsMax =
      BATCH_COMMANDS_MAX + options.writer.roundTripMs * BATCH_COMMANDS_PER_ROUND_TRIP_MS;
    this.#translation = {
      ...options,
      nowMs: () => options.link.incoming.readArrivedAtMs,
      skip: (what, reason, name) => options.skips.add({ what, reason, key: { db: this.#db, name } }),
    };
    this.#plain = new PlainCommands({ ...options, reader: this.#reader, known: this.#known });
    this.#db = options.start.db;
  }

  /** What the target has committed. */
  get committed(): Checkpoint {
    return this.#committed;
  }

  /**
   * Applies until the signal is aborted.
   *
   * @throws the signal's reason; what the link or the writer failed with; source-protocol-error,
   *   source-data-unsupported, target-refused-command for what cannot be applied
   */
  async run(): Promise<never> {
    using _ = this.#reader;
    const { link, meter, signal, start, touched, writer } = this.#options;
    using __ = touched.attach(start, () => this.#place());
    if (this.#db !== 0) writer.write(['SELECT', this.#db]);
    for (;;) {
      this.#reader.push(await meter.waitForSource(link.incoming.read(signal)));
      let end: PassEnd;
      do {
        end = this.#passOn();
        const large = end === 'other-command' ? this.#apply() : undefined;
        if (large !== undefined) await this.#waitForLarge(large);
        if (this.#batchCommands >= BATCH_COMMANDS_WORTH) this.#closeBatch();
        if (this.#isBatchFull) await meter.waitForTarget(this.#nextBatch());
        else if (writer.hasRoom) continue;
        this.#closeBatch();
        await meter.waitForTarget(writer.room());
        signal.throwIfAborted();
      } while (end !== 'no-more');
      meter.sourceOffset = Math.max(meter.sourceOffset, this.#offset + link.incoming.waitingBytes);
      if (link.incoming.waitingBytes === 0) this.#closeOrSchedule();
    }
  }

  /** Passes on what goes as it is, as far as the batch may grow before it is closed or must wait. */
  #passOn(): PassEnd {
    const { writer } = this.#options;
    const growth =
      this.#isInTransaction || this.#pending !== undefined ? this.#batchCommandsMax : BATCH_COMMANDS_WORTH;
    const left = this.#isInTransaction ? growth : growth - this.#batchCommands;
    const end = this.#plain.pass({
      db: this.#db,
      commandsMax: Math.max(1, Math.min(left, writer.commandsMax)),
      begin: this.#begin,
    });
    this.#batchCommands += this.#plain.count;
    return end;
  }

  /** Whether what is written already is enough until the target has answered the batch before. */
  get #isBatchFull(): boolean {
    if (this.#pending === undefined || this.#isInTransaction) return false;
    return this.#batchCommands >= this.#batchCommandsMax;
  }

  /** The answer closes the batch, and the next begins. */
  async #nextBatch(): Promise<void> {
    while (this.#pending !== undefined && this.#isBatchFull) {
      await this.#options.writer.answered(this.#pending.answers);
    }
  }

  /** Takes note that the target has answered. */
  onAnswers(): void {
    const { link, meter, writer } = this.#options;
    if (this.#pending === undefined || writer.answerCount < this.#pending.answers) return;
    this.#committed = this.#pending.checkpoint;
    link.incoming.commit(this.#committed.offset);
    meter.checkpoint = this.#committed;
    meter.appliedCommands += this.#pending.commands;
    meter.oldestPendingAtMs = this.#isBatchOpen ? this.#batchOpenedAtMs : undefined;
    this.#pending = undefined;
    if (this.#askedOffset !== undefined && this.#committed.offset >= this.#askedOffset) {
      this.#askedOffset = undefined;
      link.acknowledge(this.#committed.offset);
    }
    if (this.#isBatchOpen || this.#isCanaryDue) this.#closeBatch();
  }

  /** Commits what is complete and waits for it: the end of a stream that is stopped, with the link still open. */
  async finish(): Promise<void> {
    const { writer } = this.#options;
    if (this.#isInTransaction) return;
    while (this.#committed.offset < this.#offset) {
      this.#closeBatch();
      await writer.settle();
    }
  }

  /** The offset behind the last command that was taken from the stream. */
  get #offset(): number {
    return this.#options.start.offset + this.#reader.consumed;
  }

  #place(): Pick<Checkpoint, 'replid' | 'offset'> {
    // The source may have gone on under another id, under which all offsets that were received exist.
    return { replid: this.#options.link.incoming.replid ?? this.#committed.replid, offset: this.#offset };
  }

  /** Writes the current command; a promise means that it is large, and that nothing may happen before it is taken. */
  #apply(): Promise<void> | undefined {
    const reader = this.#reader;
    if (reader.argumentCount === 0) return undefined;
    const command = this.#known.current(reader);
    const { touched } = this.#options;
    if (touched.isTracking) touchKeys(touched, command.touches, { reader, db: this.#db });
    switch (command.role) {
      case 'multi':
        this.#isInTransaction = true;
        return undefined;
      case 'exec':
        this.#isInTransaction = false;
        return undefined;
      case 'ping':
        return undefined;
      case 'replconf':
        if (/^getack$/i.test(reader.text(1))) this.#answerGetack();
        return undefined;
      case 'select':
        return this.#select(command, Number(reader.text(1)));
      case 'publish':
        if (!reader.isArgument(1, CANARY_CHANNEL)) return this.#applyData(command);
        if (this.#options.meter.canaries.seen(reader.text(2), this.#offset)) this.#isCanaryDue = true;
        return undefined;
      case 'flush':
        this.#isClaimTaken = true;
        return this.#applyData(command);
      case 'swapdb':
        this.#keepClaimFromSwap();
        return this.#write(command, undefined);
      case 'data':
        return this.#applyData(command);
    }
  }

  #select(command: StreamCommand, db: number): Promise<void> | undefined {
    // A refused SELECT would leave what follows it in the database before.
    if (!this.#databases.has(db)) {
      return this.#options.probeDatabase(db).then(() => {
        this.#databases.add(db);
        return this.#select(command, db);
      });
    }
    this.#db = db;
    return this.#write(command, undefined);
  }

  #applyData(command: StreamCommand): Promise<void> | undefined {
    const reader = this.#reader;
    // The claim of this migration on its own target is nobody else's to write.
    if (this.#db === 0 && reader.argumentCount > 1 && reader.isArgument(1, RESERVED_KEY)) return undefined;
    if (command.moduleKeyIndex !== undefined) {
      const { name, moduleKeyIndex: keyIndex } = command;
      this.#options.skips.addCommand({ command: reader, name, keyIndex, db: this.#db });
      return undefined;
    }
    const translated = command.translate?.(reader, this.#translation);
    if (translated === LEFT_OUT) return undefined;
    if (isInTurn(translated)) return this.#writeInTurn(translated);
    if (translated === undefined && !command.isKnown) throw refuseUnknown(command.name);
    const care = this.#options.skips.hasModuleKeys
      ? careForAbsentKeys(command.name, reader, this.#db)
      : undefined;
    if (care !== undefined) return this.#writeWithCare({ command, care, translated });
    return this.#write(command, translated);
  }

  async #writeWithCare({
    command,
    care,
    translated,
  }: {
    command: StreamCommand;
    care: AbsentKeyCare;
    translated: readonly Part[] | undefined;
  }): Promise<void> {
    const { writer } = this.#options;
    this.#openBatch();
    for (const before of care.before) {
      await writer.writeParts(writer.names.id(String(before[0])), [encodeCommands([before])]);
    }
    const id = care.name === undefined ? command.id : writer.names.id(care.name);
    await this.#write({ ...command, id }, translated);
  }

  /** No batch is closed between them, see {@link #waitForLarge}: they are committed together, as the one was. */
  async #writeInTurn({ name, commands }: InTurn): Promise<void> {
    const { writer } = this.#options;
    this.#openBatch();
    this.#batchCommands += commands.length;
    for (const parts of commands) await writer.writeParts(writer.names.id(name), parts);
  }

  #write(command: StreamCommand, translated: readonly Part[] | undefined): Promise<void> | undefined {
    const { writer } = this.#options;
    this.#openBatch();
    this.#batchCommands += 1;
    if (translated !== undefined) return writer.writeParts(command.id, translated);
    const { window, start, end, isHeld } = this.#reader;
    if (isHeld) return writer.writeLarge(command.id, this.#reader.parts());
    if (end - start > SLOT_COMMAND_BYTES_MAX) {
      return writer.writeLarge(command.id, [window.subarray(start, end)]);
    }
    writer.writeBytes(command.id, window, start, end);
    return undefined;
  }

  async #waitForLarge(large: Promise<void>): Promise<void> {
    this.#isWritingLarge = true;
    try {
      await this.#options.meter.waitForTarget(large);
    } finally {
      this.#isWritingLarge = false;
    }
  }

  /** Answers what the source asks on behalf of WAIT: at once when all before it is committed, else as soon as it is. */
  #answerGetack(): void {
    const before = this.#offset - (this.#reader.end - this.#reader.start);
    if (this.#committed.offset >= before) this.#options.link.acknowledge(this.#committed.offset);
    else this.#askedOffset = before;
  }

  /** SWAPDB would take the claim to the other database and leave it there; the batch writes it anew. */
  #keepClaimFromSwap(): void {
    if (this.#reader.text(1) !== '0' && this.#reader.text(2) !== '0') return;
    this.#openBatch();
    this.#isClaimTaken = true;
    this.#inDatabaseZero(() => this.#options.writer.write(['DEL', RESERVED_KEY]));
  }

  #openBatch(): void {
    if (this.#isBatchOpen) return;
    const { link, meter, writer } = this.#options;
    this.#isBatchOpen = true;
    this.#batchOpenedAtMs = link.incoming.readArrivedAtMs;
    meter.oldestPendingAtMs ??= this.#batchOpenedAtMs;
    writer.write(['MULTI']);
  }

  #closeOrSchedule(): void {
    if (this.#isBatchOpen || this.#isCanaryDue) {
      this.#closeBatch();
      this.#options.writer.flush();
      return;
    }
    if (this.#isQuietCheckpointDue || this.#offset === this.#committed.offset) return;
    this.#isQuietCheckpointDue = true;
    const { clock, signal } = this.#options;
    clock.sleep(QUIET_CHECKPOINT_MS, signal).then(
      () => {
        this.#isQuietCheckpointDue = false;
        this.#closeBatch();
      },
      () => {
        // The stream has been stopped: `finish` writes the last checkpoint.
      },
    );
  }

  /** Writes the checkpoint, and with it the end of the batch, unless something speaks against it. */
  #closeBatch(): void {
    const { writer, holder, skips, touched } = this.#options;
    const isHeldBack = this.#isInTransaction || this.#isWritingLarge || this.#pending !== undefined;
    if (isHeldBack || this.#offset === this.#committed.offset) return;
    const checkpoint = { ...this.#place(), db: this.#db };
    touched.flush(checkpoint.offset);
    const claim = encodeClaim({ ...holder, state: 'live', checkpoint, ...skips.forClaim() });
    this.#inDatabaseZero(() => {
      if (this.#isClaimTaken) return writer.write(['SET', RESERVED_KEY, claim]);
      writer.writeBytes(writer.names.id(CLAIM_CHECK), CLAIM_CHECK_COMMAND, 0, CLAIM_CHECK_COMMAND.length);
      writer.write(['SET', RESERVED_KEY, claim, 'XX']);
    });
    this.#isClaimTaken = false;
    if (this.#isBatchOpen) writer.write(['EXEC']);
    this.#pending = { answers: writer.commandCount, checkpoint, commands: this.#batchCommands };
    this.#isCanaryDue = false;
    this.#isBatchOpen = false;
    this.#batchCommands = 0;
    writer.flush();
  }

  #inDatabaseZero(write: () => void): void {
    const { writer } = this.#options;
    if (this.#db !== 0) writer.write(['SELECT', 0]);
    write();
    if (this.#db !== 0) writer.write(['SELECT', this.#db]);
  }
}
