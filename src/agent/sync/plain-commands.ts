import type { CommandReader } from '../redis/command-reader.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import type { TouchedKeys } from '../touched/touched-keys.ts';
import type { KnownCommands } from './known-commands.ts';
import type { Skips } from './skips.ts';
import type { StreamCommand } from './stream-commands.ts';
import { SLOT_COMMAND_BYTES_MAX, type TargetWriter } from './target-writer.ts';
import { touchKeys } from './touching.ts';

/**
 * Why no more is passed on: all that has arrived is passed on, the reader stands on a command that needs a closer
 * look, or as much is passed on as was allowed or as the writer puts together at once.
 */
export type PassEnd = 'no-more' | 'other-command' | 'limit';

/** What commands are passed on with. */
export type PlainCommandsOptions = {
  readonly reader: CommandReader;
  readonly writer: TargetWriter;
  readonly known: KnownCommands<StreamCommand>;
  readonly skips: Skips;
  readonly touched: TouchedKeys;
};

/** How far to pass on. */
export type PassLimits = {
  /** The database that the stream stands in. */
  readonly db: number;
  readonly commandsMax: number;
  /** Called before anything is written. */
  readonly begin: () => void;
};

/**
 * Passes commands on that go as they are, which nearly all do: looks at each of them once, and copies those that stand
 * one behind the other as one piece of bytes.
 *
 * To write each of them by itself took twice as long.
 */
export class PlainCommands {
  readonly #options: PlainCommandsOptions;
  /** How many were passed on the last time. */
  count = 0;

  constructor(options: PlainCommandsOptions) {
    this.#options = options;
  }

  /** Goes on behind the command that the reader stands on, which is done. */
  pass({ db, commandsMax, begin }: PassLimits): PassEnd {
    const { reader, writer, touched } = this.#options;
    const { window } = reader;
    const { isTracking } = touched;
    let end: PassEnd = 'limit';
    let count = 0;
    let from = 0;
    let to = 0;
    for (let max = commandsMax; count < max; count++) {
      if (!reader.next()) {
        end = 'no-more';
        break;
      }
      const command = this.#plain(db);
      if (command === undefined) {
        end = 'other-command';
        break;
      }
      if (isTracking) touchKeys(touched, command.touches, { reader, db });
      if (count === 0) {
        begin();
        from = reader.start;
      }
      if (reader.end - from > writer.roomInSlot) {
        if (count > 0) writer.append(window, from, to);
        writer.flush();
        from = reader.start;
        max = count + 1;
      }
      to = reader.end;
      writer.register(command.id);
    }
    if (count > 0) writer.append(window, from, to);
    this.count = count;
    return end;
  }

  /** What is known of the command that the reader stands on, when it goes as it is. */
  #plain(db: number): StreamCommand | undefined {
    const { reader, known, skips } = this.#options;
    const { argumentCount } = reader;
    if (argumentCount === 0 || reader.isHeld || skips.hasModuleKeys) return undefined;
    if (reader.end - reader.start > SLOT_COMMAND_BYTES_MAX) return undefined;
    const command = known.current(reader);
    if (argumentCount > command.plainArgumentsMax) return undefined;
    // The claim of this migration on its own target is nobody else's to write.
    if (db === 0 && argumentCount > 1 && reader.isArgument(1, RESERVED_KEY)) return undefined;
    return command;
  }
}
