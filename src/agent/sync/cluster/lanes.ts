import { MigrationError } from '../../../core/errors.ts';
import type { Topology } from '../../redis/cluster/topology.ts';
import { type Part, partBytes } from '../../redis/held-bytes.ts';
import { encodeCommands } from '../../redis/raw-connection.ts';
import { toArguments } from './arguments.ts';
import { BATCH_COMMAND_ARGUMENTS_MAX } from './batch-script.ts';
import { WAIT_FOR_REPLICA } from './cluster-target.ts';
import type { Arguments } from './command-keys.ts';
import { splitArguments } from './command-size.ts';
import type { Join, Share } from './cross-slot.ts';
import type { Generation } from './generation.ts';
import type { Lane } from './lane.ts';

/** A command from this size on is a batch of its own, and is not copied. */
const LARGE_COMMAND_BYTES = 1024 * 1024;
/** A transaction beyond this size is applied in parts: what is held back until its end has a bound. */
const TRANSACTION_BYTES_MAX = 4 * 1024 * 1024;

/** What the lanes to all primaries work with; they are by the index of their node. */
export type LanesOptions = {
  readonly topology: Topology;
  readonly lanes: readonly Lane[];
  readonly generation: Generation;
  /** Asks the primaries for what a join needs of them. */
  prepare(join: Join): ReturnType<Join['prepare']>;
  /** Told when the primaries hold what only reconciling makes right. */
  onDivergence(error: MigrationError): void;
};

/** An encoded command, in pieces, for a slot; `through`: see {@link Lane.add}. */
export type Given = {
  readonly slot: number;
  readonly parts: readonly Part[];
  readonly through: number;
};

/**
 * Gives the commands of the stream to the primaries, one after the other: `offset` is the place behind the one that is
 * being given, `given` the place in the stream up to which everything is.
 */
export class Lanes {
  readonly all: readonly Lane[];
  readonly #options: LanesOptions;
  /** Up to here everything of the stream has been given. */
  readonly given: { offset: number; db: number };
  /** Behind the command that is being given. */
  offset: number;
  isInTransaction = false;
  /** While a command is being given over more than one turn of the event loop, no batch may be closed. */
  isGiving = false;
  #hasFull = false;

  constructor(options: LanesOptions) {
    const { offset, db } = options.generation.start;
    this.all = options.lanes;
    this.#options = options;
    this.given = { offset, db };
    this.offset = offset;
  }

  /** What every primary has committed of what was given. */
  get committedOffset(): number {
    const { offset } = this.given;
    return this.all.reduce((lowest, lane) => Math.min(lowest, lane.committed(offset)), offset);
  }

  /** The lowest checkpoint: from there on a primary may want the stream again. */
  get checkpointOffset(): number {
    return Math.min(...this.all.map(({ checkpoint }) => checkpoint));
  }

  /** When the oldest command came that is not committed. */
  get oldestAtMs(): number | undefined {
    const times = this.all.flatMap(({ oldestAtMs }) => (oldestAtMs === undefined ? [] : [oldestAtMs]));
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** The lane to the primary of a slot. */
  of(slot: number): Lane {
    const lane = this.all[this.#options.topology.nodeOf(slot).index];
    if (lane === undefined) throw new Error(`no lane leads to the slot ${slot}`);
    return lane;
  }

  /** Whether the slot has not yet what the current command brings. */
  needs(slot: number): boolean {
    const { positions } = this.#options.generation;
    return this.offset > positions.highest.offset || this.offset > positions.offsetOf(slot);
  }

  /** Adds a command to the batch of its primary, unless its slot has it already; a promise must be waited for. */
  give({ slot, parts, through }: Given): Promise<void> | undefined {
    if (!this.needs(slot)) return undefined;
    const lane = this.of(slot);
    const size = parts.reduce((sum, part) => sum + partBytes(part), 0);
    if (size > LARGE_COMMAND_BYTES) return this.#giveLarge(lane, { parts, through });
    lane.add(parts, through);
    this.#hasFull ||= lane.isWorth;
    return undefined;
  }

  /** The same for one that may have more arguments than can be called at once. */
  giveArguments(args: Arguments, to: Pick<Given, 'slot' | 'through'>): Promise<void> | undefined {
    const name = args[0]?.toString('latin1').toUpperCase() ?? '';
    const commands = splitArguments(name, args);
    if (commands.length === 1) return this.give({ ...to, parts: [encodeCommands([args])] });
    if (!this.needs(to.slot)) return undefined;
    const lane = this.of(to.slot);
    for (const [index, command] of commands.entries()) {
      // All of them in one batch, in which they cannot fail one by one: where the first finds its slot the others do.
      const isLast = index === commands.length - 1;
      lane.add([encodeCommands([command])], isLast ? to.through : this.given.offset);
    }
    this.#hasFull = true;
    return undefined;
  }

  /** Gives each slot its share; they may be given again after an interruption, so the offset counts when all are. */
  async giveShares(shares: readonly Share[]): Promise<void> {
    for (const share of shares) await this.#giveShare(share, this.given.offset);
  }

  /**
   * Carries out what the destination makes of other slots, and waits until it is committed: only then may the others go
   * on, since after an interruption they are read again where they stand.
   */
  async join(join: Join): Promise<void> {
    const lane = this.of(join.slot);
    const isMissing = this.needs(join.slot);
    const beside = isMissing ? join.removals.filter(({ slot }) => this.of(slot) === lane) : [];
    if (isMissing) {
      if (!join.readSlots.every((slot) => this.needs(slot))) throw this.#takenBack();
      await this.#giveJoined(join, beside);
    }
    for (const share of join.removals) {
      if (!beside.includes(share)) await this.#giveShare(share, this.offset);
    }
  }

  /** Adds a command without keys to every batch; `more` says what one lane gets behind it. */
  giveEveryone(command: Buffer, more: (lane: Lane) => readonly Buffer[]): void {
    for (const lane of this.all) {
      const slots = lane.node.ranges.flatMap(([first, last]) => range(first, last));
      const needing = slots.filter((slot) => this.needs(slot)).length;
      if (needing === 0) continue;
      // Slots that came together here stand before and behind the command.
      if (needing < slots.length) throw this.#takenBack();
      for (const each of [command, ...more(lane)]) lane.add([each], this.offset);
    }
  }

  /** Closes every batch of which nothing is missing, and none before it is on its way. */
  closeIdle(): void {
    for (const lane of this.all) this.closeIfIdle(lane);
  }

  /** The same for one lane. */
  closeIfIdle(lane: Lane): void {
    if (this.isInTransaction || this.isGiving || lane.isAwaiting || lane.isWriting) return;
    lane.close(this.given)?.catch(() => {
      // The writer has told what it failed with.
    });
  }

  /**
   * Closes the batches that are large enough, or all of them within a transaction that is too large to be held back; a
   * promise is to be waited for, because there is no room for more.
   */
  closeFull(): Promise<void> | undefined {
    if (!this.#hasFull) return undefined;
    if (!this.isInTransaction) {
      this.#hasFull = false;
      return settleAll(this.all.map((lane) => (lane.isWorth ? this.#closeAndWait(lane) : undefined)));
    }
    const openBytes = this.all.reduce((sum, lane) => sum + lane.openBytes, 0);
    const isCrowded = this.all.some((lane) => !lane.hasRoomFor(BATCH_COMMAND_ARGUMENTS_MAX));
    return isCrowded || openBytes > TRANSACTION_BYTES_MAX ? this.closeAll() : undefined;
  }

  /** Closes every batch; a promise as above. */
  closeAll(): Promise<void> | undefined {
    return settleAll(this.all.map((lane) => this.#closeAndWait(lane)));
  }

  /** Closes every batch and waits until it is committed. */
  async commitAll(): Promise<void> {
    await Promise.all(this.all.map((lane) => this.#commit(lane, this.given.offset)));
  }

  async #giveShare({ slot, command }: Share, through: number): Promise<void> {
    await this.giveArguments(toArguments(command), { slot, through });
  }

  /** `beside`: what goes from the primary of the destination, which is committed with it or not at all. */
  async #giveJoined(join: Join, beside: readonly Share[]): Promise<void> {
    const before = this.given.offset;
    const lane = this.of(join.slot);
    const read = new Set(join.readSlots.map((slot) => this.of(slot)));
    await Promise.all([...read].map((each) => (each.isSettled ? undefined : this.#commit(each, before))));
    const commands = await this.#options.prepare(join);
    const shares = [
      // A slot that has moved away meanwhile stops the batch before the destination is touched.
      ...beside.map(({ slot, command }) => ({ slot, command: ['EXISTS', command[1] ?? ''] })),
      ...commands.map((command) => ({ slot: join.slot, command })),
      ...beside,
    ];
    for (const [index, share] of shares.entries()) {
      const through = index === shares.length - 1 ? this.offset : before;
      if (beside.length === 0) await this.#giveShare(share, through);
      else lane.add([encodeCommands([share.command])], through);
    }
    await this.#commit(lane, this.offset);
    read.delete(lane);
    if (read.size === 0 || lane.node.replicas.length === 0 || !this.#options.generation.canWait) return;
    lane.writer.write(WAIT_FOR_REPLICA);
    await lane.settle();
  }

  async #giveLarge(lane: Lane, { parts, through }: Omit<Given, 'slot'>): Promise<void> {
    await lane.close(this.given);
    await lane.closeWith(parts, { offset: through, db: this.given.db });
    if (!lane.writer.hasRoom) await lane.writer.room();
  }

  #closeAndWait(lane: Lane): Promise<void> | undefined {
    const closing = lane.close(this.given);
    if (closing !== undefined) return closing.then(() => lane.writer.room());
    return lane.writer.hasRoom ? undefined : lane.writer.room();
  }

  async #commit(lane: Lane, offset: number): Promise<void> {
    await lane.close({ offset, db: this.given.db });
    await lane.settle();
  }

  /** A failover has taken back what other primaries build on. */
  #takenBack(): MigrationError {
    const error = new MigrationError(
      'target-not-ready',
      'A failover of the target has taken back what a command over several primaries had written there.',
      { remedy: 'The sync reconciles the target by itself.' },
    );
    this.#options.onDivergence(error);
    return error;
  }
}

function settleAll(waits: readonly (Promise<void> | undefined)[]): Promise<void> | undefined {
  const promises = waits.filter((wait) => wait !== undefined);
  return promises.length === 0 ? undefined : Promise.all(promises).then(() => {});
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
