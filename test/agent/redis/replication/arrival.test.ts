import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { IncomingBytes } from '../../../../src/agent/redis/incoming-bytes.ts';
import { Spool } from '../../../../src/agent/redis/spool.ts';
import { systemClock } from '../../../../src/core/clock.ts';
import { accessTo } from '../../verify/verify-pair.ts';

/** More than waits in memory. */
const SPOOLED_BYTES = 12 * 1024 * 1024;

it('tells when bytes arrived, not when they are read', async () => {
  await using arriving = await startArriving();
  const { incoming, readNext } = arriving;
  await arriving.arrives(Buffer.from('first'), 2_000);
  await arriving.arrives(Buffer.from('second'), 3_000);
  arriving.setTime(9_000);
  expect(await readNext()).toEqual(['first', 2_000]);
  expect(await readNext()).toEqual(['second', 3_000]);
  incoming.unread(Buffer.from('d'));
  expect(await readNext()).toEqual(['d', 3_000]);
});

it('tells the same of bytes that have waited on disk', async () => {
  await using arriving = await startArriving();
  const { incoming, spool } = arriving;
  await arriving.arrives(Buffer.alloc(SPOOLED_BYTES, 'a'), 2_000);
  await arriving.arrives(Buffer.alloc(300_000, 'b'), 3_000);
  await arriving.arrives(Buffer.from('c'), 5_000);
  expect(spool.bytes).toBeGreaterThan(0);
  arriving.setTime(9_000);
  const arrivals = new Map<string, Set<number>>();
  while (incoming.waitingBytes > 0) {
    const [text, atMs] = await arriving.readNext();
    for (const letter of new Set(text)) arrivals.set(letter, (arrivals.get(letter) ?? new Set()).add(atMs));
  }
  expect([...arrivals].map(([letter, times]) => [letter, [...times]])).toEqual([
    ['a', [2_000]],
    ['b', [3_000]],
    ['c', [5_000]],
  ]);
  incoming.unread(Buffer.from('d'));
  expect(await arriving.readNext()).toEqual(['d', 5_000]);
});

/** A connection whose bytes arrive when the test says so. */
async function startArriving() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const [[accepted], socket] = await Promise.all([
    once(server, 'connection'),
    Promise.resolve(connect(port, '127.0.0.1')),
  ]);
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-arrival-'));
  const spool = new Spool({ directory: path.join(directory, 'spool'), bytesMax: 2 ** 30 });
  let nowMs = 1_000;
  const clock = { ...systemClock, nowMs: () => nowMs };
  const incoming = new IncomingBytes(socket, {
    access: accessTo('source', { host: '127.0.0.1', port }),
    clock,
    spool,
    onSpoolFailure: (error) => {
      throw error;
    },
  });
  const { signal } = new AbortController();
  return {
    incoming,
    spool,
    setTime: (atMs: number) => {
      nowMs = atMs;
    },
    arrives: async (bytes: Buffer, atMs: number) => {
      nowMs = atMs;
      const wanted = incoming.waitingBytes + bytes.length;
      accepted.write(bytes);
      while (incoming.waitingBytes < wanted) await once(socket, 'data');
    },
    readNext: async (): Promise<[string, number]> => [
      String(await incoming.read(signal)),
      incoming.readArrivedAtMs,
    ],
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      server.close();
      spool[Symbol.dispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
