import type { CommandReader } from '../redis/command-reader.ts';
import type { Command } from '../redis/raw-connection.ts';

/*
 * Options that a source sends to its replicas and that a target takes from nobody else, or does not know.
 *
 * XADD key [NOMKSTREAM] [KEEPREF|DELREF|ACKED] [trim] id (field value)+
 * XTRIM key trim [KEEPREF|DELREF|ACKED]
 * trim = MAXLEN|MINID [=|~] threshold [LIMIT count]
 * SET key value *option, among them IFEQ value and its kin
 *
 * What was trimmed by about (~) is sent as trimmed exactly (=), with the LIMIT as it was given, which only goes with ~.
 * A SET is sent when its condition was met, so that it holds without it.
 * Source: t_stream.c and t_string.c of redis 6.2-8.0 and valkey 7.2-9.1.
 */

/** The arguments of a command, its name at index 0. */
type Arguments = readonly Buffer[];

/** With fewer arguments XADD and XTRIM have no LIMIT. */
export const LIMITED_TRIM_ARGUMENTS_MIN = 6;
/** With fewer arguments SET has no condition on its old value. */
export const VALUE_CONDITION_ARGUMENTS_MIN = 5;
const TRIM_STRATEGIES: ReadonlySet<string> = new Set(['MAXLEN', 'MINID']);
const XADD_FLAGS: ReadonlySet<string> = new Set(['NOMKSTREAM', 'KEEPREF', 'DELREF', 'ACKED']);

/** Whether XADD or XTRIM may have a LIMIT, by a look at few of its arguments. */
export function mayHaveTrimLimit(command: CommandReader): boolean {
  if (command.argumentCount < LIMITED_TRIM_ARGUMENTS_MIN) return false;
  const option = command.heldArgument(2) === undefined ? upper(command.argument(2)) : '';
  return TRIM_STRATEGIES.has(option) || XADD_FLAGS.has(option);
}

/** XADD or XTRIM without the LIMIT of a trim that is not by about; undefined when it goes as it is. */
export function withoutTrimLimit(args: Arguments): Command | undefined {
  let at = 2;
  while (XADD_FLAGS.has(upper(args[at]))) at += 1;
  if (!TRIM_STRATEGIES.has(upper(args[at]))) return undefined;
  const sign = upper(args[at + 1]);
  if (sign === '~') return undefined;
  const limitAt = at + (sign === '=' ? 3 : 2);
  if (upper(args[limitAt]) !== 'LIMIT') return undefined;
  return [...args.slice(0, limitAt), ...args.slice(limitAt + 2)];
}

/** Whether SET has a condition on its old value. */
export function hasValueCondition(command: CommandReader): boolean {
  for (let index = 3; index + 1 < command.argumentCount; index++) {
    if (command.heldArgument(index) === undefined && isValueCondition(command.argument(index))) return true;
  }
  return false;
}

/** The arguments of SET without its condition on the old value. */
export function withoutValueCondition(args: Arguments): Arguments {
  const at = args.findIndex((argument, index) => index > 2 && isValueCondition(argument));
  return at === -1 ? args : [...args.slice(0, at), ...args.slice(at + 2)];
}

function isValueCondition(argument: Buffer): boolean {
  return /^IFD?(EQ|NE)$/.test(upper(argument));
}

/** Options are short; a longer argument is none, and is not turned into text. */
export function upper(argument: Buffer | undefined): string {
  return argument === undefined || argument.length > 16 ? '' : argument.toString('latin1').toUpperCase();
}
