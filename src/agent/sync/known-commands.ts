import path from 'node:path';
import { CommandReader } from '../redis/command-reader.ts';
import { HeldBytes } from '../redis/held-bytes.ts';
import { Spellings } from '../redis/spellings.ts';
import { isCaredFor } from './absent-keys.ts';
import { findTranslation, type Translate } from './translate.ts';

/** Names that are looked up by their spelling; beyond it each is looked up anew. */
const SPELLINGS_MAX = 4096;

/** What every command of a stream is known by, whatever it is applied to. */
export type KnownCommand = {
  /** In capitals. */
  readonly name: string;
  /** Whether the target knows it. */
  readonly isKnown: boolean;
  /** Of a module, whose data is not carried: where its key stands among the arguments, 0 for nowhere. */
  readonly moduleKeyIndex: number | undefined;
  readonly translate: Translate | undefined;
};

/** Looks commands up by the spelling in which they come. */
export class KnownCommands<Known extends KnownCommand> {
  readonly #bySpelling = new Map<string, Known>();
  readonly #byBytes = new Spellings((spelling) => this.lookUp(spelling));
  readonly #make: (name: string) => Known;

  /** `make`: what is known of a command, by its name in capitals. */
  constructor(make: (name: string) => Known) {
    this.#make = make;
  }

  /** What is known of the command that the reader stands on. */
  current(reader: CommandReader): Known {
    return this.#byBytes.find(reader.window, reader.argumentStart(0), reader.argumentEnd(0));
  }

  /** What is known of a command. */
  lookUp(spelling: string): Known {
    const known = this.#bySpelling.get(spelling);
    if (known !== undefined) return known;
    const command = this.#make(spelling.toUpperCase());
    if (this.#bySpelling.size < SPELLINGS_MAX) this.#bySpelling.set(spelling, command);
    return command;
  }
}

/** A reader of a stream that keeps large arguments in this folder, and all of those that may be translated. */
export function openCommandReader(directory: string): CommandReader {
  return new CommandReader({
    hold: () => new HeldBytes(path.join(directory, 'held')),
    isTranslated: (spelling) => {
      const name = spelling.toUpperCase();
      return findTranslation(name) !== undefined || isCaredFor(name);
    },
  });
}
