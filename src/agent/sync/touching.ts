import { isMigrationError } from '../../core/errors.ts';
import type { Client } from '../redis/client.ts';
import type { CommandReader } from '../redis/command-reader.ts';
import { partBytes } from '../redis/held-bytes.ts';
import type { TouchedKeys } from '../touched/touched-keys.ts';
import { readArguments } from './cluster/arguments.ts';
import {
  type CommandKeys,
  findKeys,
  isFoundByArguments,
  type KeyRange,
  readCommandKeys,
  soleKey,
} from './cluster/command-keys.ts';

/** What a command of the stream touches, as far as its name tells. */
export type TouchRule =
  | { readonly kind: 'none' }
  /** One key, at this argument. */
  | { readonly kind: 'sole'; readonly index: number }
  | ({ readonly kind: 'range' } & KeyRange)
  /** What its other arguments say. */
  | { readonly kind: 'arguments'; readonly find: (args: readonly Buffer[]) => readonly number[] }
  /** The same key in the database of the stream and in the one that the argument behind it names. */
  | { readonly kind: 'move' }
  /** Two keys, the second in another database with `DB n`. */
  | { readonly kind: 'copy' }
  /** Keys that it does not name. */
  | { readonly kind: 'unknown'; readonly reason: string };

/** A command of which not all arguments are in the window is taken into memory up to this size to find its keys. */
const HELD_COMMAND_BYTES_MAX = 64 * 1024 * 1024;

/** Commands of a stream that change no key of the data set. */
const KEYLESS: ReadonlySet<string> = new Set([
  'PING',
  'SELECT',
  'MULTI',
  'EXEC',
  'REPLCONF',
  'PUBLISH',
  'SPUBLISH',
  'SCRIPT',
  // A verification compares all functions, whatever its scope.
  'FUNCTION',
]);

/** Commands that are translated for a target that does not know them; the key stands behind the name. */
const TRANSLATED: ReadonlySet<string> = new Set([
  'HSETEX',
  'HGETEX',
  'HGETDEL',
  'HEXPIRE',
  'HPEXPIRE',
  'HEXPIREAT',
  'HPEXPIREAT',
  'HPERSIST',
  'RESTORE-ASKING',
]);

/** What a command touches, by its name in capitals; `keys` are undefined where the target does not say. */
export function touchRule(name: string, keys: CommandKeys | undefined): TouchRule {
  if (KEYLESS.has(name)) return { kind: 'none' };
  if (name === 'MOVE') return { kind: 'move' };
  if (name === 'COPY') return { kind: 'copy' };
  if (TRANSLATED.has(name)) return { kind: 'sole', index: 1 };
  if (keys === undefined) return { kind: 'unknown', reason: 'the user at the target may not run COMMAND' };
  const index = soleKey(name, keys);
  if (index !== undefined) return { kind: 'sole', index };
  if (isFoundByArguments(name)) return { kind: 'arguments', find: (args) => findKeys(name, args, keys) };
  const range = keys.isMovable(name) ? undefined : keys.range(name);
  if (range !== undefined) return { kind: 'range', ...range };
  return {
    kind: 'unknown',
    reason: `the source sent ${name.slice(0, 40)}, which does not name all keys it changes`,
  };
}

/** Where the keys of commands are, or undefined when the user at the target may not ask. */
export async function readTouchKeys(target: Client): Promise<CommandKeys | undefined> {
  try {
    return await readCommandKeys(target);
  } catch (error) {
    if (isMigrationError(error) && error.code === 'target-permission-denied') return undefined;
    throw error;
  }
}

/** Takes note of the keys of the command that the reader stands on; to be called before it is applied. */
export function touchKeys(touched: TouchedKeys, rule: TouchRule, { reader, db }: Touching): void {
  if (rule.kind === 'none') return;
  if (rule.kind === 'unknown') {
    touched.lose(rule.reason);
  } else if (rule.kind === 'sole' && !reader.isHeld) {
    touched.touch(db, reader.window, reader.argumentStart(rule.index), reader.argumentEnd(rule.index));
  } else if (rule.kind === 'range' && !reader.isHeld) {
    const last = lastOf(rule, reader.argumentCount);
    for (let index = rule.first; index <= last; index += rule.step) {
      touched.touch(db, reader.window, reader.argumentStart(index), reader.argumentEnd(index));
    }
  } else if (rule.kind === 'sole' && rule.index === 1) {
    // A large value behind the key does not matter.
    const key = reader.argument(1);
    touched.touch(db, key, 0, key.length);
  } else if (reader.isHeld && heldBytes(reader) > HELD_COMMAND_BYTES_MAX) {
    touched.lose(`the source sent a command with several keys of ${heldBytes(reader)} bytes`);
  } else {
    for (const { inDb, key } of findTouched(rule, readArguments(reader), db)) {
      touched.touch(inDb, key, 0, key.length);
    }
  }
}

/** A command of the stream, and the database in which it runs. */
export type Touching = { readonly reader: CommandReader; readonly db: number };

/** The rare ones, of which the arguments are looked at one by one. */
function findTouched(rule: TouchRule, args: readonly Buffer[], db: number): { inDb: number; key: Buffer }[] {
  const at = (index: number, inDb = db) => {
    const key = args[index];
    return key === undefined ? [] : [{ inDb, key }];
  };
  switch (rule.kind) {
    case 'sole':
      return at(rule.index);
    case 'range': {
      const count = lastOf(rule, args.length) - rule.first;
      const indexes = Array.from({ length: 1 + Math.floor(count / rule.step) }, (_, n) => n * rule.step);
      return indexes.flatMap((index) => at(rule.first + index));
    }
    case 'arguments':
      return rule.find(args).flatMap((index) => at(index));
    case 'move':
      return [...at(1), ...at(1, Number(args[2]?.toString('latin1')))];
    case 'copy':
      return [...at(1), ...at(2, copyDatabase(args) ?? db)];
    default:
      return [];
  }
}

function heldBytes(reader: CommandReader): number {
  return reader.parts().reduce((sum, part) => sum + partBytes(part), 0);
}

function lastOf({ last }: KeyRange, argumentCount: number): number {
  return Math.min(argumentCount - 1, last < 0 ? argumentCount + last : last);
}

/** `COPY source destination [DB n] [REPLACE]` */
function copyDatabase(args: readonly Buffer[]): number | undefined {
  for (let index = 3; index + 1 < args.length; index++) {
    if (args[index]?.length === 2 && /^db$/i.test(args[index]?.toString('latin1') ?? '')) {
      return Number(args[index + 1]?.toString('latin1'));
    }
  }
  return undefined;
}
