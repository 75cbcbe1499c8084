import { MigrationError } from '../../../core/errors.ts';
import type { Client } from '../../redis/client.ts';

/** The arguments of a command, its name at index 0. */
export type Arguments = readonly Buffer[];

/** Which arguments of a command are keys: from `first` to `last` in steps of `step`; a negative `last` counts back. */
export type KeyRange = { readonly first: number; readonly last: number; readonly step: number };

/** Where the keys of each command are. */
export type CommandKeys = {
  /** The range of a command, by its name in capitals; undefined for one without keys and for one that is found out. */
  range(name: string): KeyRange | undefined;
  /** Whether its keys depend on its other arguments, so that the range is not all of them. */
  isMovable(name: string): boolean;
};

/**
 * Asks the target where the keys of its commands are.
 *
 * @throws the codes of {@link Client.call}, also when its user may not ask
 */
export async function readCommandKeys(target: Client): Promise<CommandKeys> {
  const reply = await target.call('COMMAND');
  const ranges = new Map<string, KeyRange>();
  const movable = new Set<string>();
  for (const entry of Array.isArray(reply) ? reply : []) {
    const [name, , flags, first, last, step] = Array.isArray(entry) ? entry : [];
    const isMovable = Array.isArray(flags) && flags.some((flag) => String(flag) === 'movablekeys');
    if (isMovable) movable.add(String(name).toUpperCase());
    if (Number(first) > 0) {
      ranges.set(String(name).toUpperCase(), {
        first: Number(first),
        last: Number(last),
        step: Math.max(1, Number(step)),
      });
    }
  }
  return { range: (name) => ranges.get(name), isMovable: (name) => movable.has(name) };
}

/** Whether the keys of a command are found by looking at its other arguments. */
export function isFoundByArguments(name: string): boolean {
  return FINDERS.has(name);
}

/** The indexes of the arguments that are keys; none for a command without. */
export function findKeys(name: string, args: Arguments, keys: CommandKeys): readonly number[] {
  const find = FINDERS.get(name);
  if (find !== undefined) return find(args);
  const range = keys.range(name);
  if (range === undefined) return [];
  const last = Math.min(args.length - 1, range.last < 0 ? args.length + range.last : range.last);
  const found: number[] = [];
  for (let index = range.first; index <= last; index += range.step) found.push(index);
  return found;
}

/** The argument that is the key of a command that always has exactly one; undefined for all others. */
export function soleKey(name: string, keys: CommandKeys): number | undefined {
  if (name === 'XGROUP') return 2;
  const range = FINDERS.has(name) ? undefined : keys.range(name);
  return range !== undefined && range.first === range.last ? range.first : undefined;
}

/** Commands of a replication stream of which the keys depend on the other arguments, and one that COMMAND hides. */
const FINDERS: ReadonlyMap<string, (args: Arguments) => readonly number[]> = new Map([
  ['ZUNIONSTORE', counted],
  ['ZINTERSTORE', counted],
  ['ZDIFFSTORE', counted],
  ['MSETEX', (args: Arguments) => every({ from: 2, count: numberAt(args, 1), step: 2 })],
  ['SORT', (args: Arguments) => withStore(sortStore(args))],
  ['GEORADIUS', (args: Arguments) => withStore(geoStore(args, 6))],
  ['GEORADIUSBYMEMBER', (args: Arguments) => withStore(geoStore(args, 5))],
  ['XGROUP', () => [2]],
]);

/** `NAME destination number key*` */
function counted(args: Arguments): readonly number[] {
  return [1, ...every({ from: 3, count: numberAt(args, 2), step: 1 })];
}

function every({ from, count, step }: { from: number; count: number; step: number }): number[] {
  return Array.from({ length: count }, (_, index) => from + step * index);
}

function withStore(store: number | undefined): readonly number[] {
  return store === undefined ? [1] : [1, store];
}

/** `SORT key [BY pattern] [LIMIT offset count] [GET pattern]* [ASC|DESC] [ALPHA] [STORE key]`; the last one counts. */
function sortStore(args: Arguments): number | undefined {
  let store: number | undefined;
  for (let index = 2; index < args.length; index++) {
    const option = optionAt(args, index);
    if (option === 'BY' || option === 'GET') index += 1;
    if (option === 'LIMIT') index += 2;
    if (option === 'STORE') store = ++index;
  }
  return store;
}

/** `... unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT n [ANY]] [ASC|DESC] [STORE key] [STOREDIST key]` */
function geoStore(args: Arguments, optionsAt: number): number | undefined {
  let store: number | undefined;
  for (let index = optionsAt; index < args.length; index++) {
    const option = optionAt(args, index);
    if (option === 'COUNT') index += 1;
    if (option === 'STORE' || option === 'STOREDIST') store = ++index;
  }
  return store;
}

/** An argument as an option in capitals; a longer one is none. */
export function optionAt(args: Arguments, index: number): string {
  const argument = args[index];
  return argument === undefined || argument.length > 16 ? '' : argument.toString('latin1').toUpperCase();
}

function numberAt(args: Arguments, index: number): number {
  const number = Number(args[index]?.toString('latin1') ?? '');
  if (Number.isSafeInteger(number) && number >= 0 && number <= args.length) return number;
  throw new MigrationError(
    'source-protocol-error',
    `The source sent ${args[0]?.toString('latin1', 0, 40)} with a number of keys that cannot be.`,
  );
}
