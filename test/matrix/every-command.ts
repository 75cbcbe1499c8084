import type { Redis } from 'ioredis';
import type { RunningServer } from '../servers/start.ts';
import {
  CALLED_WITH_PAYLOAD,
  type Call,
  EXPIRES_FIELDS,
  NOT_CALLED,
  OTHER_CALLS,
  type Round,
  WRITE_COMMANDS,
} from './write-commands.ts';

/** Clients that write by every command of a server until they are stopped. */
export type EveryCommandWriters = {
  /** Resolves when every writer has done so many further rounds. */
  rounds(count: number): Promise<void>;
  stop(): Promise<WrittenCommands>;
};

/** Which commands have written, and which that could have did not. */
export type WrittenCommands = { readonly called: ReadonlySet<string>; readonly missed: readonly string[] };

const WRITERS = 3;
/** So many sets of keys each writer goes through: some rounds change what is there, some make it. */
const KEY_SETS = 5;
/** What a call may be answered on its way; anything else is a mistake in the table. */
const EXPECTED_REFUSALS = /^(BUSYGROUP|ERR no such key|ERR The ID specified in XADD|OOM)/;
/** Some options in the table are younger than their commands: before 7.0 they are answered like this. */
const UNKNOWN_OPTION = /^ERR (syntax error|Unknown subcommand|wrong number of arguments)/;

/** Starts them; `canExpireFields`: whether the target knows hash fields that expire. */
export async function startEveryCommand(
  server: RunningServer,
  { canExpireFields }: { canExpireFields: boolean },
): Promise<EveryCommandWriters> {
  const known = await listWriteCommands(server.client());
  const names = known.filter(
    (name) => !NOT_CALLED.has(name) && (canExpireFields || !EXPIRES_FIELDS.has(name)),
  );
  const called = new Set<string>();
  const doneRounds: number[] = [];
  const waiting = new Set<() => void>();
  let isStopping = false;
  const write = async (writer: number) => {
    const client = server.client();
    for (let round = 1; !isStopping; round++) {
      for (const name of names) {
        await callOne({ client, name, round: makeRound(name, writer, round), called });
        if (isStopping && round > 1) break;
      }
      await run(client, OTHER_CALLS(makeRound('OTHER', writer, round)));
      await serveBlocked(server, client, makeRound('BLOCKED', writer, round));
      doneRounds[writer] = round;
      for (const check of waiting) check();
    }
    client.disconnect();
  };
  const writing = Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
  // Looked at by `stop`; a failure before that is not unhandled.
  writing.catch(() => {});
  const least = () => Math.min(...Array.from({ length: WRITERS }, (_, writer) => doneRounds[writer] ?? 0));
  return {
    rounds: (count) =>
      new Promise((resolve, reject) => {
        const goal = least() + count;
        writing.catch(reject);
        const check = () => {
          if (least() < goal) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
      }),
    stop: async () => {
      isStopping = true;
      await writing;
      return { called, missed: names.filter((name) => !called.has(name)) };
    },
  };
}

/** Every command and subcommand with the flag `write`, in capitals. */
async function listWriteCommands(client: Redis): Promise<string[]> {
  type Info = [name: string, arity: number, flags: string[], ...rest: unknown[]];
  const names: string[] = [];
  const visit = (info: Info) => {
    const [name, , flags] = info;
    const subcommands = (info[9] ?? []) as Info[];
    if (flags.includes('write') && subcommands.length === 0) names.push(name.replace('|', ' ').toUpperCase());
    subcommands.forEach(visit);
  };
  ((await client.call('COMMAND')) as Info[]).forEach(visit);
  return names;
}

function makeRound(name: string, writer: number, round: number): Round {
  return {
    round,
    nowMs: Date.now(),
    key: (suffix) => `every:${name}:${writer}:${round % KEY_SETS}:${suffix}`,
  };
}

type One = { client: Redis; name: string; round: Round; called: Set<string> };

async function callOne({ client, name, round, called }: One): Promise<void> {
  const calls = CALLED_WITH_PAYLOAD.has(name)
    ? await callsWithPayload(client, name, round)
    : WRITE_COMMANDS.get(name)?.(round);
  if (calls === undefined) throw new Error(`${name} writes, and the table neither calls it nor says why not`);
  for (const done of await run(client, calls)) {
    if (name === done || name.startsWith(`${done} `)) called.add(name);
  }
}

/** Runs the calls in one pipeline; returns the names of those that succeeded. */
async function run(client: Redis, calls: readonly Call[]): Promise<string[]> {
  const pipeline = client.pipeline();
  for (const [name, ...args] of calls) pipeline.call(name, ...args);
  const replies = (await pipeline.exec()) ?? [];
  return calls.flatMap(([name, ...args], index) => {
    const error = replies[index]?.[0];
    if (error == null) return [name];
    if (EXPECTED_REFUSALS.test(error.message) || UNKNOWN_OPTION.test(error.message)) return [];
    throw new Error(`${name} ${args.map(String).join(' ').slice(0, 200)}: ${error.message}`);
  });
}

async function callsWithPayload(client: Redis, name: string, { key, round, nowMs }: Round): Promise<Call[]> {
  if (name === 'FUNCTION RESTORE') {
    const dump = (await client.callBuffer('FUNCTION', 'DUMP')) as Buffer;
    return [['FUNCTION', 'RESTORE', dump, 'REPLACE']];
  }
  await client.rpush(key('l'), `element ${round}`);
  await client.ltrim(key('l'), 0, 20);
  const payload = await client.dumpBuffer(key('l'));
  return [
    [name, key('restored'), 0, payload, 'REPLACE'],
    [name, key('expiring'), 6_000_000, payload, 'REPLACE'],
    [name, key('absolute'), nowMs + 6_000_000, payload, 'REPLACE', 'ABSTTL'],
  ];
}

/** A client that waits for an element is served by another one: replicated as what it does in the end. */
async function serveBlocked(server: RunningServer, client: Redis, { key, round }: Round): Promise<void> {
  const blocked = server.client();
  const served = blocked.call('BLPOP', key('l'), 5);
  await client.rpush(key('l'), round, 'kept');
  await served;
  await client.ltrim(key('l'), 0, 10);
  const moved = blocked.call('BRPOPLPUSH', key('from'), key('to'), 5);
  await client.multi().rpush(key('from'), round).incr(key('n')).exec();
  await moved;
  await client.ltrim(key('to'), 0, 10);
  blocked.disconnect();
}
