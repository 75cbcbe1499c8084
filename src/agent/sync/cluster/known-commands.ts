import { type KnownCommand, KnownCommands } from '../known-commands.ts';
import type { ModuleCommands } from '../module-commands.ts';
import type { TargetCommands } from '../target-commands.ts';
import { type TouchRule, touchRule } from '../touching.ts';
import { findTranslation } from '../translate.ts';
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
  | 'slots'
  | 'refused'
  | 'data';

/** A command of the stream to a cluster. */
export type ClusterCommand = KnownCommand & {
  readonly role: CommandRole;
  /** The argument that is its key, when it always has exactly one. */
  readonly soleKey: number | undefined;
  /** Whether all of its arguments are keys, of which there is mostly one. */
  readonly isOfKeys: boolean;
  readonly touches: TouchRule;
};

const ROLES: ReadonlyMap<string, CommandRole> = new Map([
  ['SELECT', 'select'],
  ['MULTI', 'multi'],
  ['EXEC', 'exec'],
  ['PING', 'ignored'],
  ['REPLCONF', 'replconf'],
  ['PUBLISH', 'publish'],
  ['FLUSHALL', 'flush'],
  ['FLUSHDB', 'flush'],
  ['FUNCTION', 'everywhere'],
  ['SCRIPT', 'everywhere'],
  // CLUSTER SYNCSLOTS of Valkey 9, by which a primary tells its replicas of slots that it takes over, and the like.
  ['CLUSTER', 'slots'],
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

/** Looks commands up that are to be applied to a cluster. */
export function clusterCommands({
  commands,
  keys,
  moduleCommands,
}: {
  commands: TargetCommands;
  keys: CommandKeys;
  moduleCommands: ModuleCommands;
}): KnownCommands<ClusterCommand> {
  return new KnownCommands((name) => ({
    name,
    role: ROLES.get(name) ?? (REFUSED.has(name) ? 'refused' : 'data'),
    isKnown: commands.has(name),
    moduleKeyIndex: moduleCommands.keyIndex(name),
    translate: findTranslation(name),
    soleKey: soleKey(name, keys),
    isOfKeys: name === 'DEL' || name === 'UNLINK',
    touches: touchRule(name, keys),
  }));
}
