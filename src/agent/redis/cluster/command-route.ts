import type { Command } from '../raw-connection.ts';
import { ErrorReply, type Reply } from '../reply-parser.ts';

/** To which primaries of a cluster a command goes, and what its replies come to. */
export type CommandRoute =
  /** To the owner of one key. */
  | { readonly to: 'owner'; readonly key: Buffer }
  /** To the owner of each key by itself; the integers are added up. */
  | { readonly to: 'owners'; readonly name: string; readonly keys: readonly Buffer[] }
  /** To every primary. */
  | { readonly to: 'every'; merge(replies: readonly Reply[]): Reply }
  /** To one primary after the other. */
  | { readonly to: 'scan'; readonly primary: number; readonly command: Command }
  /** To any: what it asks is not about keys. */
  | { readonly to: 'any' };

/** Commands without a key in the first place; all others have theirs there. */
const SPECIAL_ROUTES: Readonly<Record<string, (command: Command) => CommandRoute>> = {
  CLUSTER: () => ({ to: 'any' }),
  FUNCTION: () => ({ to: 'any' }),
  INFO: () => ({ to: 'any' }),
  PING: () => ({ to: 'any' }),
  CLIENT: () => ({ to: 'every', merge: worstOf }),
  SELECT: () => ({ to: 'every', merge: worstOf }),
  EXISTS: ([name, ...keys]) => ({ to: 'owners', name: String(name), keys: keys.map(toKey) }),
  MEMORY: ([, , key]) => ({ to: 'owner', key: toKey(key) }),
  OBJECT: ([, , key]) => ({ to: 'owner', key: toKey(key) }),
  XINFO: ([, , key]) => ({ to: 'owner', key: toKey(key) }),
  SCAN: routeScan,
};

/**
 * Routes a command of those that read a whole data set, and that set expiry times.
 *
 * `isFirstTime`: whether no TIME came before it in its batch, whose clock then counts.
 */
export function routeOf(command: Command, isFirstTime: boolean): CommandRoute {
  const [name, key] = command;
  if (name === 'TIME') return { to: 'every', merge: isFirstTime ? earliestOf : latestOf };
  const special = SPECIAL_ROUTES[String(name)];
  if (special !== undefined) return special(command);
  if (key === undefined) throw new Error(`${name} has no key to be routed by`);
  return { to: 'owner', key: toKey(key) };
}

/*
 * A scan of a cluster has a cursor of its own: `<cursor>` of the first primary, `<cursor>@<index>` of the others.
 */
function routeScan(command: Command): CommandRoute {
  const [name = 'SCAN', cursor = '0', ...rest] = command;
  const [, own = '0', primary = '0'] = /^(\d+)(?:@(\d+))?$/.exec(String(cursor)) ?? [];
  return { to: 'scan', primary: Number(primary), command: [name, own, ...rest] };
}

/** The reply to a SCAN of one of so many primaries, with the cursor that leads on to the next of them. */
export function continueScan(reply: Reply, primary: number, primaries: number): Reply {
  const [cursor, keys] = Array.isArray(reply) ? reply : [];
  if (!Buffer.isBuffer(cursor) || keys === undefined) return reply;
  const own = cursor.toString('latin1');
  if (own !== '0') return [Buffer.from(primary === 0 ? own : `${own}@${primary}`), keys];
  return [Buffer.from(primary + 1 === primaries ? '0' : `0@${primary + 1}`), keys];
}

/** Whether a command is a SCAN whose reply, as {@link continueScan} has it, ends the whole of it. */
export function isScanEnd([name]: Command, reply: Reply | undefined): boolean {
  return (
    name === 'SCAN' &&
    Array.isArray(reply) &&
    Buffer.isBuffer(reply[0]) &&
    reply[0].toString('latin1') === '0'
  );
}

/** The sum of integers, or the first reply that is none. */
export function sumOf(replies: readonly Reply[]): Reply {
  let sum = 0;
  for (const reply of replies) {
    if (typeof reply !== 'number') return reply;
    sum += reply;
  }
  return sum;
}

function worstOf(replies: readonly Reply[]): Reply {
  return replies.find((reply) => reply instanceof ErrorReply) ?? replies[0] ?? null;
}

/**
 * The clocks of primaries differ. What is asked of any of them between two TIMEs of a batch was answered after the
 * earliest clock at the first and before the latest at the second, so those two bound it.
 */
function earliestOf(replies: readonly Reply[]): Reply {
  return sortedClocks(replies)[0] ?? null;
}

function latestOf(replies: readonly Reply[]): Reply {
  return sortedClocks(replies).at(-1) ?? null;
}

/** Replies of TIME, `[seconds, microseconds]`, the earliest first; a refusal stands for all. */
function sortedClocks(replies: readonly Reply[]): readonly Reply[] {
  const refusal = replies.find((reply) => !Array.isArray(reply));
  if (refusal !== undefined) return [refusal];
  return replies.toSorted((a, b) => microsecondsOf(a) - microsecondsOf(b));
}

function microsecondsOf(reply: Reply): number {
  return Array.isArray(reply) ? Number(reply[0]) * 1_000_000 + Number(reply[1]) : 0;
}

function toKey(argument: Command[number] | undefined): Buffer {
  return Buffer.isBuffer(argument) ? argument : Buffer.from(String(argument ?? ''));
}
