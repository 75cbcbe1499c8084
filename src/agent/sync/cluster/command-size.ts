import type { Command } from '../../redis/raw-connection.ts';
import { BATCH_COMMAND_ARGUMENTS_MAX } from './batch-script.ts';
import { type Arguments, optionAt } from './command-keys.ts';
import { refuseOnCluster } from './cross-slot.ts';

/** What repeats at the end of a command: so many arguments each, behind the first `from`. */
type Repeat = { readonly from: number; readonly width: number };

const FROM_KEY: Repeat = { from: 2, width: 1 };
const PAIRS: Repeat = { from: 2, width: 2 };

/** Commands that may be given in parts, one after the other, without a difference in what comes of them. */
const REPEATS: ReadonlyMap<string, Repeat | ((args: Arguments) => Repeat)> = new Map<
  string,
  Repeat | ((args: Arguments) => Repeat)
>([
  ...['DEL', 'UNLINK'].map((name): [string, Repeat] => [name, { from: 1, width: 1 }]),
  ['MSET', { from: 1, width: 2 }],
  ...['SADD', 'SREM', 'RPUSH', 'LPUSH', 'RPUSHX', 'LPUSHX', 'HDEL', 'ZREM', 'XDEL', 'PFADD'].map(
    (name): [string, Repeat] => [name, FROM_KEY],
  ),
  ...['HSET', 'HMSET'].map((name): [string, Repeat] => [name, PAIRS]),
  ['XACK', { from: 3, width: 1 }],
  ['ZADD', scoredMembers],
]);

/** `ZADD key [NX|XX] [GT|LT] [CH] [INCR] (score member)*` */
function scoredMembers(args: Arguments): Repeat {
  let from = 2;
  while (/^(NX|XX|GT|LT|CH|INCR)$/.test(optionAt(args, from))) from += 1;
  return { from, width: 2 };
}

/**
 * A command with more arguments than a batch can call, as several; what needs none of it comes back as it is.
 *
 * @throws target-refused-command for one that cannot be given in parts
 */
export function splitArguments(name: string, args: Arguments): readonly Command[] {
  if (args.length <= BATCH_COMMAND_ARGUMENTS_MAX) return [args];
  const found = REPEATS.get(name);
  const repeat = typeof found === 'function' ? found(args) : found;
  if (repeat === undefined) throw refuseOnCluster(name, `it has ${args.length} arguments`);
  const { from, width } = repeat;
  const size = Math.floor((BATCH_COMMAND_ARGUMENTS_MAX - from) / width) * width;
  const head = args.slice(0, from);
  const commands: Command[] = [];
  for (let at = from; at < args.length; at += size) commands.push([...head, ...args.slice(at, at + size)]);
  return commands;
}
