import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';

/** A sync that is live; `verify` compares everything, after which the sync keeps account of the keys that change. */
export type Live = {
  readonly source: Redis;
  readonly targetPid: number;
  readonly verify: () => Promise<void>;
};

/** Data that could make an agent grow. */
export type MemoryCase = {
  readonly name: string;
  /** Settings of the source. */
  readonly config?: Readonly<Record<string, string>>;
  /** What the source holds when the sync starts. */
  readonly fill: (source: Redis) => Promise<void>;
  /** What happens when the sync is live. */
  readonly stream?: (live: Live) => Promise<void>;
};

const MIB = 1024 * 1024;
const UNCOMPRESSED = { rdbcompression: 'no' };
/** By default a source drops a replica that is owed more than 256 MB. */
const UNLIMITED = { 'client-output-buffer-limit': 'replica 0 0 0', 'repl-backlog-size': '64mb' };
const ELEMENTS_PER_SCRIPT = 50_000;

/** As large as values get; `share` makes all of them smaller. */
export function memoryCases(share: number): readonly MemoryCase[] {
  const part = (whole: number) => Math.round(whole * share);
  return [
    {
      name: 'a string of 512 MiB',
      config: UNCOMPRESSED,
      fill: (source) => fillString(source, part(512 * MIB)),
    },
    { name: 'a compressed string of 512 MiB', fill: (source) => fillString(source, part(512 * MIB)) },
    {
      name: 'a hash of 5,000,000 fields',
      fill: (source) =>
        fillByScript(source, part(5_000_000), "redis.call('HSET', 'hash', 'field:' .. i, 'value ' .. i)"),
    },
    {
      name: 'a sorted set of 2,000,000 members',
      fill: (source) =>
        fillByScript(source, part(2_000_000), "redis.call('ZADD', 'zset', i / 7, 'member ' .. i)"),
    },
    {
      name: 'a stream of 1,000,000 entries',
      fill: (source) =>
        fillByScript(
          source,
          part(1_000_000),
          "redis.call('XADD', 'stream', i .. '-1', 'field', 'value ' .. i)",
        ),
    },
    {
      name: 'a list of 4 elements of 100 MiB',
      config: UNCOMPRESSED,
      fill: (source) => fillList(source, part(100 * MIB)),
    },
    { name: '500 values of 1 MiB', config: UNCOMPRESSED, fill: (source) => fillValues(source, part(500)) },
    {
      name: 'a command of 300 MiB',
      config: UNLIMITED,
      fill: async () => {},
      stream: async ({ source }) => {
        await source.set('streamed', Buffer.alloc(part(300 * MIB), 'live'));
      },
    },
    {
      name: 'a target that stands still for 20 s under load',
      config: UNLIMITED,
      fill: async () => {},
      stream: ({ source, targetPid }) => writeWhileFrozen(source, { targetPid, frozenMs: part(20_000) }),
    },
    {
      name: '3,000,000 keys that are written after a verification, while the target stands still',
      config: UNLIMITED,
      fill: async (source) => {
        await source.set('first', 'value');
      },
      stream: async ({ source, targetPid, verify }) => {
        await verify();
        process.kill(targetPid, 'SIGSTOP');
        try {
          await fillByScript(
            source,
            part(3_000_000),
            "redis.call('SET', 'key:' .. i % 2000003 .. ':touched', i)",
          );
        } finally {
          process.kill(targetPid, 'SIGCONT');
        }
      },
    },
  ];
}

async function fillString(source: Redis, bytes: number): Promise<void> {
  await source.setrange('a string with a name of some length', bytes - 1, 'x');
}

async function fillByScript(source: Redis, count: number, statement: string): Promise<void> {
  const script = `for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do ${statement} end`;
  for (let from = 1; from <= count; from += ELEMENTS_PER_SCRIPT) {
    await source.eval(script, 0, from, Math.min(count, from + ELEMENTS_PER_SCRIPT - 1));
  }
}

async function fillList(source: Redis, bytes: number): Promise<void> {
  for (let element = 0; element < 4; element++)
    await source.rpush('list', Buffer.alloc(bytes, `element ${element} `));
}

async function fillValues(source: Redis, count: number): Promise<void> {
  const value = randomBytes(MIB);
  for (let index = 0; index < count; index++) {
    value.writeUInt32LE(index, 0);
    await source.set(`value:${index}`, value);
  }
}

async function writeWhileFrozen(
  source: Redis,
  { targetPid, frozenMs }: { targetPid: number; frozenMs: number },
): Promise<void> {
  const value = randomBytes(20_000);
  process.kill(targetPid, 'SIGSTOP');
  try {
    const thawAtMs = Date.now() + frozenMs;
    for (let round = 0; Date.now() < thawAtMs; round++) {
      const pipeline = source.pipeline();
      for (let index = 0; index < 50; index++) pipeline.set(`key:${(round * 50 + index) % 2_000}`, value);
      await pipeline.exec();
      // A steady 50 MB/s at most: the disk of the host is not what is tested.
      await sleep(20);
    }
  } finally {
    process.kill(targetPid, 'SIGCONT');
  }
}
