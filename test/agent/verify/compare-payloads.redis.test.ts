import type { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { comparePayloads } from '../../../src/agent/verify/compare-payloads.ts';
import type { WantedServer } from '../../servers/server-binary.ts';
import { findServer, startServer } from '../../servers/start.ts';

const VERSIONS: readonly WantedServer[] = [
  { kind: 'redis', version: '7.0' },
  { kind: 'redis', version: '8.0' },
  { kind: 'valkey', version: '8.0' },
  { kind: 'valkey', version: '8.1' },
  { kind: 'valkey', version: '9.1' },
];

type Commands = readonly (readonly (string | number)[])[];

const LONG = 'l'.repeat(100);
const many = (count: number, make: (index: number) => (string | number)[]) =>
  Array.from({ length: count }, (_, index) => make(index)).flat();

/** Each value, and what is then done to it: whatever it is, it must show. */
const VALUES: Readonly<Record<string, { make: Commands; changes: Commands }>> = {
  'a small list': {
    make: [['RPUSH', 'k', 'a', 5, -70_000, LONG]],
    changes: [
      ['LSET', 'k', 1, 6],
      ['LPOP', 'k'],
      ['RPUSH', 'k', ''],
      ['LSET', 'k', 3, `${LONG}.`],
    ],
  },
  'a list of many nodes': {
    make: [['RPUSH', 'k', ...many(600, (index) => [`${index}-${LONG}`]), 'x'.repeat(9000)]],
    changes: [
      ['LSET', 'k', 300, 'other'],
      ['RPOPLPUSH', 'k', 'k'],
    ],
  },
  'a set of integers': {
    make: [['SADD', 'k', 1, -2, 70_000, '9223372036854775807']],
    changes: [
      ['SREM', 'k', 1],
      ['SADD', 'k', 3],
    ],
  },
  'a small set': {
    make: [['SADD', 'k', 'a', 'b', 7, LONG.slice(50)]],
    changes: [
      ['SREM', 'k', 'a'],
      ['SADD', 'k', 'c'],
    ],
  },
  'a set in a table': {
    make: [['SADD', 'k', ...many(700, (index) => [`member-${index}`])]],
    changes: [
      ['SREM', 'k', 'member-3'],
      ['SADD', 'k', 'one more'],
    ],
  },
  'a small hash': {
    make: [['HSET', 'k', 'a', 1, 'b', 'two', 'c', '']],
    changes: [
      ['HSET', 'k', 'a', 2],
      ['HDEL', 'k', 'c'],
      ['HSET', 'k', 'd', ''],
    ],
  },
  'a hash in a table': {
    make: [['HSET', 'k', ...many(700, (index) => [`field-${index}`, `value-${index}`])]],
    changes: [
      ['HSET', 'k', 'field-9', 'value-10'],
      ['HDEL', 'k', 'field-1'],
      ['HSET', 'k', 'one', 'more'],
    ],
  },
  'a small sorted set': {
    make: [['ZADD', 'k', '1.1', 'a', '-0', 'b', 'inf', 'c', '-inf', 'd', '1e300', 'e', 3, 'f']],
    changes: [
      ['ZADD', 'k', '1.1000000000000003', 'a'],
      ['ZADD', 'k', '1', 'b'],
      ['ZREM', 'k', 'c'],
    ],
  },
  'a sorted set in a skip list': {
    make: [['ZADD', 'k', ...many(300, (index) => [index / 7, `member-${index}`]), '-0', 'z', 'inf', 'i']],
    changes: [
      ['ZADD', 'k', 1, 'member-0'],
      ['ZREM', 'k', 'member-1'],
      ['ZADD', 'k', '1', 'z'],
    ],
  },
  'a stream': {
    make: [
      ...Array.from({ length: 300 }, (_, index) => [
        'XADD',
        'k',
        `170000000${1000 + index}-${index}`,
        'sequence',
        index,
      ]),
      ['XADD', 'k', '1800000000000-0', 'other', 'fields', 'than', 'before'],
      ['XDEL', 'k', '1700000001001-1'],
      ['XGROUP', 'CREATE', 'k', 'group', '0'],
      ['XREADGROUP', 'GROUP', 'group', 'ada', 'COUNT', 3, 'STREAMS', 'k', '>'],
      ['XREADGROUP', 'GROUP', 'group', 'bob', 'COUNT', 2, 'STREAMS', 'k', '>'],
      ['XGROUP', 'CREATE', 'k', 'idle', '$'],
    ],
    changes: [
      ['XADD', 'k', '1900000000000-0', 'a', 'b'],
      ['XDEL', 'k', '1700000001007-7'],
      ['XACK', 'k', 'group', '1700000001000-0'],
      ['XCLAIM', 'k', 'group', 'bob', 0, '1700000001000-0', 'JUSTID'],
      ['XCLAIM', 'k', 'group', 'ada', 0, '1700000001000-0', 'RETRYCOUNT', 9],
      ['XGROUP', 'SETID', 'k', 'idle', '1700000001003-0'],
      ['XGROUP', 'DESTROY', 'k', 'idle'],
      ['XSETID', 'k', '1900000000000-0'],
      ['XSETID', 'k', '1800000000000-0', 'ENTRIESADDED', 999, 'MAXDELETEDID', '1700000001001-1'],
    ],
  },
};

async function dump(client: Redis): Promise<Buffer> {
  const payload = await client.dumpBuffer('k');
  return payload.subarray(0, -10);
}

async function make(client: Redis, commands: Commands): Promise<Buffer> {
  await client.del('k');
  for (const [name, ...args] of commands) await client.call(String(name), ...args);
  return dump(client);
}

describe('payloads of the same value', () => {
  it('are equal whichever two versions wrote them, and each change to it shows', async () => {
    await using stack = new AsyncDisposableStack();
    const clients: Redis[] = [];
    for (const version of VERSIONS) {
      clients.push(stack.use(await startServer({ server: await findServer(version) })).client());
    }
    for (const [name, { make: commands, changes }] of Object.entries(VALUES)) {
      const payloads = await Promise.all(clients.map((client) => make(client, commands)));
      for (const a of payloads) for (const b of payloads) expect(comparePayloads(a, b), name).toBe('equal');
      for (const [at, client] of clients.entries()) {
        for (const change of changes) {
          const changed = await make(client, [...commands, change]);
          const label = `${name} at ${at} after ${change.join(' ')}`;
          for (const a of payloads) expect(comparePayloads(a, changed), label).toBe('different');
          for (const a of payloads) expect(comparePayloads(changed, a), label).toBe('different');
        }
      }
    }
  });

  it('are equal without what a server keeps for itself: when consumers were seen, and those with nothing pending', async () => {
    await using server = await startServer({ server: await findServer({ kind: 'valkey', version: '8.1' }) });
    const client = server.client();
    const before = await make(client, VALUES['a stream']?.make ?? []);
    await client.call('XGROUP', 'CREATECONSUMER', 'k', 'group', 'who waits');
    await client.call('XCLAIM', 'k', 'group', 'ada', 0, '1700000001000-0', 'IDLE', 5000, 'JUSTID');
    expect(comparePayloads(before, await dump(client))).toBe('equal');
  });

  it('are undecided where they are damaged, whatever the other is', async () => {
    await using server = await startServer({ server: await findServer({ kind: 'valkey', version: '8.1' }) });
    for (const { make: commands } of Object.values(VALUES)) {
      const whole = await make(server.client(), commands);
      expect(comparePayloads(whole, whole.subarray(0, -1))).toBe('undecided');
      expect(comparePayloads(Buffer.concat([whole, Buffer.of(0)]), whole)).toBe('undecided');
    }
  });

  it('are different when a score is 0 at one side and -0 at the other', async () => {
    await using server = await startServer({ server: await findServer({ kind: 'valkey', version: '8.1' }) });
    // A long member makes a skip list; in a listpack the server itself writes both as 0.
    const minus = await make(server.client(), [['ZADD', 'k', '-0', LONG]]);
    const plus = await make(server.client(), [['ZADD', 'k', '0', LONG]]);
    expect(comparePayloads(minus, plus)).toBe('different');
  });

  it('of different types are different', async () => {
    await using server = await startServer({ server: await findServer({ kind: 'valkey', version: '8.1' }) });
    const list = await make(server.client(), [['RPUSH', 'k', 'a']]);
    const set = await make(server.client(), [['SADD', 'k', 'a']]);
    expect(comparePayloads(list, set)).toBe('different');
  });
});
