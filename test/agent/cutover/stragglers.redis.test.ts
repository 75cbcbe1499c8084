import { describe, expect, it } from 'vitest';
import { watchClients } from '../../../src/agent/cutover/clients.ts';
import { setFence } from '../../../src/agent/cutover/fence.ts';
import { runStragglers } from '../../../src/agent/cutover/stragglers.ts';
import { openClient } from '../../../src/agent/redis/client.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { findServer, type RunningServer, startServer } from '../../servers/start.ts';
import { accessOf, endpointOf, jobContext } from './job-context.ts';

const startSource = async () => startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });

/** A client with a user and a name of its own. */
async function connectAs(running: RunningServer, user: string, name: string) {
  await running.client().call('ACL', 'SETUSER', user, 'on', '>pw', '~*', '&*', '+@all');
  const client = await openClient(accessOf('source', running, { name: user, password: 'pw' }));
  await client.call('CLIENT', 'SETNAME', name);
  return client;
}

describe('the clients of a source', () => {
  it('are told by address, user and name, those that write first, and connections like our own not at all', async () => {
    await using running = await startSource();
    await using reader = await connectAs(running, 'reporting', 'nightly');
    await using writer = await connectAs(running, 'shop', 'cart-api');
    await using second = await connectAs(running, 'shop', 'cart-api');
    await using scripted = await connectAs(running, 'lua', '');
    await reader.call('GET', 'a');
    await writer.call('SET', 'a', '1');
    await second.call('GET', 'a');
    await scripted.call('EVAL', 'return 1', 0);
    await using own = await openClient(accessOf('source', running));
    await using like = await openClient(accessOf('source', running));
    const watch = await watchClients(own);
    await watch.look();
    await like.call('PING');
    await second.call('HSET', 'h', 'f', 'v');
    await writer.call('GET', 'a');
    await watch.look();
    expect(watch.list()).toEqual({
      groups: [
        {
          address: '127.0.0.1',
          user: 'shop',
          name: 'cart-api',
          connections: 2,
          lastCommand: 'hset',
          writes: true,
        },
        { address: '127.0.0.1', user: 'lua', name: '', connections: 1, lastCommand: 'eval', writes: true },
        {
          address: '127.0.0.1',
          user: 'reporting',
          name: 'nightly',
          connections: 1,
          lastCommand: 'get',
          writes: false,
        },
      ],
      more: 0,
    });
  });
});

describe('a straggler', () => {
  it('that keeps writing to the fenced source is named with address, user and last command', async () => {
    await using running = await startSource();
    await using idle = await connectAs(running, 'idle', 'pool');
    await using stubborn = await connectAs(running, 'shop', 'cart-api');
    await idle.call('GET', 'a');
    await using client = await openClient(accessOf('source', running));
    await setFence(client, { directory: running.directory, clock: systemClock });
    const context = jobContext({ directory: running.directory });
    const done = new AbortController();
    let refused = 0;
    const writing = (async () => {
      while (!done.signal.aborted) {
        await stubborn.call('LPUSH', 'queue', 'job').catch(() => {
          refused += 1;
        });
        await systemClock.sleep(20, done.signal).catch(() => {
          // The watch is over.
        });
      }
    })();
    const request = { kind: 'stragglers', source: endpointOf(running), watchMs: 1500 } as const;
    const report = await runStragglers(request, context);
    done.abort();
    await writing;
    expect(report.refusedWrites).toBeGreaterThan(0);
    expect(report.refusedWrites).toBeLessThanOrEqual(refused);
    expect(report.clients.groups).toMatchObject([
      { address: '127.0.0.1', user: 'shop', name: 'cart-api', lastCommand: 'lpush', writes: true },
      { user: 'idle', name: 'pool', lastCommand: 'get', writes: false },
    ]);
  });
});
