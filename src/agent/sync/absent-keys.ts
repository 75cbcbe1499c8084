import type { CommandReader } from '../redis/command-reader.ts';
import type { Command } from '../redis/raw-connection.ts';

/*
 * A key of a module exists at the source and not at the target. What commands of the stream do that may name one, all
 * of which had succeeded at the source:
 *
 *   RENAME a b, RENAMENX a b   a is absent: b goes, and "no such key" is no failure.     before: UNLINK b
 *   COPY a b [DB n] REPLACE    a is absent: it answers 0 and leaves b, which must go.    before: UNLINK b, in n
 *   SET k v XX, MSETEX n … XX  k is absent: it would not be set.                        before: SET k "" NX
 *   RESTORE k of a module      k goes, whatever it was: translate.ts
 *
 *   COPY without REPLACE       b was absent on both sides, and stays so
 *   MOVE                       answers 0: the key was absent in the other database
 *   DEL, UNLINK, EXPIRE…, PERSIST, TOUCH     pass over what is absent
 *   SET, MSET, GETSET, *STORE, BITOP, RESTORE REPLACE     write over it as over any key
 *   SETNX, SET NX, MSETNX, COPY, MOVE onto it             had failed at the source, and were not sent
 *   SORT … BY, GET             take a key of a module for an absent one at the source as well
 *   SORT, *STORE, BITOP, PF*, LMOVE, SMOVE from it        WRONGTYPE at the source: not sent
 *   SWAPDB, FLUSHDB, FLUSHALL  the same on both sides
 *
 * What stays: SET … KEEPTTL over a key of a module keeps an expiry that the target never had, so that the key never
 * expires there until the source sends its DEL; and a command of a module that changes keys of other types
 * (FT.DROPINDEX … DD). A verification finds both.
 */

/** A command of the stream that needs company because a key it names may be absent. */
export type AbsentKeyCare = {
  /** What is written before it. */
  readonly before: readonly Command[];
  /** Under which name it is written, where that decides what its failure means. */
  readonly name?: string;
};

/** The name under which a RENAME is written that may find no key; refusal.ts lets it pass. */
export const RENAME_IF_THERE = 'RENAME (if there)';

/** Whether {@link careForAbsentKeys} wants to see all arguments of the command, by its name in capitals. */
export function isCaredFor(name: string): boolean {
  return CARED_FOR.has(name);
}

const CARED_FOR: ReadonlySet<string> = new Set(['RENAME', 'RENAMENX', 'COPY', 'SET', 'MSETEX']);

/** What the current command needs; undefined for nothing, as for almost all. `db`: where it is run. */
export function careForAbsentKeys(
  name: string,
  command: CommandReader,
  db: number,
): AbsentKeyCare | undefined {
  switch (name) {
    case 'RENAME':
    case 'RENAMENX':
      // Onto itself it does nothing, and the key must stay.
      if (command.argument(1).equals(command.argument(2))) return undefined;
      return { before: [['UNLINK', command.argument(2)]], name: RENAME_IF_THERE };
    case 'COPY':
      return careForCopy(command, db);
    case 'SET':
      return hasOption(command, 3, 'XX') ? { before: [['SET', command.argument(1), '', 'NX']] } : undefined;
    case 'MSETEX':
      return careForSets(command);
    default:
      return undefined;
  }
}

function careForCopy(command: CommandReader, db: number): AbsentKeyCare | undefined {
  if (!hasOption(command, 3, 'REPLACE')) return undefined;
  const unlink: Command = ['UNLINK', command.argument(2)];
  for (let index = 3; index + 1 < command.argumentCount; index++) {
    if (!/^db$/i.test(optionText(command, index))) continue;
    return { before: [['SELECT', command.argument(index + 1)], unlink, ['SELECT', db]] };
  }
  return { before: [unlink] };
}

/** `MSETEX n (key value)* [NX|XX] [expiry]` */
function careForSets(command: CommandReader): AbsentKeyCare | undefined {
  const keys = Number(command.text(1));
  if (!hasOption(command, 2 + 2 * keys, 'XX')) return undefined;
  const before = Array.from({ length: keys }, (_, index): Command => {
    return ['SET', command.argument(2 + 2 * index), '', 'NX'];
  });
  return { before };
}

function hasOption(command: CommandReader, from: number, option: string): boolean {
  for (let index = from; index < command.argumentCount; index++) {
    if (optionText(command, index).toUpperCase() === option) return true;
  }
  return false;
}

/** Options are short; what is longer is none. */
function optionText(command: CommandReader, index: number): string {
  const argument = command.argument(index);
  return argument.length > 16 ? '' : argument.toString('latin1');
}
