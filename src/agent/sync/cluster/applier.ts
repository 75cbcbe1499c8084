import path from 'node:path';
import type { Checkpoint } from '../../../contract/reports.ts';
import type { Clock } from '../../../core/clock.ts';
import { isMigrationError, MigrationError } from '../../../core/errors.ts';
import { encodeClaim } from '../../redis/checkpoint.ts';
import type { Client } from '../../redis/client.ts';
import { keySlot } from '../../redis/cluster/slots.ts';
import type { Topology } from '../../redis/cluster/topology.ts';
import { CommandReader } from '../../redis/command-reader.ts';
import { HeldBytes, type Part, partBytes } from '../../redis/held-bytes.ts';
import { type Command, encodeCommands } from '../../redis/raw-connection.ts';
import { isReservedKey, RESERVED_KEY } from '../../redis/reserved-key.ts';
import type { Holder } from '../claim.ts';
import type { Meter } from '../meter.ts';
import type { StreamLink } from '../stream-applier.ts';
import type { TargetCommands } from '../target-commands.ts';
import { piecesOf, type WriteFailure } from '../target-writer.ts';
import { findTranslation, refuseUnknown, type Translate, type TranslationContext } from '../translate.ts';
import { BATCH_COMMAND_ARGUMENTS_MAX } from './batch-script.ts';
import { CLAIM_SLOT, WAIT_FOR_REPLICA } from './cluster-target.ts';
import { type Arguments, type CommandKeys, findKeys, soleKey } from './command-keys.ts';
import { splitArguments } from './command-size.ts';
import {
  type Join,
  planAcrossSlots,
  refuseForeignOptions,
  refuseOnCluster,
  type Share,
} from './cross-slot.ts';
import type { Generation } from './generation.ts';
import type { Lane } from './lane.ts';

/** What a stream is applied to a cluster with; the lanes are by the index of their node. */
export type ClusterStreamOptions = {
  readonly link: StreamLink;
  readonly topology: Topology;
  readonly lanes: readonly Lane[];
  readonly generation: Generation;
  readonly holder: Holder;
  readonly commands: TargetCommands;
  readonly keys: CommandKeys;
  readonly hasHashFieldTtls: boolean;
  /** Where bytes may be held on disk. */
  readonly directory: string;
  /** The client of the primary that owns a slot. */
  clientOf(slot: number): Client;
  /** Carries out what is about functions and scripts on every primary. */
  runEverywhere(args: Arguments): Promise<void>;
  /** Told of a divergence that was found here: it is noted in the claim when the session ends. */
  onFailure(failure: WriteFailure): void;
  readonly meter: Meter;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** How often what is complete is committed while the source is silent, and the claim says how far all primaries are. */
const TICK_MS = 100;
/** A command from this size on is a batch of its own, and is not copied. */
const LARGE_COMMAND_BYTES = 1024 * 1024;
/** A transaction beyond this size is applied in parts: what is held back until its end has a bound. */
const TRANSACTION_BYTES_MAX = 8 * 1024 * 1024;
/** Names that are looked up by their spelling; beyond it each is looked up anew. */
const SPELLINGS_MAX = 4096;

type CommandRole =
  | 'select'
  | 'multi'
  | 'exec'
  | 'ignored'
  | 'replconf'
  | 'flush'
  | 'everywhere'
  | 'refused'
  | 'data';
type KnownCommand = {
  readonly name: string;
  readonly role: CommandRole;
  readonly isKnown: boolean;
  readonly translate: Translate | undefined;
  /** The argument that is its key, when it always has exactly one. */
  readonly soleKey: number | undefined;
};
/** An encoded command, in pieces, for a slot; `through`: see {@link Lane.add}. */
type Given = { slot: number; parts: readonly Part[]; through: number };

/**
 * Applies the command stream of the source to the primaries of a cluster, each command once on each slot.
 *
 * A lane for each primary takes the commands of its slots in the order of the stream, in batches that commit the
 * checkpoint of that primary with them. Primaries are not in step with one another: each is right at its own checkpoint.
 * A command that joins several slots, see cross-slot.ts, brings their primaries to the same place first.
 */
export class ClusterApplier {
  readonly #options: ClusterStreamOptions;
  readonly #reader: CommandReader;
  readonly #translation: TranslationContext;
  readonly #spellings = new Map<string, KnownCommand>();
  readonly #claimLane: Lane;
  #db: number;
  /** Up to here everything of the stream has been given to the lanes. */
  #given: number;
  #isInTransaction = false;
  /** While a command is being given to lanes over more than one turn of the event loop, no batch may be closed. */
  #isGiving = false;
  #hasFullLane = false;
  /** What the claim says. */
  #claimed: number;
  /** The offset up to which the source wants to know that we have come. */
  #askedOffset: number | undefined;

  constructor(options: ClusterStreamOptions) {
    this.#options = options;
    const { start } = options.generation;
    this.#reader = new CommandReader({
      hold: () => new HeldBytes(path.join(options.directory, 'held')),
      isTranslated: (name) => findTranslation(name.toUpperCase()) !== undefined,
    });
    this.#translation = { ...options, nowMs: () => options.link.incoming.readArrivedAtMs };
    this.#db = start.db;
    this.#given = start.offset;
    this.#claimed = start.offset;
    this.#claimLane = this.#laneOf(CLAIM_SLOT);
  }

  /** What every primary has committed. */
  get committed(): Checkpoint {
    let offset = this.#given;
    for (const lane of this.#options.lanes) offset = Math.min(offset, lane.committed(this.#given));
    return { replid: this.#replid, offset, db: this.#db };
  }

  /**
   * Applies until the signal is aborted.
   *
   * @throws the signal's reason; what the link or a primary failed with; source-protocol-error,
   *   source-data-unsupported, target-refused-command, target-databases-too-few for what cannot be applied
   */
  async run(): Promise<never> {
    using _ = this.#reader;
    const { link, meter, signal } = this.#options;
    this.#tick().catch(() => {
      // The signal has ended it, and ends the loop below as well.
    });
    for (;;) {
      this.#reader.push(await meter.waitForSource(link.incoming.read(signal)));
      while (this.#reader.next()) {
        const giving = this.#apply();
        if (giving !== undefined) await this.#finishGiving(giving);
        this.#given = this.#offset;
        const closing = this.#hasFullLane ? this.#closeFull() : undefined;
        if (closing !== undefined) await meter.waitForTarget(closing);
        if (closing !== undefined || giving !== undefined) signal.throwIfAborted();
      }
      meter.sourceOffset = Math.max(meter.sourceOffset, this.#offset + link.incoming.waitingBytes);
      if (link.incoming.waitingBytes === 0) this.#closeIdle();
    }
  }

  /** Takes note that a primary has answered. */
  onAnswers(lane: Lane): void {
    const { link, meter } = this.#options;
    meter.appliedCommands += lane.takeAnswers();
    // Up to where all checkpoints are: what a primary that is asked for its own may want again.
    link.incoming.commit(Math.min(...this.#options.lanes.map(({ checkpoint }) => checkpoint)));
    const { committed } = this;
    meter.checkpoint = committed;
    meter.oldestPendingAtMs = this.#oldestAtMs();
    if (this.#askedOffset !== undefined && committed.offset >= this.#askedOffset) {
      this.#askedOffset = undefined;
      link.acknowledge(committed.offset);
    }
    if (lane.openBytes > 0) this.#closeIfIdle(lane);
  }

  /** Commits what is complete, and says so in the claim: the end of a stream that is stopped, with the link open. */
  async finish(): Promise<void> {
    if (this.#isInTransaction) return;
    await Promise.all(this.#options.lanes.map((lane) => this.#commit(lane, this.#given)));
    this.#writeClaim();
    await this.#claimLane.settle();
  }

  /** The source may have gone on under another id, under which all offsets that were received exist. */
  get #replid(): string {
    return this.#options.link.incoming.replid ?? this.#options.generation.start.replid;
  }

  /** The offset behind the last command that was taken from the stream. */
  get #offset(): number {
    return this.#options.generation.start.offset + this.#reader.consumed;
  }

  async #finishGiving(giving: Promise<void>): Promise<void> {
    this.#isGiving = true;
    try {
      await this.#options.meter.waitForTarget(giving);
    } finally {
      this.#isGiving = false;
    }
  }

  /** Gives the current command to its lanes; a promise must be waited for before the next. */
  #apply(): Promise<void> | undefined {
    const reader = this.#reader;
    if (reader.argumentCount === 0) return undefined;
    const command = this.#lookUp(reader.text(0));
    switch (command.role) {
      case 'multi':
        this.#isInTransaction = true;
        return undefined;
      case 'exec':
        this.#isInTransaction = false;
        return undefined;
      case 'ignored':
        return undefined;
      case 'replconf':
        if (/^getack$/i.test(reader.text(1))) this.#answerGetack();
        return undefined;
      case 'select':
        return this.#select(Number(reader.text(1)));
      case 'flush':
        return this.#flush(command.name);
      case 'everywhere':
        return this.#runEverywhere(command);
      case 'refused':
        throw refuseOnCluster(command.name, REFUSED.get(command.name));
      case 'data':
        return this.#applyData(command);
    }
  }

  #applyData(command: KnownCommand): Promise<void> | undefined {
    const reader = this.#reader;
    const translated = command.translate?.(reader, this.#translation);
    if (translated === undefined && !command.isKnown) throw refuseUnknown(command.name);
    const keyAt = command.soleKey ?? (SPLIT_BY_KEY.has(command.name) && reader.argumentCount === 2 ? 1 : 0);
    const isSimple = keyAt === 1 || (keyAt > 1 && !reader.isHeld);
    const isCallable = keyAt < reader.argumentCount && reader.argumentCount <= BATCH_COMMAND_ARGUMENTS_MAX;
    if (!isSimple || !isCallable) return this.#applyKeys(command.name, translated);
    const key = reader.argument(keyAt);
    if (this.#db !== 0) throw this.#refuseDatabase(command.name);
    if (isReservedKey(key)) return undefined;
    const parts = translated ?? reader.parts();
    return this.#give({ slot: keySlot(key, 0, key.length), parts, through: this.#offset });
  }

  /** A command that has no key, or several, or more arguments than can be called at once. */
  #applyKeys(name: string, translated: readonly Part[] | undefined): Promise<void> | undefined {
    const args = translated === undefined ? this.#arguments() : decodeArguments(translated);
    const keys = findKeys(name, args, this.#options.keys);
    const [first] = keys;
    if (first !== undefined && this.#db !== 0) throw this.#refuseDatabase(name);
    if (first !== undefined && isReservedKey(args[first] ?? NOTHING)) return undefined;
    refuseForeignOptions(name, args);
    const slots = new Set(keys.map((index) => slotOf(args[index] ?? NOTHING)));
    const [slot = CLAIM_SLOT] = slots;
    if (slots.size <= 1) return this.#giveAll(name, args, { slot, through: this.#offset });
    const plan = planAcrossSlots(name, args, keys);
    return plan.kind === 'split' ? this.#giveShares(plan.shares) : this.#join(plan);
  }

  /** Gives each slot its share; they may be given again after an interruption, so the offset counts when all are. */
  async #giveShares(shares: readonly Share[]): Promise<void> {
    for (const { slot, command } of shares) await this.#giveShare({ slot, command }, this.#given);
  }

  async #giveShare({ slot, command }: Share, through: number): Promise<void> {
    const args = command.map(toBytes);
    await this.#giveAll(args[0]?.toString('latin1') ?? '', args, { slot, through });
  }

  /** Gives a command in as many parts as its arguments need. */
  #giveAll(name: string, args: Arguments, to: { slot: number; through: number }): Promise<void> | undefined {
    const commands = splitArguments(name, args);
    if (commands.length === 1) return this.#give({ ...to, parts: [encodeCommands([args])] });
    if (!this.#needs(to.slot)) return undefined;
    const lane = this.#laneOf(to.slot);
    for (const [index, command] of commands.entries()) {
      // All of them in one batch, in which they cannot fail one by one: where the first finds its slot the others do.
      const isLast = index === commands.length - 1;
      lane.add([encodeCommands([command])], isLast ? to.through : this.#given);
    }
    this.#hasFullLane = true;
    return undefined;
  }

  /**
   * Carries out what the destination makes of other slots, and waits until it is committed: only then may the others go
   * on, since after an interruption they are read again where they stand.
   */
  async #join(join: Join): Promise<void> {
    const offset = this.#offset;
    const lane = this.#laneOf(join.slot);
    const isMissing = this.#needs(join.slot);
    const beside = isMissing ? join.removals.filter(({ slot }) => this.#laneOf(slot) === lane) : [];
    if (isMissing) {
      if (!join.readSlots.every((slot) => this.#needs(slot))) throw this.#takenBack();
      await this.#giveJoined(join, beside);
    }
    for (const share of join.removals) {
      if (!beside.includes(share) && this.#needs(share.slot)) await this.#giveShare(share, offset);
    }
  }

  /** `beside`: what goes from the primary of the destination, which is committed with it or not at all. */
  async #giveJoined(join: Join, beside: readonly Share[]): Promise<void> {
    const { generation, clientOf } = this.#options;
    const before = this.#given;
    const lane = this.#laneOf(join.slot);
    const read = new Set(join.readSlots.map((slot) => this.#laneOf(slot)));
    await Promise.all([...read].map((each) => (each.isSettled ? undefined : this.#commit(each, before))));
    const commands = await this.#prepare(join, clientOf);
    const shares = [
      // A slot that has moved away meanwhile stops the batch before the destination is touched.
      ...beside.map(({ slot, command }) => ({ slot, command: ['EXISTS', command[1] ?? ''] })),
      ...commands.map((command) => ({ slot: join.slot, command })),
      ...beside,
    ];
    for (const [index, share] of shares.entries()) {
      const through = index === shares.length - 1 ? this.#offset : before;
      if (beside.length === 0) await this.#giveShare(share, through);
      else lane.add([encodeCommands([share.command])], through);
    }
    await this.#commit(lane, this.#offset);
    read.delete(lane);
    if (read.size === 0 || lane.node.replicas.length === 0 || !generation.canWait) return;
    lane.writer.write(WAIT_FOR_REPLICA);
    await lane.settle();
  }

  async #prepare(join: Join, clientOf: (slot: number) => Client): Promise<readonly Command[]> {
    try {
      return await join.prepare(clientOf);
    } catch (error) {
      if (isMigrationError(error) && error.code === 'target-refused-command') {
        this.#options.onFailure({ error, isDivergence: true });
      }
      throw error;
    }
  }

  /** Adds a command to the batch of its primary, unless its slot has it already. */
  #give({ slot, parts, through }: Given): Promise<void> | undefined {
    if (!this.#needs(slot)) return undefined;
    const lane = this.#laneOf(slot);
    const size = parts.reduce((sum, part) => sum + partBytes(part), 0);
    if (size > LARGE_COMMAND_BYTES) return this.#giveLarge(lane, { parts, through });
    if (!lane.hasRoomFor(BATCH_COMMAND_ARGUMENTS_MAX)) this.#hasFullLane = true;
    lane.add(parts, through);
    if (lane.isWorth) this.#hasFullLane = true;
    return undefined;
  }

  async #giveLarge(lane: Lane, { parts, through }: Omit<Given, 'slot'>): Promise<void> {
    await lane.close({ offset: this.#given, db: this.#db });
    await lane.closeWith(parts, { offset: through, db: this.#db });
    if (!lane.writer.hasRoom) await lane.writer.room();
  }

  #select(db: number): Promise<void> | undefined {
    if (db === this.#db) return undefined;
    // A checkpoint names the database that the stream stands in there, so a batch has one.
    const closing = this.#closeAll();
    this.#db = db;
    return closing;
  }

  #flush(name: string): Promise<void> | undefined {
    if (name === 'FLUSHDB' && this.#db !== 0) return undefined;
    const command = encodeCommands([this.#arguments()]);
    const { lanes } = this.#options;
    for (const lane of lanes) {
      const slots = lane.node.ranges.flatMap(([first, last]) => range(first, last));
      const needing = slots.filter((slot) => this.#needs(slot)).length;
      if (needing === 0) continue;
      if (needing < slots.length) throw this.#takenBack();
      lane.add([command], this.#offset);
      if (lane === this.#claimLane) {
        lane.add([encodeCommands([['SET', RESERVED_KEY, this.#claim(this.committed)]])], this.#offset);
      }
    }
    return undefined;
  }

  async #runEverywhere(command: KnownCommand): Promise<void> {
    if (!command.isKnown) throw refuseUnknown(command.name);
    const translated = command.translate?.(this.#reader, this.#translation);
    const args = translated === undefined ? this.#arguments() : decodeArguments(translated);
    await Promise.all(this.#options.lanes.map((lane) => this.#commit(lane, this.#given)));
    await this.#options.runEverywhere(args);
  }

  /** Answers what the source asks on behalf of WAIT: at once when all before it is committed, else as soon as it is. */
  #answerGetack(): void {
    const { offset } = this.committed;
    if (offset >= this.#given) this.#options.link.acknowledge(offset);
    else this.#askedOffset = this.#given;
  }

  /** Every {@link TICK_MS}: commits what waits, and moves the claim. */
  async #tick(): Promise<never> {
    const { clock, signal } = this.#options;
    for (;;) {
      await clock.sleep(TICK_MS, signal);
      this.#closeIdle();
      if (this.committed.offset > this.#claimed && !this.#claimLane.isWriting) this.#writeClaim();
    }
  }

  #writeClaim(): void {
    const { committed } = this;
    this.#claimLane.writer.write(['SET', RESERVED_KEY, this.#claim(committed)]);
    this.#claimLane.writer.flush();
    this.#claimed = committed.offset;
  }

  #claim(checkpoint: Checkpoint): Buffer {
    const { holder, generation } = this.#options;
    return encodeClaim({ ...holder, state: 'live', checkpoint, cluster: generation.claim });
  }

  #closeIdle(): void {
    for (const lane of this.#options.lanes) this.#closeIfIdle(lane);
  }

  /** Closes a batch of which nothing is missing, when none is on its way. */
  #closeIfIdle(lane: Lane): void {
    if (this.#isInTransaction || this.#isGiving || lane.isAwaiting || lane.isWriting) return;
    lane.close({ offset: this.#given, db: this.#db })?.catch(() => {
      // The writer has told what it failed with.
    });
  }

  /** Closes the batches that are large enough, or all of them within a transaction that is too large to be held back. */
  #closeFull(): Promise<void> | undefined {
    const { lanes } = this.#options;
    if (this.#isInTransaction) {
      const openBytes = lanes.reduce((sum, lane) => sum + lane.openBytes, 0);
      const isCut =
        openBytes > TRANSACTION_BYTES_MAX ||
        lanes.some((lane) => !lane.hasRoomFor(BATCH_COMMAND_ARGUMENTS_MAX));
      return isCut ? this.#closeAll() : undefined;
    }
    this.#hasFullLane = false;
    return settleAll(lanes.map((lane) => (lane.isWorth ? this.#closeAndWait(lane) : undefined)));
  }

  #closeAll(): Promise<void> | undefined {
    return settleAll(this.#options.lanes.map((lane) => this.#closeAndWait(lane)));
  }

  /** Closes a batch; a promise is to be waited for, because there is no room for more. */
  #closeAndWait(lane: Lane): Promise<void> | undefined {
    const closing = lane.close({ offset: this.#given, db: this.#db });
    if (closing !== undefined) return closing.then(() => lane.writer.room());
    return lane.writer.hasRoom ? undefined : lane.writer.room();
  }

  async #commit(lane: Lane, offset: number): Promise<void> {
    await lane.close({ offset, db: this.#db });
    await lane.settle();
  }

  /** Whether the slot has not yet what the current command brings. */
  #needs(slot: number): boolean {
    const { positions } = this.#options.generation;
    return this.#offset > positions.highest.offset || this.#offset > positions.offsetOf(slot);
  }

  #laneOf(slot: number): Lane {
    const { lanes, topology } = this.#options;
    const lane = lanes[topology.nodeOf(slot).index];
    if (lane === undefined) throw new Error(`no lane leads to the slot ${slot}`);
    return lane;
  }

  #arguments(): Arguments {
    const reader = this.#reader;
    // Of what was put on disk as it was encoded, the arguments must be found anew.
    if (reader.isHeld) return decodeArguments(reader.parts());
    return Array.from({ length: reader.argumentCount }, (_, index) => reader.argument(index));
  }

  #oldestAtMs(): number | undefined {
    let oldestAtMs: number | undefined;
    for (const { oldestAtMs: atMs } of this.#options.lanes) {
      if (atMs !== undefined) oldestAtMs = Math.min(oldestAtMs ?? atMs, atMs);
    }
    return oldestAtMs;
  }

  /** A failover has taken back what other primaries build on: only a copy makes the data right again. */
  #takenBack(): MigrationError {
    const error = new MigrationError(
      'target-not-ready',
      'A failover of the target has taken back what a command over several primaries had written there.',
      { remedy: 'The sync reconciles the target by itself.' },
    );
    this.#options.onFailure({ error, isDivergence: true });
    return error;
  }

  #refuseDatabase(name: string): MigrationError {
    return databasesTooFew(`${name.slice(0, 40)} in database ${this.#db}`);
  }

  #lookUp(spelling: string): KnownCommand {
    const known = this.#spellings.get(spelling);
    if (known !== undefined) return known;
    const name = spelling.toUpperCase();
    const command: KnownCommand = {
      name,
      role: ROLES.get(name) ?? (REFUSED.has(name) ? 'refused' : 'data'),
      isKnown: this.#options.commands.has(name),
      translate: findTranslation(name),
      soleKey: soleKey(name, this.#options.keys),
    };
    if (this.#spellings.size < SPELLINGS_MAX) this.#spellings.set(spelling, command);
    return command;
  }
}

const ROLES: ReadonlyMap<string, CommandRole> = new Map([
  ['SELECT', 'select'],
  ['MULTI', 'multi'],
  ['EXEC', 'exec'],
  ['PING', 'ignored'],
  // It only refreshes what the key remembers of its last count.
  ['PFCOUNT', 'ignored'],
  ['REPLCONF', 'replconf'],
  ['FLUSHALL', 'flush'],
  ['FLUSHDB', 'flush'],
  ['FUNCTION', 'everywhere'],
  ['SCRIPT', 'everywhere'],
]);
/** Commands that no cluster carries out, and why. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ['SWAPDB', 'it is about another database'],
  ['MOVE', 'it is about another database'],
  ['EVAL', 'the source replicates scripts instead of what they do'],
  ['EVALSHA', 'the source replicates scripts instead of what they do'],
]);
/** Commands with as many keys as arguments, of which there is mostly one. */
const SPLIT_BY_KEY: ReadonlySet<string> = new Set(['DEL', 'UNLINK']);
const NOTHING = Buffer.alloc(0);

/** What is said of data in a database that a cluster does not have. */
export function databasesTooFew(what: string): MigrationError {
  return new MigrationError(
    'target-databases-too-few',
    `The target is in cluster mode and has database 0 only; the source has ${what}.`,
    { remedy: 'Choose a target with cluster mode disabled, or move the data to database 0 of the source.' },
  );
}

function settleAll(waits: readonly (Promise<void> | undefined)[]): Promise<void> | undefined {
  const promises = waits.filter((wait) => wait !== undefined);
  return promises.length === 0 ? undefined : Promise.all(promises).then(() => {});
}

function slotOf(key: Buffer): number {
  return keySlot(key, 0, key.length);
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function toBytes(argument: string | Buffer | number): Buffer {
  return Buffer.isBuffer(argument) ? argument : Buffer.from(String(argument));
}

function decodeArguments(parts: readonly Part[]): Arguments {
  const hold = () => {
    throw new Error('nothing is held of a command that is decoded');
  };
  const reader = new CommandReader({
    hold,
    isTranslated: () => true,
    heldArgumentBytesMin: Number.POSITIVE_INFINITY,
  });
  for (const part of parts) for (const piece of piecesOf(part)) reader.push(piece);
  if (!reader.next()) throw new Error('a translation that is no command');
  return Array.from({ length: reader.argumentCount }, (_, index) => reader.argument(index));
}
