import type { Redis } from 'ioredis';

/** Keys and fields live for 1 ms up to this. */
const LIFE_MS_MAX = 3000;
const KEYS = 300;
const BIG_RING = 20_000;
const WIDE_FIELDS = 3000;

/**
 * Writes what comes and goes, until it is disposed of: keys and fields that live for a moment, lists that move on,
 * names that change, groups whose entries are read, claimed, read again and deleted while they are pending.
 */
export function startBriefWriter(
  client: Redis,
  { canExpireFields }: { readonly canExpireFields: boolean },
): AsyncDisposable {
  let isStopped = false;
  const write = async () => {
    await client.call('XGROUP', 'CREATE', 'brief:stream', 'g', '0', 'MKSTREAM');
    await client.rpush('brief:ring', ...Array.from({ length: 200 }, (_, index) => `r${index}`));
    for (let from = 0; from < BIG_RING; from += 1000) {
      await client.rpush('brief:big-ring', ...Array.from({ length: 1000 }, (_, index) => `r${from + index}`));
    }
    await client.setrange('brief:long', 500_000, 'end');
    await client.hset('brief:wide', 'still', 'here');
    for (let round = 1; !isStopped; round++) {
      const pipeline = client.pipeline();
      const call = (command: string, ...args: (string | number)[]) => pipeline.call(command, ...args);
      writeBriefly(call, round);
      moveOn(call, round);
      readGroup(call, round);
      if (canExpireFields) expireFields(call, round);
      const failed = ((await pipeline.exec()) ?? []).find(
        ([error]) => error !== null && !/no such key/.test(error.message),
      );
      if (failed?.[0]) throw failed[0];
    }
  };
  const writing = write();
  // Looked at when it is disposed of; a failure before that is not unhandled.
  writing.catch(() => {});
  return {
    [Symbol.asyncDispose]: async () => {
      isStopped = true;
      await writing;
    },
  };
}

type Call = (command: string, ...args: (string | number)[]) => unknown;

function writeBriefly(call: Call, round: number): void {
  const key = `brief:${(round * 7919) % KEYS}`;
  const lifeMs = 1 + ((round * 104_729) % LIFE_MS_MAX);
  call('SET', `${key}:s`, round, 'PX', lifeMs);
  call('DEL', `${key}:h`);
  call('HSET', `${key}:h`, 'a', round, 'b', 'v');
  call('PEXPIRE', `${key}:h`, lifeMs);
  call('RPUSH', `${key}:l`, round);
  call('PEXPIRE', `${key}:l`, lifeMs);
  call('SADD', `${key}:set`, round % 5, 'm');
  call('PEXPIRE', `${key}:set`, lifeMs);
  call('ZADD', `${key}:z`, round / 7, `m${round % 5}`);
  call('PEXPIRE', `${key}:z`, lifeMs);
  call('XADD', `${key}:x`, '*', 'f', round);
  call('PEXPIRE', `${key}:x`, lifeMs);
  if (round % 3 === 0) call('PERSIST', `${key}:s`);
  if (round % 3 === 1) call('PEXPIRE', `${key}:s`, LIFE_MS_MAX);
}

function moveOn(call: Call, round: number): void {
  call('RPOPLPUSH', 'brief:ring', 'brief:ring');
  call('RPOPLPUSH', 'brief:big-ring', 'brief:big-ring');
  const fields = Array.from({ length: 100 }, (_, index) => [
    `f${(round * 100 + index) % WIDE_FIELDS}`,
    round,
  ]);
  call('HSET', 'brief:wide', ...fields.flat());
  call('LPUSH', 'brief:log', `line ${round}`);
  call('LTRIM', 'brief:log', 0, 4000);
  call('SET', `brief:old${round % 20}`, round);
  call('RENAME', `brief:old${round % 20}`, `brief:new${round % 7}`);
  call('SETRANGE', 'brief:long', (round * 6151) % 400_000, `r${round}`);
  call('ZADD', 'brief:zeros', '-0', `m${round % 9}`, 0, `m${(round + 4) % 9}`);
}

function readGroup(call: Call, round: number): void {
  const id = `${round}-1`;
  const consumer = `c${round % 3}`;
  const back = Math.max(1, round - 40);
  call('XADD', 'brief:stream', id, 'f', round);
  call('XREADGROUP', 'GROUP', 'g', consumer, 'COUNT', 1, 'STREAMS', 'brief:stream', '>');
  call('XREADGROUP', 'GROUP', 'g', consumer, 'COUNT', 2, 'STREAMS', 'brief:stream', '0');
  if (round % 2 === 0) call('XCLAIM', 'brief:stream', 'g', `c${(round + 1) % 3}`, 0, `${back}-1`);
  if (round % 5 === 0) call('XDEL', 'brief:stream', `${back}-1`);
  call('XACK', 'brief:stream', 'g', `${Math.max(1, round - 100)}-1`);
  call('XTRIM', 'brief:stream', 'MAXLEN', 500);
}

function expireFields(call: Call, round: number): void {
  const key = `brief:fields${(round * 31) % 40}`;
  const field = `f${round % 9}`;
  call('HSET', key, 'stays', round, field, round);
  call('HPEXPIRE', key, 1 + ((round * 104_729) % LIFE_MS_MAX), 'FIELDS', 1, field);
  if (round % 4 === 0) call('HPERSIST', key, 'FIELDS', 1, field);
}
