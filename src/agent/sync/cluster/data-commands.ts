import { MigrationError } from '../../../core/errors.ts';
import { keySlot } from '../../redis/cluster/slots.ts';
import { sourceSlotsMoved } from '../../redis/cluster/source-cluster.ts';
import type { CommandReader } from '../../redis/command-reader.ts';
import type { Part } from '../../redis/held-bytes.ts';
import { type Command, encodeCommands } from '../../redis/raw-connection.ts';
import { isReservedKey } from '../../redis/reserved-key.ts';
import { careForAbsentKeys, isCaredFor, RENAME_IF_THERE } from '../absent-keys.ts';
import type { FollowedShard } from '../shards/followed-shard.ts';
import type { Skips } from '../skips.ts';
import { type InTurn, isInTurn, LEFT_OUT, refuseUnknown, type TranslationContext } from '../translate.ts';
import { decodeArguments, readArguments } from './arguments.ts';
import { BATCH_COMMAND_ARGUMENTS_MAX } from './batch-script.ts';
import { CLAIM_SLOT } from './cluster-target.ts';
import { type CommandKeys, findKeys } from './command-keys.ts';
import { planAcrossSlots, refuseForeignOptions } from './cross-slot.ts';
import type { ClusterCommand } from './known-commands.ts';
import type { Lanes } from './lanes.ts';

/** What commands of data are given out with; `reader` stands on the command that is given. */
export type DataCommandsOptions = {
  readonly reader: CommandReader;
  readonly lanes: Lanes;
  readonly translation: TranslationContext;
  readonly keys: CommandKeys;
  readonly skips: Skips;
  /** The shard of the source whose stream it is, which may name keys of its own slots only. */
  readonly shard?: FollowedShard | undefined;
};

/**
 * Gives the commands of a stream that are about keys to the lanes of their slots.
 *
 * They throw target-refused-command, target-databases-too-few and source-data-unsupported for what cannot be applied, and
 * source-slots-moved for a key of another shard.
 */
export class DataCommands {
  readonly #options: DataCommandsOptions;

  constructor(options: DataCommandsOptions) {
    this.#options = options;
  }

  /** Gives the command that the reader stands on; a promise must be waited for before the next. */
  give(command: ClusterCommand): Promise<void> | undefined {
    const { reader, skips, lanes, translation } = this.#options;
    if (command.moduleKeyIndex !== undefined) {
      skips.addCommand({
        command: reader,
        name: command.name,
        keyIndex: command.moduleKeyIndex,
        db: lanes.given.db,
      });
      return undefined;
    }
    const translated = command.translate?.(reader, translation);
    if (translated === LEFT_OUT) return undefined;
    if (isInTurn(translated)) return this.giveInTurn(translated);
    if (translated === undefined && !command.isKnown) throw refuseUnknown(command.name);
    if (skips.hasModuleKeys && isCaredFor(command.name)) return this.#giveWithCare(command.name, translated);
    const keyAt = command.soleKey ?? (command.isOfKeys && reader.argumentCount === 2 ? 1 : 0);
    const isSimple = keyAt === 1 || (keyAt > 1 && !reader.isHeld);
    const isCallable = keyAt < reader.argumentCount && reader.argumentCount <= BATCH_COMMAND_ARGUMENTS_MAX;
    if (!isSimple || !isCallable) return this.#giveKeys(command.name, translated);
    const key = reader.argument(keyAt);
    this.#refuseOtherDatabase(command.name);
    if (isReservedKey(key)) return undefined;
    const parts = translated ?? reader.parts();
    const slot = slotOf(key);
    this.#refuseForeignSlot(slot);
    return lanes.give({ slot, parts, through: lanes.offset });
  }

  /**
   * A command that may name a key of a module, which is not here: see absent-keys.ts.
   *
   * A script stops at the error of a RENAME that finds no key, and COPY has none: it does the same in two steps.
   */
  async #giveWithCare(name: string, translated: readonly Part[] | undefined): Promise<void> {
    const { lanes, reader } = this.#options;
    const care = careForAbsentKeys(name, reader, lanes.given.db);
    const [, source = NOTHING, destination = NOTHING] =
      translated === undefined ? readArguments(reader) : decodeArguments(translated);
    for (const command of care?.before ?? []) {
      const key = command[1];
      if (Buffer.isBuffer(key)) await this.#giveBefore(key, command);
    }
    const isOfOneSlot = slotOf(source) === slotOf(destination);
    if (care?.name !== RENAME_IF_THERE || !isOfOneSlot) return this.#giveKeys(name, translated);
    await this.#giveBefore(source, ['COPY', source, destination]);
    await lanes.giveArguments([Buffer.from('UNLINK'), source], {
      slot: slotOf(source),
      through: lanes.offset,
    });
  }

  /** Each goes to the slot of its key, those of one slot in one batch. */
  giveInTurn({ name, commands }: InTurn): Promise<void> | undefined {
    this.#refuseOtherDatabase(name);
    const shares = commands.map(decodeArguments).flatMap((command) => {
      const key = command[1] ?? NOTHING;
      return isReservedKey(key) ? [] : [{ slot: slotOf(key), command }];
    });
    for (const { slot } of shares) this.#refuseForeignSlot(slot);
    return this.#options.lanes.giveShares(shares);
  }

  /** Something that comes before the current command, and may come again with it after an interruption. */
  async #giveBefore(key: Buffer, command: Command): Promise<void> {
    const parts = [encodeCommands([command])];
    const { lanes } = this.#options;
    await lanes.give({ slot: slotOf(key), parts, through: lanes.given.offset });
  }

  /** A command that has no key, or several, or more arguments than can be called at once. */
  #giveKeys(name: string, translated: readonly Part[] | undefined): Promise<void> | undefined {
    const { lanes, reader } = this.#options;
    const args = translated === undefined ? readArguments(reader) : decodeArguments(translated);
    const indexes = findKeys(name, args, this.#options.keys);
    const keys = indexes.map((index) => args[index] ?? NOTHING);
    const [first] = keys;
    if (first !== undefined) this.#refuseOtherDatabase(name);
    if (first !== undefined && isReservedKey(first)) return undefined;
    refuseForeignOptions(name, args);
    const slots = new Set(keys.map(slotOf));
    for (const each of slots) this.#refuseForeignSlot(each);
    const [slot = CLAIM_SLOT] = slots;
    if (slots.size <= 1) return lanes.giveArguments(args, { slot, through: lanes.offset });
    const plan = planAcrossSlots(name, args, {
      keys: indexes,
      mayLackKeys: this.#options.skips.hasModuleKeys,
    });
    return plan.kind === 'split' ? lanes.giveShares(plan.shares) : lanes.join(plan);
  }

  /** A key of another shard has come with its slot: what the other one still sends of it would be applied in any order. */
  #refuseForeignSlot(slot: number): void {
    const { shard } = this.#options;
    if (shard === undefined || shard.owns(slot)) return;
    throw sourceSlotsMoved(`the primary of ${shard.slots.slice(0, 100)} has written to the slot ${slot}`);
  }

  #refuseOtherDatabase(name: string): void {
    const { db } = this.#options.lanes.given;
    if (db !== 0) throw databasesTooFew(`${name.slice(0, 40)} in database ${db}`);
  }
}

const NOTHING = Buffer.alloc(0);

function slotOf(key: Buffer): number {
  return keySlot(key, 0, key.length);
}

/** What is said of data in a database that a cluster does not have. */
export function databasesTooFew(what: string): MigrationError {
  return new MigrationError(
    'target-databases-too-few',
    `The target is in cluster mode and has database 0 only; the source has ${what}.`,
    { remedy: 'Choose a target with cluster mode disabled, or move the data to database 0 of the source.' },
  );
}
