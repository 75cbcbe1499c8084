import type { Redis } from 'ioredis';
import type { RunningServer } from '../../servers/start.ts';
import { type Rounds, startRounds } from './rounds.ts';

/** Clients that write to a server until they are stopped. */
export type LiveWriters = Pick<Rounds, 'rounds'> & {
  /** Stops them and resolves with how many writes of `counter` and `list` the server has acknowledged. */
  stop(): Promise<{ increments: number; pushes: number; transactions: number }>;
};

/** Which of the newer commands the writers may use: by the version of the source, such as `7.4.1`. */
export type WriterOptions = { readonly version: string };

/**
 * Writes with every kind of command that replication sends in a form of its own, in several databases, and with some
 * that must not be applied twice: INCR of `counter`, LPUSH on `list`, both in one transaction.
 */
export function startLiveWriters(server: RunningServer, { version }: WriterOptions): LiveWriters {
  const clients = [server.client(0), server.client(0), server.client(4)];
  const counts = { increments: 0, pushes: 0, transactions: 0 };
  const writing = startRounds(
    clients.map((client, number) => async (round) => {
      await client.incr('counter');
      counts.increments += 1;
      await client.lpush('list', `${number}:${round}`);
      counts.pushes += 1;
      await client.multi().incr('counter').lpush('list', `m${number}:${round}`).incr('transactions').exec();
      counts.increments += 1;
      counts.pushes += 1;
      counts.transactions += 1;
      await writeVariously({ client, number, round, version });
    }),
  );
  return {
    rounds: writing.rounds,
    stop: async () => {
      await writing.stop();
      for (const client of clients) client.disconnect();
      return counts;
    },
  };
}

type Round = { client: Redis; number: number; round: number; version: string };

async function writeVariously({ client, number, round, version }: Round): Promise<void> {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const atLeast = (wantedMajor: number, wantedMinor: number) =>
    major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
  const key = `live:${number}:${round % 50}`;
  const large = 'x'.repeat(round % 97 === 0 ? 300_000 : 30);
  const pipeline = client.pipeline();
  const call = (command: string, ...args: (string | number)[]) => pipeline.call(command, ...args);
  call('SET', `${key}:s`, large);
  call('SETEX', `${key}:ex`, 5000, round);
  call('PSETEX', `${key}:px`, 5_000_000, round);
  call('SET', `${key}:ex2`, round, 'EX', 7000);
  call('EXPIRE', `${key}:s`, 9000);
  call('PERSIST', `${key}:ex2`);
  call('APPEND', `${key}:a`, 'abc');
  call('SETRANGE', `${key}:a`, 2, 'zz');
  call('SETBIT', `${key}:bits`, round % 100, 1);
  call('INCRBYFLOAT', `${key}:float`, 0.25);
  call('HSET', `${key}:h`, `f${round % 7}`, round, 'g', 1);
  call('HINCRBY', `${key}:h`, 'n', 2);
  call('HINCRBYFLOAT', `${key}:h`, 'x', 0.5);
  call('HDEL', `${key}:h`, `f${(round + 3) % 7}`);
  call('SADD', `${key}:set`, round % 11, round % 13, 'm');
  call('SPOP', `${key}:set`);
  call('SADD', `${key}:set2`, round % 11, 'q');
  call('SMOVE', `${key}:set2`, `${key}:set3`, 'q');
  call('SUNIONSTORE', `${key}:set4`, `${key}:set`, `${key}:set2`);
  call('ZADD', `${key}:z`, round % 17, `m${round % 5}`);
  call('ZINCRBY', `${key}:z`, 1.1, 'n');
  call('ZPOPMIN', `${key}:z`);
  call('GEOADD', `${key}:geo`, 13.36, 38.11, `p${round % 9}`);
  call('PFADD', `${key}:hll`, round, round + 1);
  call('RPUSH', `${key}:l`, round, 'b', 'c');
  call('LTRIM', `${key}:l`, 0, 9);
  call('RPOPLPUSH', `${key}:l`, `${key}:l2`);
  call('LTRIM', `${key}:l2`, 0, 20);
  call('LINSERT', `${key}:l`, 'BEFORE', 'b', 'x');
  call('LREM', `${key}:l`, 1, 'c');
  call('XADD', `${key}:x`, 'MAXLEN', '~', 50, '*', 'f', round);
  call('RENAME', `${key}:ex`, `${key}:renamed`);
  call(
    'EVAL',
    "redis.call('SET', KEYS[1], ARGV[1]); redis.call('INCR', KEYS[2])",
    2,
    `${key}:lua`,
    `${key}:luan`,
    round,
  );
  if (round % 10 === 0) call('DEL', `${key}:h`, `${key}:l`);
  if (round % 15 === 0) call('MOVE', `${key}:lua`, 9);
  if (atLeast(6, 2)) call('COPY', `${key}:s`, `${key}:copy`, 'REPLACE');
  if (atLeast(6, 2)) call('GETEX', `${key}:copy`, 'EX', 6000);
  if (atLeast(6, 2)) call('LMOVE', `${key}:l2`, `${key}:l3`, 'LEFT', 'RIGHT');
  if (atLeast(7, 0)) call('LMPOP', 1, `${key}:l3`, 'LEFT', 'COUNT', 2);
  storeJoined({ call, key, round });
  if (atLeast(6, 2)) storeJoinedSince62({ call, key, round });
  const replies = (await pipeline.exec()) ?? [];
  const failed = replies.find(([error]) => error !== null && !/no such key/.test(error.message));
  if (failed?.[0]) throw failed[0];
  await readGroup(client, `${key}:x`, number);
}

type Call = (command: string, ...args: (string | number)[]) => unknown;
type Calling = { call: Call; key: string; round: number };

/** What is left of the write commands, and results of several keys. */
function storeJoined({ call, key, round }: Calling): void {
  call('MSET', `${key}:m1`, round, `${key}:m2`, 'b');
  call('MSETNX', `${key}:m3`, round, `${key}:m4`, 'b');
  call('SETNX', `${key}:nx`, round);
  call('GETSET', `${key}:m1`, round + 1);
  call('INCR', `${key}:n`);
  call('DECRBY', `${key}:n`, 3);
  call('BITFIELD', `${key}:bits`, 'INCRBY', 'u8', 16, 3, 'SET', 'i5', 40, round % 15);
  call('BITOP', 'XOR', `${key}:bits2`, `${key}:bits`, `${key}:m1`);
  call('PFCOUNT', `${key}:hll`);
  call('PFMERGE', `${key}:hll2`, `${key}:hll`, `${key}:hll2`);
  call('HSETNX', `${key}:h`, 'once', round);
  call('HMSET', `${key}:h`, 'm', round);
  call('SREM', `${key}:set3`, round % 5);
  call('SINTERSTORE', `${key}:set5`, `${key}:set`, `${key}:set4`);
  call('SDIFFSTORE', `${key}:set6`, `${key}:set4`, `${key}:set2`);
  call('ZUNIONSTORE', `${key}:z2`, 2, `${key}:z`, `${key}:set`, 'WEIGHTS', 2, 1, 'AGGREGATE', 'MAX');
  call('ZINTERSTORE', `${key}:z3`, 2, `${key}:z`, `${key}:z2`);
  call('ZREMRANGEBYRANK', `${key}:z2`, 0, 1);
  call('ZREMRANGEBYSCORE', `${key}:z2`, '-inf', '(1');
  call('ZPOPMAX', `${key}:z2`);
  call('ZREM', `${key}:z3`, 'n');
  call('SORT', `${key}:set`, 'ALPHA', 'STORE', `${key}:sorted`);
  call('LPUSHX', `${key}:l2`, 'head');
  call('RPUSHX', `${key}:l2`, 'tail');
  call('LSET', `${key}:l2`, 0, round);
  // There must be something to take: a pipeline that blocks holds up the writer.
  call('RPUSH', `${key}:l2`, 'x', round, 'y');
  call('BLPOP', `${key}:l2`, 1);
  call('BRPOPLPUSH', `${key}:l2`, `${key}:l4`, 1);
  call('LTRIM', `${key}:l4`, -5, -1);
  call('GEORADIUS', `${key}:geo`, 13, 38, 200, 'km', 'STORE', `${key}:near`);
  call('XTRIM', `${key}:x`, 'MAXLEN', 60);
  call('PEXPIREAT', `${key}:m2`, 4_000_000_000_000 + round);
  call('EXPIREAT', `${key}:m1`, 1);
  call('UNLINK', `${key}:m4`, `${key}:none`);
}

function storeJoinedSince62({ call, key, round }: Calling): void {
  call('GETDEL', `${key}:nx`);
  call('SET', `${key}:n2`, round, 'KEEPTTL');
  call('ZDIFFSTORE', `${key}:z4`, 2, `${key}:z`, `${key}:z3`);
  call('ZRANGESTORE', `${key}:z5`, `${key}:z`, 0, 2);
  call('GEOSEARCHSTORE', `${key}:near2`, `${key}:geo`, 'FROMLONLAT', 13, 38, 'BYRADIUS', 300, 'km');
  call('BLMOVE', `${key}:l4`, `${key}:l3`, 'LEFT', 'LEFT', 1);
  call('XADD', `${key}:x`, 'NOMKSTREAM', 'MAXLEN', '~', 40, 'LIMIT', 20, '*', 'g', round);
  call('XTRIM', `${key}:x`, 'MINID', '~', `${Date.now() - 50}-0`, 'LIMIT', 30);
}

async function readGroup(client: Redis, key: string, number: number): Promise<void> {
  await client.call('XGROUP', 'CREATE', key, 'g', '0').catch((error: Error) => {
    if (!error.message.includes('BUSYGROUP')) throw error;
  });
  const reading = ['GROUP', 'g', `c${number % 2}`, 'COUNT', '3', 'STREAMS', key, '>'];
  const reply = (await client.call('XREADGROUP', ...reading)) as unknown;
  const [id] = JSON.stringify(reply).match(/\d+-\d+/) ?? [];
  if (id !== undefined) await client.call('XACK', key, 'g', id);
}
