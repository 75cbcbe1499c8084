import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { expect, it } from 'vitest';
import { IncomingBytes } from '../../../../src/agent/redis/incoming-bytes.ts';
import { systemClock } from '../../../../src/core/clock.ts';
import { accessTo } from '../../verify/verify-pair.ts';

it('tells when bytes arrived, not when they are read', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const [[accepted], socket] = await Promise.all([
    once(server, 'connection'),
    Promise.resolve(connect(port, '127.0.0.1')),
  ]);
  const clock = { ...systemClock, nowMs: () => nowMs };
  let nowMs = 1_000;
  const { signal } = new AbortController();
  const incoming = new IncomingBytes(socket, accessTo('source', { host: '127.0.0.1', port }), clock);
  const arrives = async (text: string, atMs: number) => {
    nowMs = atMs;
    const arrival = once(socket, 'data');
    accepted.write(text);
    await arrival;
  };
  await arrives('first', 2_000);
  await arrives('second', 3_000);
  nowMs = 9_000;
  expect([String(await incoming.read(signal)), incoming.readArrivedAtMs]).toEqual(['first', 2_000]);
  expect([String(await incoming.read(signal)), incoming.readArrivedAtMs]).toEqual(['second', 3_000]);
  incoming.unread(Buffer.from('d'));
  expect([String(await incoming.read(signal)), incoming.readArrivedAtMs]).toEqual(['d', 3_000]);
  socket.destroy();
  server.close();
});
