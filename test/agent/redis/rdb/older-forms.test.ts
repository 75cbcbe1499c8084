import { expect, it } from 'vitest';
import { toValkeyHash } from '../../../../src/agent/redis/rdb/hash-field-ttl.ts';
import { TYPE_REDIS_HASH_METADATA, TYPE_VALKEY_HASH_2 } from '../../../../src/agent/redis/rdb/layouts.ts';
import {
  toPlainSet,
  toRedisHash,
  toStreamWithoutActivity,
} from '../../../../src/agent/redis/rdb/older-forms.ts';

const text = (value: string) => Buffer.concat([Buffer.of(value.length), Buffer.from(value)]);
const time = (atMs: bigint) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(atMs);
  return bytes;
};
const whole = (bytes: Buffer) => ({ bytes, start: 0, end: bytes.length });

it('an expiring hash is the same after the form of Redis and back, however far apart its times are', () => {
  const far = 2n ** 52n;
  const fields: [string, bigint][] = [
    ['never', -1n],
    ['soon', 1_700_000_000_000n],
    ['later', 1_700_000_000_000n + 2n ** 40n],
    ['far', far],
  ];
  const hash = Buffer.concat([
    Buffer.of(fields.length),
    ...fields.flatMap(([name, atMs]) => [text(name), text('value'), time(atMs)]),
  ]);
  const redis = toRedisHash({ type: TYPE_VALKEY_HASH_2, ...whole(hash) });
  expect(redis.readBigInt64LE(0)).toBe(1_700_000_000_000n);
  const back = toValkeyHash({ type: TYPE_REDIS_HASH_METADATA, ...whole(redis) }, { areExpiriesExact: true });
  expect(back).toEqual(hash);
});

it('a hash in a form of Redis already stays as it is', () => {
  const bytes = Buffer.from('any bytes');
  expect(toRedisHash({ type: TYPE_REDIS_HASH_METADATA, ...whole(bytes) })).toEqual(bytes);
});

it('what is cut or goes on too long is refused', () => {
  const hash = Buffer.concat([Buffer.of(1), text('f'), text('v'), time(5n)]);
  expect(() => toRedisHash({ type: TYPE_VALKEY_HASH_2, ...whole(hash.subarray(0, -1)) })).toThrow('cut');
  expect(() => toStreamWithoutActivity(whole(STREAM.subarray(0, -1)))).toThrow('cut');
  expect(() => toStreamWithoutActivity(whole(Buffer.concat([STREAM, Buffer.of(0)])))).toThrow(
    'behind its end',
  );
  expect(() => toPlainSet(whole(text('no listpack')))).toThrow('listpack');
});

it('a stream loses the last activity of its consumers and nothing else', () => {
  expect(toStreamWithoutActivity(whole(STREAM))).toEqual(OLDER_STREAM);
});

/** No entries, one group with one pending entry and two consumers. */
function streamOf(activity: (atMs: bigint) => readonly Buffer[]): Buffer {
  const id = Buffer.alloc(16, 1);
  return Buffer.concat([
    Buffer.of(0),
    Buffer.from([0, 9, 9, 9, 9, 0, 0, 9]),
    Buffer.of(1),
    text('group'),
    Buffer.from([9, 9, 1]),
    ...[Buffer.of(1), id, time(7n), Buffer.of(3)],
    Buffer.of(2),
    ...[text('one'), time(8n), ...activity(9n), Buffer.of(1), id],
    ...[text('two'), time(8n), ...activity(10n), Buffer.of(0)],
  ]);
}

const STREAM = streamOf((atMs) => [time(atMs)]);
const OLDER_STREAM = streamOf(() => []);
