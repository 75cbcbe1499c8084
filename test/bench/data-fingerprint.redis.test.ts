import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findServer, type RunningServer, startServer, targetServer } from '../servers/start.ts';
import { describeDifference, takeFingerprint } from './data-fingerprint.ts';
import { debugConfig } from './server-pair.ts';

let source: RunningServer;
let target: RunningServer;
beforeAll(async () => {
  const [older, newer] = [await findServer({ kind: 'redis', version: '7.0' }), await targetServer()];
  source = await startServer({ server: older, config: debugConfig(older) });
  target = await startServer({ server: newer, config: debugConfig(newer) });
});
afterAll(async () => {
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
});
beforeEach(async () => {
  for (const server of [source, target]) {
    const client = server.client();
    await client.flushall();
    await client.set('string', 'value', 'EX', 10_000);
    await client.hset('hash', { field: 'value', other: 'value' });
    await client.zadd('scores', '1.1', 'a', '-inf', 'b', '1e300', 'c');
  }
});

const compareBoth = async () =>
  describeDifference(await takeFingerprint(source.client()), await takeFingerprint(target.client()));

describe('the fingerprint of data', () => {
  it('is the same on different servers, whatever their encodings and digits', async () => {
    await target.client().config('SET', 'hash-max-listpack-entries', 0);
    await target.client().hset('hash', { field: 'value' });
    expect(await compareBoth()).toBeUndefined();
  });

  it.each([
    ['a value', ['SET', 'string', 'other', 'KEEPTTL'], 'the digests differ'],
    ['a TTL that is gone', ['PERSIST', 'string'], 'the digests differ'],
    ['a field', ['HDEL', 'hash', 'other'], 'the digests differ'],
    ['a score, in its last digit', ['ZADD', 'scores', '1.1000000000000003', 'a'], 'sorted sets differ'],
    ['a TTL on a sorted set', ['EXPIRE', 'scores', '1000'], 'sorted sets differ'],
    ['a key too many', ['SET', 'extra', '1'], '4 keys instead of 3'],
  ])('shows %s', async (_, [command = '', ...args], difference) => {
    await target.client().call(command, ...args);
    expect(await compareBoth()).toBe(difference);
  });

  it('refuses data outside database 0, which it does not look at', async () => {
    await source.client(3).set('key', 'value');
    await expect(takeFingerprint(source.client())).rejects.toThrow('databases 3');
  });
});
