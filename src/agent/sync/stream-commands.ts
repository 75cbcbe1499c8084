import type { CommandKeys } from './cluster/command-keys.ts';
import { type KnownCommand, KnownCommands } from './known-commands.ts';
import type { ModuleCommands } from './module-commands.ts';
import type { TargetCommands } from './target-commands.ts';
import type { TargetWriter } from './target-writer.ts';
import { type TouchRule, touchRule } from './touching.ts';
import { findTranslation, plainArgumentsMax } from './translate.ts';

/** What a command is to the one who applies the stream. */
export type CommandRole =
  | 'select'
  | 'multi'
  | 'exec'
  | 'ping'
  | 'replconf'
  | 'publish'
  | 'flush'
  | 'swapdb'
  | 'data';

/** A command of the stream of one source; `id`: of the name, for the writer. */
export type StreamCommand = KnownCommand & {
  readonly id: number;
  readonly role: CommandRole;
  readonly touches: TouchRule;
  /** With at most so many arguments it is written as it comes, whatever they are; -1 when never. */
  readonly plainArgumentsMax: number;
};

const ROLES: ReadonlyMap<string, CommandRole> = new Map([
  ['SELECT', 'select'],
  ['MULTI', 'multi'],
  ['EXEC', 'exec'],
  ['PING', 'ping'],
  ['REPLCONF', 'replconf'],
  ['PUBLISH', 'publish'],
  ['FLUSHALL', 'flush'],
  ['FLUSHDB', 'flush'],
  ['SWAPDB', 'swapdb'],
]);

/** What is known of the commands of a stream by their names. */
export function knowCommands(options: {
  readonly writer: Pick<TargetWriter, 'names'>;
  readonly commands: TargetCommands;
  readonly moduleCommands: ModuleCommands;
  readonly keys: CommandKeys | undefined;
}): KnownCommands<StreamCommand> {
  return new KnownCommands((name) => {
    const role = ROLES.get(name) ?? 'data';
    const isKnown = options.commands.has(name);
    const moduleKeyIndex = options.moduleCommands.keyIndex(name);
    const isPlain = role === 'data' && isKnown && moduleKeyIndex === undefined;
    return {
      name,
      id: options.writer.names.id(name),
      role,
      isKnown,
      moduleKeyIndex,
      translate: findTranslation(name),
      touches: touchRule(name, options.keys),
      plainArgumentsMax: isPlain ? plainArgumentsMax(name) : -1,
    };
  });
}
