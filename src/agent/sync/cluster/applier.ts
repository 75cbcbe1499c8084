import type { Checkpoint } from '../../../contract/reports.ts';
import type { HashFieldTtl } from '../../../contract/skipped.ts';
import type { Clock } from '../../../core/clock.ts';
import { isMigrationError } from '../../../core/errors.ts';
import { encodeClaim } from '../../redis/checkpoint.ts';
import type { Client } from '../../redis/client.ts';
import { sourceSlotsMoved } from '../../redis/cluster/source-cluster.ts';
import type { Topology } from '../../redis/cluster/topology.ts';
import type { CommandReader } from '../../redis/command-reader.ts';
import { type Command, encodeCommands } from '../../redis/raw-connection.ts';
import type { TouchedKeys } from '../../touched/touched-keys.ts';
import { CANARY_CHANNEL } from '../canaries.ts';
import type { Holder } from '../claim.ts';
import { type KnownCommands, openCommandReader } from '../known-commands.ts';
import type { Meter } from '../meter.ts';
import type { ModuleCommands } from '../module-commands.ts';
import type { FollowedShard } from '../shards/followed-shard.ts';
import type { Skips } from '../skips.ts';
import type { StreamLink } from '../stream-applier.ts';
import type { TargetCommands } from '../target-commands.ts';
import type { WriteFailure } from '../target-writer.ts';
import { touchKeys } from '../touching.ts';
import { isInTurn, LEFT_OUT, refuseUnknown, type TranslationContext } from '../translate.ts';
import { decodeArguments, readArguments } from './arguments.ts';
import { CLAIM_SLOT } from './cluster-target.ts';
import type { Arguments, CommandKeys } from './command-keys.ts';
import { type Join, refuseOnCluster } from './cross-slot.ts';
import { DataCommands } from './data-commands.ts';
import type { Generation } from './generation.ts';
import { type ClusterCommand, clusterCommands, whyRefused } from './known-commands.ts';
import type { Lane } from './lane.ts';
import { Lanes } from './lanes.ts';

/** What a stream is applied to a cluster with; the lanes are by the index of their node. */
export type ClusterStreamOptions = {
  readonly link: StreamLink;
  readonly topology: Topology;
  readonly lanes: readonly Lane[];
  readonly generation: Generation;
  readonly holder: Holder;
  readonly claimKey: Buffer;
  /** The shard of the source whose stream it is, which may name keys of its own slots only. */
  readonly shard?: FollowedShard | undefined;
  readonly commands: TargetCommands;
  readonly keys: CommandKeys;
  readonly hasHashFieldTtls: boolean;
  readonly hashFieldTtl: HashFieldTtl;
  readonly moduleCommands: ModuleCommands;
  /** What is left out. The claim has its counts about as of the checkpoint, which each primary has for itself. */
  readonly skips: Skips;
  /** Told of every key before the command that changes it is given out. */
  readonly touched: TouchedKeys;
  /** Where bytes may be held on disk. */
  readonly directory: string;
  /** The client of the primary that owns a slot. */
  clientOf(slot: number): Client;
  /** Carries out what is about functions and scripts on every primary. */
  runEverywhere(args: Arguments): Promise<void>;
  /** Removes what the target holds of the shard in the slots that say so. */
  emptyShard(isDue: (slot: number) => boolean): Promise<void>;
  /** Told of a divergence that was found here: it is noted in the claim when the session ends. */
  onFailure(failure: WriteFailure): void;
  readonly meter: Meter;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** How often what is complete is committed while the source is silent, and the claim says how far all primaries are. */
const TICK_MS = 100;

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
  readonly #known: KnownCommands<ClusterCommand>;
  readonly #translation: TranslationContext;
  readonly #lanes: Lanes;
  readonly #data: DataCommands;
  readonly #claimLane: Lane;
  /** What the claim says. */
  #claimed: number;
  /** The offset up to which the source wants to know that we have come. */
  #askedOffset: number | undefined;

  constructor(options: ClusterStreamOptions) {
    this.#options = options;
    this.#reader = openCommandReader(options.directory);
    this.#known = clusterCommands(options);
    this.#translation = {
      ...options,
      nowMs: () => options.link.incoming.readArrivedAtMs,
      skip: (what, reason, name) => options.skips.add({ what, reason, key: { db: 0, name } }),
    };
    this.#lanes = new Lanes({
      ...options,
      prepare: (join) => this.#prepare(join),
      onDivergence: (error) => options.onFailure({ error, isDivergence: true }),
    });
    this.#data = new DataCommands({
      ...options,
      reader: this.#reader,
      lanes: this.#lanes,
      translation: this.#translation,
    });
    this.#claimLane = this.#lanes.of(CLAIM_SLOT);
    this.#claimed = options.generation.start.offset;
  }

  /** What every primary has committed. */
  get committed(): Checkpoint {
    // The source may have gone on under another id, under which all offsets that were received exist.
    const replid = this.#options.link.incoming.replid ?? this.#options.generation.start.replid;
    return { replid, offset: this.#lanes.committedOffset, db: this.#lanes.given.db };
  }

  /**
   * Applies until the signal is aborted.
   *
   * @throws the signal's reason; what the link or a primary failed with; source-protocol-error,
   *   source-data-unsupported, target-refused-command, target-databases-too-few for what cannot be applied
   */
  async run(): Promise<never> {
    using _ = this.#reader;
    const { link, meter, signal, generation, touched } = this.#options;
    const lanes = this.#lanes;
    using __ = touched.attach(generation.start, () => ({ ...this.committed, offset: lanes.offset }));
    this.#tick().catch(() => {
      // The signal has ended it, and ends the loop below as well.
    });
    for (;;) {
      this.#reader.push(await meter.waitForSource(link.incoming.read(signal)));
      while (this.#reader.next()) {
        lanes.offset = generation.start.offset + this.#reader.consumed;
        const giving = this.#apply();
        if (giving !== undefined) await this.#finishGiving(giving);
        lanes.given.offset = lanes.offset;
        const closing = lanes.closeFull();
        if (closing !== undefined) await meter.waitForTarget(closing);
        if (closing !== undefined || giving !== undefined) signal.throwIfAborted();
      }
      meter.sourceOffset = Math.max(meter.sourceOffset, lanes.given.offset + link.incoming.waitingBytes);
      if (link.incoming.waitingBytes === 0) lanes.closeIdle();
    }
  }

  /** Takes note that a primary has answered. */
  onAnswers(lane: Lane): void {
    const { link, meter } = this.#options;
    meter.appliedCommands += lane.takeAnswers();
    link.incoming.commit(this.#lanes.checkpointOffset);
    const { committed } = this;
    meter.checkpoint = committed;
    meter.oldestPendingAtMs = this.#lanes.oldestAtMs;
    if (this.#askedOffset !== undefined && committed.offset >= this.#askedOffset) {
      this.#askedOffset = undefined;
      link.acknowledge(committed.offset);
    }
    if (lane.openBytes > 0) this.#lanes.closeIfIdle(lane);
  }

  /** Commits what is complete, and says so in the claim: the end of a stream that is stopped, with the link open. */
  async finish(): Promise<void> {
    if (this.#lanes.isInTransaction) return;
    await this.#lanes.commitAll();
    this.#writeClaim();
    await this.#claimLane.settle();
  }

  async #finishGiving(giving: Promise<void>): Promise<void> {
    this.#lanes.isGiving = true;
    try {
      await this.#options.meter.waitForTarget(giving);
    } finally {
      this.#lanes.isGiving = false;
    }
  }

  /** Gives the current command to its lanes; a promise must be waited for before the next. */
  #apply(): Promise<void> | undefined {
    const reader = this.#reader;
    if (reader.argumentCount === 0) return undefined;
    const command = this.#known.current(reader);
    const { touched } = this.#options;
    if (touched.isTracking) touchKeys(touched, command.touches, { reader, db: this.#lanes.given.db });
    switch (command.role) {
      case 'multi':
        this.#lanes.isInTransaction = true;
        return undefined;
      case 'exec':
        this.#lanes.isInTransaction = false;
        return undefined;
      case 'ignored':
        return undefined;
      case 'replconf':
        if (/^getack$/i.test(reader.text(1))) this.#answerGetack();
        return undefined;
      case 'publish':
        if (!reader.isArgument(1, CANARY_CHANNEL)) return this.#data.give(command);
        this.#options.meter.canaries.seen(reader.text(2), this.#lanes.offset);
        return undefined;
      case 'select':
        return this.#select(Number(reader.text(1)));
      case 'flush':
        return this.#flush(command.name);
      case 'everywhere':
        return this.#runEverywhere(command);
      case 'slots':
        throw sourceSlotsMoved(`a primary has sent ${command.name} ${reader.text(1).slice(0, 40)}`);
      case 'refused':
        throw refuseOnCluster(command.name, whyRefused(command.name));
      case 'data':
        return this.#data.give(command);
    }
  }

  async #prepare(join: Join): Promise<readonly Command[]> {
    try {
      return await join.prepare(this.#options.clientOf);
    } catch (error) {
      if (isMigrationError(error) && error.code === 'target-refused-command') {
        this.#options.onFailure({ error, isDivergence: true });
      }
      throw error;
    }
  }

  #select(db: number): Promise<void> | undefined {
    const { given } = this.#lanes;
    if (db === given.db) return undefined;
    // A checkpoint names the database that the stream stands in there, so a batch has one.
    const closing = this.#lanes.closeAll();
    given.db = db;
    return closing;
  }

  /** The claim, which goes with all others, is written again at once. */
  #flush(name: string): Promise<void> | undefined {
    if (name === 'FLUSHDB' && this.#lanes.given.db !== 0) return undefined;
    if (this.#options.shard !== undefined) return this.#emptyShard();
    const command = encodeCommands([readArguments(this.#reader)]);
    const claim = encodeCommands([['SET', this.#options.claimKey, this.#claim(this.committed)]]);
    this.#lanes.giveEveryone(command, (lane) => (lane === this.#claimLane ? [claim] : []));
    return undefined;
  }

  /** What one shard of the source has flushed is no more than its own slots: all before it is committed, then they go. */
  async #emptyShard(): Promise<void> {
    await this.#lanes.commitAll();
    await this.#options.emptyShard((slot) => this.#lanes.needs(slot));
  }

  async #runEverywhere(command: ClusterCommand): Promise<void> {
    if (!command.isKnown) throw refuseUnknown(command.name);
    const translated = command.translate?.(this.#reader, this.#translation);
    if (translated === LEFT_OUT) return;
    if (isInTurn(translated)) return this.#data.giveInTurn(translated);
    const args = translated === undefined ? readArguments(this.#reader) : decodeArguments(translated);
    await this.#lanes.commitAll();
    await this.#options.runEverywhere(args);
  }

  /** Answers what the source asks on behalf of WAIT: at once when all before it is committed, else as soon as it is. */
  #answerGetack(): void {
    const { committedOffset, given } = this.#lanes;
    if (committedOffset >= given.offset) this.#options.link.acknowledge(committedOffset);
    else this.#askedOffset = given.offset;
  }

  /** Every {@link TICK_MS}: commits what waits, and moves the claim. */
  async #tick(): Promise<never> {
    const { clock, signal } = this.#options;
    for (;;) {
      await clock.sleep(TICK_MS, signal);
      this.#lanes.closeIdle();
      if (this.#lanes.committedOffset > this.#claimed && !this.#claimLane.isWriting) this.#writeClaim();
    }
  }

  #writeClaim(): void {
    const { committed } = this;
    this.#options.touched.flush(committed.offset);
    this.#claimLane.writer.write(['SET', this.#options.claimKey, this.#claim(committed)]);
    this.#claimLane.writer.flush();
    this.#claimed = committed.offset;
  }

  #claim(checkpoint: Checkpoint): Buffer {
    const { holder, generation, skips } = this.#options;
    return encodeClaim({
      ...holder,
      state: 'live',
      checkpoint,
      cluster: generation.claim,
      ...skips.forClaim(),
    });
  }
}
