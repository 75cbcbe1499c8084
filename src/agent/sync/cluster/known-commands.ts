import type { ModuleCommands } from '../module-commands.ts';
import type { TargetCommands } from '../target-commands.ts';
import { findTranslation, type Translate } from '../translate.ts';
import { type CommandKeys, soleKey } from './command-keys.ts';

/** What a command of the stream is to a cluster; `data`: it goes where its keys are. */
export type CommandRole =
  | 'select'
  | 'multi'
  | 'exec'
  | 'ignored'
  | 'replconf'
  | 'publish'
  | 'flush'
  | 'everywhere'
  | 'refused'
  | 'data';

/** A command of the stream, by its name in capitals. */
export type KnownCommand = {
  readonly name: string;
  readonly role: CommandRole;
  /** Whether the target knows it. */
  readonly isKnown: boolean;
  readonly translate: Translate | undefined;
  /** See {@link ModuleCommands}. */
  readonly moduleKeyIndex: number | undefined;
  /** The argument that is its key, when it always has exactly one. */
  readonly soleKey: number | undefined;
  /** Whether all of its arguments are keys, of which there is mostly one. */
  readonly isOfKeys: boolean;
};

/** Names that are looked up by their spelling; beyond it each is looked up anew. */
const SPELLINGS_MAX = 4096;

const ROLES: ReadonlyMap<string, CommandRole> = new Map([
  ['SELECT', 'select'],
  ['MULTI', 'multi'],
  ['EXEC', 'exec'],
  ['PING', 'ignored'],
  // It only refreshes what the key remembers of its last count.
  ['PFCOUNT', 'ignored'],
  ['REPLCONF', 'replconf'],
  ['PUBLISH', 'publish'],
  ['FLUSHALL', 'flush'],
  ['FLUSHDB', 'flush'],
  ['FUNCTION', 'everywhere'],
  ['SCRIPT', 'everywhere'],
]);

const OTHER_DATABASE = 'it is about another database';
const NO_EFFECTS = 'the source replicates scripts instead of what they do';
/** Commands that no cluster carries out, and why. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ['SWAPDB', OTHER_DATABASE],
  ['MOVE', OTHER_DATABASE],
  ['EVAL', NO_EFFECTS],
  ['EVALSHA', NO_EFFECTS],
]);

/** Why a command with the role `refused` is. */
export function whyRefused(name: string): string | undefined {
  return REFUSED.get(name);
}

/** Looks commands up by the spelling in which they come. */
export class KnownCommands {
  readonly #bySpelling = new Map<string, KnownCommand>();
  readonly #commands: TargetCommands;
  readonly #keys: CommandKeys;
  readonly #moduleCommands: ModuleCommands;

  constructor({
    commands,
    keys,
    moduleCommands,
  }: {
    commands: TargetCommands;
    keys: CommandKeys;
    moduleCommands: ModuleCommands;
  }) {
    this.#moduleCommands = moduleCommands;
    this.#commands = commands;
    this.#keys = keys;
  }

  /** What is known of a command. */
  lookUp(spelling: string): KnownCommand {
    const known = this.#bySpelling.get(spelling);
    if (known !== undefined) return known;
    const name = spelling.toUpperCase();
    const command: KnownCommand = {
      name,
      role: ROLES.get(name) ?? (REFUSED.has(name) ? 'refused' : 'data'),
      isKnown: this.#commands.has(name),
      translate: findTranslation(name),
      moduleKeyIndex: this.#moduleCommands.keyIndex(name),
      soleKey: soleKey(name, this.#keys),
      isOfKeys: name === 'DEL' || name === 'UNLINK',
    };
    if (this.#bySpelling.size < SPELLINGS_MAX) this.#bySpelling.set(spelling, command);
    return command;
  }
}
