import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { settleTarget } from '../../../src/agent/cutover/settle.ts';
import { readClaim } from '../../../src/agent/redis/checkpoint.ts';
import { openPrimaries } from '../../../src/agent/redis/cluster/primaries.ts';
import { padExpiry } from '../../../src/agent/redis/expiry-pad.ts';
import { RdbReader, WHOLE_VALUE_BYTES_MAX } from '../../../src/agent/redis/rdb/reader.ts';
import { CopyEncoder } from '../../../src/agent/sync/copy-encoder.ts';
import { writeLargeValue } from '../../../src/agent/sync/large-value.ts';
import { TargetWriter } from '../../../src/agent/sync/target-writer.ts';
import { loadDataSet } from '../../servers/data-set.ts';
import {
  findServer,
  type RunningServer,
  sourceServer,
  startServer,
  targetServer,
} from '../../servers/start.ts';
import { accessOf, jobContext } from '../cutover/job-context.ts';
import { startSync } from './sync-run.ts';
import { compareDumps, readTypedDump } from './typed-dump.ts';

const newestValkey = () => findServer({ kind: 'valkey', version: 'newest' });
const redis70 = () => findServer({ kind: 'redis', version: '7.0' });
const PAIRS = [
  { name: 'the source of these tests to the newest Valkey', source: sourceServer, target: newestValkey },
  { name: 'Redis 7.0 to the target of these tests', source: redis70, target: targetServer },
  { name: 'the newest Valkey to itself', source: newestValkey, target: newestValkey },
];

describe.each(PAIRS)('values that stream through from $name', (pair) => {
  it.each([
    { pieceBytes: 61, largeMin: 300, restoreBytesMax: 0 },
    { pieceBytes: 61, largeMin: 300, restoreBytesMax: 200 },
    { pieceBytes: 4_096, largeMin: 10, restoreBytesMax: 2_000_000 },
  ])(
    'are equal when they come in $pieceBytes bytes and $restoreBytesMax are restored at once',
    async (way) => {
      const { pieceBytes, largeMin, restoreBytesMax } = way;
      await using source = await startSource(await pair.source());
      await using target = await startServer({ server: await pair.target() });
      await loadDataSet(source.client(), { keys: 600, seed: 9, hashFieldTtls: pair.source !== redis70 });
      await writeOddities(source.client());
      await expireEverySecond(source.client());
      await source.client().save();
      const rdb = await readFile(path.join(source.directory, 'dump.rdb'));
      expect(await carry(rdb, { pieceBytes, restoreBytesMax }, target)).toBeGreaterThan(largeMin);
      const [from, to] = [await readTypedDump(source.client()), await readTypedDump(target.client())];
      expect(compareDumps(from, to)).toEqual([]);
      const times = await readTimes(source.client());
      expect(times.size).toBeGreaterThan(200);
      expect(Object.fromEntries(await readTimes(target.client()))).toEqual(padded(times));
    },
  );
});

it('carries large values of every type from server to server, their expiries padded until they are settled', async () => {
  const config = { 'repl-diskless-sync-delay': '0', rdbcompression: 'no' };
  await using source = await startServer({ server: await sourceServer(), config });
  await using target = await startServer({ server: await newestValkey() });
  const client = source.client();
  await client.eval(FILL, 0, 'some length '.repeat(250));
  await client.set('raw', Buffer.alloc(LARGE_BYTES, 'incompressible?'.repeat(9)));
  await client.rpush('plain', Buffer.alloc(LARGE_BYTES, 7), 'x', Buffer.alloc(200_000, 'abc'));
  await client.hset('long-fields', {
    a: Buffer.alloc(LARGE_BYTES, 'abcdef'),
    b: '1',
    c: Buffer.alloc(70_000, 'q'),
  });
  for (const [index, key] of (await client.keys('*')).entries()) await client.pexpire(key, 4_000_000 + index);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await sync.caughtUp();
  expect(compareDumps(await readTypedDump(client), await readTypedDump(target.client()))).toEqual([]);
  const times = await readTimes(client);
  expect(times.size).toBe(9 + 2);
  expect(Object.fromEntries(await readTimes(target.client()))).toEqual(padded(times));
  await sync.stop();
  await settle(target);
  expect(Object.fromEntries(await readTimes(target.client()))).toEqual(Object.fromEntries(times));
});

/** More than is waited for to be whole. */
const LARGE_BYTES = WHOLE_VALUE_BYTES_MAX + 1_000_000;

/** Collections larger than that, with elements that the two sides could take for something else. */
const FILL = `
local filler = ARGV[1]
for i = 1, 6000 do
  redis.call('HSET', 'hash', 'field:' .. i, filler .. i * 7919)
  redis.call('RPUSH', 'list', filler .. i * 7919, i)
  redis.call('SADD', 'set', filler .. i * 7919)
  redis.call('ZADD', 'zset', (i - 3000) / 7, filler .. i * 7919)
  redis.call('XADD', 'stream', i .. '-1', 'field', filler .. i * 7919)
  redis.call('HSET', 'expiring', 'field:' .. i, filler)
end
redis.call('HPEXPIRE', 'expiring', 5000000, 'FIELDS', 2, 'field:3', 'field:5999')
redis.call('XGROUP', 'CREATE', 'stream', 'group', '0')
redis.call('XREADGROUP', 'GROUP', 'group', 'alice', 'COUNT', 500, 'STREAMS', 'stream', '>')
redis.call('XDEL', 'stream', '7-1', '9-1')
redis.call('XTRIM', 'stream', 'MAXLEN', 5990)
`;

/** One of them at a time that not even a number of 53 bits can hold. */
async function expireEverySecond(client: Redis): Promise<void> {
  const keys = (await client.keys('*')).sort();
  for (const key of keys.filter((_, index) => index % 2 === 0)) await client.pexpire(key, 4_000_000);
  await client.call('PEXPIREAT', 'compressed', '9223372036854775807');
}

/** When keys and fields of hashes expire, as the server says. */
async function readTimes(client: Redis): Promise<ReadonlyMap<string, number>> {
  const times = new Map<string, number>();
  const note = (name: string, atMs: unknown) => Number(atMs) > 0 && times.set(name, Number(atMs));
  const [fieldCommand] = (await client.call('COMMAND', 'INFO', 'hpexpiretime')) as unknown[];
  for (const key of await client.keys('*')) {
    note(key, await client.call('PEXPIRETIME', key));
    if (!Array.isArray(fieldCommand) || (await client.type(key)) !== 'hash') continue;
    const fields = await client.hkeys(key);
    const replies = await client.call('HPEXPIRETIME', key, 'FIELDS', fields.length, ...fields);
    fields.forEach((field, index) => {
      note(`${key} ${field}`, (replies as unknown[])[index]);
    });
  }
  return times;
}

function padded(times: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...times].map(([name, atMs]) => [name, padExpiry(atMs)]));
}

async function settle(target: RunningServer): Promise<void> {
  await using primaries = await openPrimaries(accessOf('target', target));
  const claim = await readClaim(primaries.home);
  if (claim === undefined) throw new Error('the target has no claim');
  await settleTarget(primaries, claim, jobContext({ directory: target.directory }));
}

/** What is easily lost in a text: scores at the edges, and a group that still owes an entry that is gone. */
async function writeOddities(client: Redis): Promise<void> {
  const scores = [
    'inf',
    '-inf',
    '-0',
    '5e-324',
    '1.7976931348623157e308',
    '0.1',
    '3',
    '123456789012345680000',
  ];
  const filler = Array.from({ length: 300 }, (_, index) => [String(index / 3), `m${index}`]).flat();
  await client.zadd('scores', ...filler, ...scores.flatMap((score) => [score, `score ${score}`]));
  await client.call('XADD', 'owing', '1-1', 'a', '1');
  await client.call('XADD', 'owing', '2-1', 'a', '1');
  await client.call('XGROUP', 'CREATE', 'owing', 'group', '0');
  await client.call('XREADGROUP', 'GROUP', 'group', 'alice', 'STREAMS', 'owing', '>');
  await client.call('XDEL', 'owing', '1-1');
  await client.set('compressed', 'abc'.repeat(100_000));
  await client.rpush(
    'compressed-elements',
    ...Array.from({ length: 9 }, (_, index) => `${index}`.repeat(90_000)),
  );
}

/** Carries the RDB to the target; returns how many keys went by the way of large values. */
async function carry(
  rdb: Buffer,
  { pieceBytes, restoreBytesMax }: { pieceBytes: number; restoreBytesMax: number },
  target: RunningServer,
): Promise<number> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-large-'));
  const access = { side: 'target' as const, host: target.host, port: target.port, address: 'target' };
  await using writer = await TargetWriter.open({
    access: { ...access, username: undefined, password: undefined, tls: undefined },
    clientName: 'test',
    onFailure: () => {},
    onAnswers: () => {},
    signal: new AbortController().signal,
  });
  const reader = new RdbReader({ wholeValueBytesMax: 16 });
  const form = {
    hasHashFieldTtls: target.server.version.startsWith('9'),
    hashFieldTtl: 'refuse',
  } as const;
  const encoder = new CopyEncoder(writer, form);
  let at = 0;
  let large = 0;
  const waitForTarget = (wait: Promise<void>) => wait;
  const more = async () => {
    reader.push(rdb.subarray(at, at + pieceBytes));
    at += pieceBytes;
  };
  for (;;) {
    const item = reader.next();
    if (item === 'end' || item === 'database') encoder.flush();
    if (item === 'end') break;
    if (item === 'need-more') await more();
    if (item === 'database') writer.write(['SELECT', reader.db]);
    if (item === 'key') await encoder.write(reader);
    if (item === 'large') {
      await writeLargeValue({ reader, more, writer, waitForTarget, ...form, restoreBytesMax, directory });
      large += 1;
    }
    if (!writer.hasRoom) await writer.room();
  }
  await writer.settle();
  await rm(directory, { recursive: true, force: true });
  return large;
}

function startSource(server: Awaited<ReturnType<typeof sourceServer>>): Promise<RunningServer> {
  return startServer({ server, config: { 'repl-diskless-sync-delay': '0' } });
}
