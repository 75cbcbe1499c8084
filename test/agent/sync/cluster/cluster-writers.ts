import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { RunningServer } from '../../../servers/start.ts';
import type { WriterOptions } from '../live-writers.ts';
import { type Rounds, startRounds } from '../rounds.ts';

/** What the server has acknowledged of what must not be applied twice. */
export type Acknowledged = {
  readonly increments: number;
  readonly pushes: number;
  readonly entries: number;
  readonly moves: number;
};

/** Clients that write to database 0 of a server until they are stopped. */
export type ClusterWriters = Pick<Rounds, 'rounds'> & {
  stop(): Promise<Acknowledged>;
};

const COUNTERS = 16;
/** Commands that join slots cost the sync several round trips each: at full speed they would only test its patience. */
const ACROSS_EVERY = 5;
const PACE_MS = 15;

/**
 * Writes with commands of which the keys lie in different slots, alone and within transactions, and with INCR, LPUSH
 * and XADD on keys in many slots, which must not be applied twice.
 */
export function startClusterWriters(server: RunningServer, { version }: WriterOptions): ClusterWriters {
  const clients = [server.client(), server.client()];
  const counts = { increments: 0, pushes: 0, entries: 0, moves: 0 };
  const writing = startRounds(
    clients.map((client, number) => async (round) => {
      const at = round % COUNTERS;
      const other = (round + 5) % COUNTERS;
      await client.incr(`counter:${at}`);
      await client
        .multi()
        .incr(`counter:${at}`)
        .lpush(`list:${other}`, round)
        .incr(`counter:${other}`)
        .exec();
      await client.xadd(`stream:${at}`, '*', 'round', round);
      await client.call('LPUSH', `queue:${at}`, `${number}:${round}`);
      await client.call('RPOPLPUSH', `queue:${at}`, `queue:${other}:done`);
      counts.increments += 3;
      counts.pushes += 1;
      counts.entries += 1;
      counts.moves += 1;
      if (round % ACROSS_EVERY === 0) await writeAcross({ client, number, round, version });
      await delay(PACE_MS);
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

/** The same of a target, of which the `call` of each key goes to whom the key belongs. */
export async function countAcknowledged(
  call: (command: string, key: string) => Promise<unknown>,
): Promise<Acknowledged> {
  const sum = async (command: string, name: (at: number) => string) => {
    let total = 0;
    for (let at = 0; at < COUNTERS; at++) total += Number((await call(command, name(at))) ?? 0);
    return total;
  };
  return {
    increments: await sum('GET', (at) => `counter:${at}`),
    pushes: await sum('LLEN', (at) => `list:${at}`),
    entries: await sum('XLEN', (at) => `stream:${at}`),
    moves: await sum('LLEN', (at) => `queue:${at}:done`),
  };
}

type Round = { client: Redis; number: number; round: number; version: string };

async function writeAcross({ client, number, round, version }: Round): Promise<void> {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isAtLeast = (wantedMajor: number, wantedMinor: number) =>
    major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
  const key = (name: string) => `across:${number}:${Math.floor(round / ACROSS_EVERY) % 10}:${name}`;
  const pipeline = client.pipeline();
  const call = (command: string, ...args: (string | number)[]) => pipeline.call(command, ...args);
  call('MSET', key('a'), round, key('b'), 'x'.repeat(round % 50 === 0 ? 200_000 : 20), key('c'), 3);
  call('MSETNX', key(`n${round}`), 1, key(`m${round}`), 2);
  call('DEL', key(`n${round - 60}`), key(`m${round - 60}`), key('none'));
  call('UNLINK', key('c'), key('b2'));
  call('SET', key('renamed'), round, 'PX', 5_000_000);
  call('RENAME', key('renamed'), key('r1'));
  call('RENAMENX', key('r1'), key(`r2:${round % 3}`));
  call('SADD', key('s1'), round % 7, round % 11, 'm');
  call('SADD', key('s2'), round % 5, 'm');
  call('SMOVE', key('s1'), key('s2'), round % 7);
  call('SUNIONSTORE', key('s3'), key('s1'), key('s2'), key('missing'));
  call('SINTERSTORE', key('s4'), key('s1'), key('s2'));
  call('SDIFFSTORE', key('s1'), key('s1'), key('s4'));
  call('ZADD', key('z1'), round % 17, `m${round % 5}`, 1.1, 'n');
  call('ZADD', key('z2'), 2, `m${round % 3}`);
  call('ZUNIONSTORE', key('z3'), 3, key('z1'), key('z2'), key('z3'), 'WEIGHTS', 1, 2, 0.5);
  call('ZINTERSTORE', key('z4'), 2, key('z1'), key('s2'));
  call('RPUSH', key('l1'), round, 'b', 'c');
  call('RPOPLPUSH', key('l1'), key('l2'));
  call('LTRIM', key('l1'), -9, -1);
  call('LTRIM', key('l2'), 0, 9);
  call('SORT', key('l1'), 'ALPHA', 'STORE', key('sorted'));
  call('PFADD', key('h1'), round);
  call('PFADD', key('h2'), round + 1);
  call('PFMERGE', key('h3'), key('h1'), key('h2'));
  call('PFCOUNT', key('h1'), key('h2'));
  call('SETBIT', key('bits'), round % 90, 1);
  call('BITOP', 'OR', key('bits2'), key('bits'), key('a'));
  call('BITOP', 'NOT', key('bits3'), key('bits'));
  call('GEOADD', key('geo'), 13.36, 38.11, `p${round % 9}`, 15, 37, 'q');
  call('GEORADIUS', key('geo'), 14, 38, 500, 'km', 'STORE', key('geo2'));
  call('GEORADIUSBYMEMBER', key('geo'), 'q', 500, 'km', 'STOREDIST', key('geo3'));
  call('XGROUP', 'CREATE', key('x'), `g${round}`, '$', 'MKSTREAM');
  call('MULTI');
  call('RENAME', key('a'), key('a2'));
  call('SUNIONSTORE', key('s5'), key('s3'), key('s2'));
  call('RPOPLPUSH', key('l2'), key('l3'));
  call('LTRIM', key('l3'), 0, 9);
  call('EXEC');
  if (isAtLeast(6, 2)) {
    call('COPY', key('h1'), key('copy'), 'REPLACE');
    call('LMOVE', key('l2'), key('l4'), 'LEFT', 'RIGHT');
    call('LTRIM', key('l4'), 0, 9);
    call('ZRANGESTORE', key('z5'), key('z1'), 0, 2);
    call('ZDIFFSTORE', key('z6'), 2, key('z1'), key('z2'));
    call('GEOSEARCHSTORE', key('geo4'), key('geo'), 'FROMMEMBER', 'q', 'BYRADIUS', 300, 'km', 'ASC');
  }
  const replies = (await pipeline.exec()) ?? [];
  const failed = replies.find(([error]) => error !== null && !/no such key|BUSYGROUP/.test(error.message));
  if (failed?.[0]) throw failed[0];
}
