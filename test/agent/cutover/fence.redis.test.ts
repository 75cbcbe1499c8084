import { readdir } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import {
  assertFenceHeld,
  extendFence,
  isFenceStanding,
  liftFence,
  setFence,
} from '../../../src/agent/cutover/fence.ts';
import { type Client, openClient } from '../../../src/agent/redis/client.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { findServer, type RunningServer, sourceServer, startServer } from '../../servers/start.ts';
import { accessOf, readSettings } from './job-context.ts';

const clock = systemClock;

const open = (running: RunningServer, user?: { name: string; password: string }) =>
  openClient(accessOf('source', running, user));

describe('a fence', () => {
  it('refuses writes, transactions and scripts, and serves reads', async () => {
    await using running = await startServer({ server: await sourceServer() });
    await using client = await open(running);
    const writer = running.client();
    await writer.set('a', '1');
    // From now on the fence tries whether it holds scripts, since some client uses them.
    await writer.eval("return redis.call('GET', KEYS[1])", 1, 'a');
    await setFence(client, { directory: running.directory, clock, pauseMs: 5000 });
    await expect(writer.set('a', '2')).rejects.toThrow('NOREPLICAS');
    await expect(writer.del('a')).rejects.toThrow('NOREPLICAS');
    await expect(writer.eval("return redis.call('SET', KEYS[1], '2')", 1, 'a')).rejects.toThrow('NOREPLICAS');
    await expect(writer.multi().set('a', '2').exec()).rejects.toThrow('EXECABORT');
    expect(await writer.get('a')).toBe('1');
    expect(await isFenceStanding(client, { directory: running.directory, clock })).toBe(true);
  });

  it.each([
    { 'min-replicas-to-write': '0', 'min-replicas-max-lag': '10' },
    { 'min-replicas-to-write': '0', 'min-replicas-max-lag': '0' },
    { 'min-replicas-to-write': '1', 'min-replicas-max-lag': '7' },
  ])('leaves every setting as it was found, and no file: %j', async (config) => {
    await using running = await startServer({ server: await sourceServer(), config });
    await using client = await open(running);
    const before = await readSettings(running);
    const files = await readdir(running.directory);
    await setFence(client, { directory: running.directory, clock, pauseMs: 5000 });
    await expect(running.client().set('a', '1')).rejects.toThrow('NOREPLICAS');
    expect(await readSettings(running)).not.toEqual(before);
    expect(await liftFence(client, running.directory)).toBe(true);
    expect(await readSettings(running)).toEqual(before);
    expect(await readdir(running.directory)).toEqual(files);
    expect(await liftFence(client, running.directory)).toBe(false);
  });

  it('lets writes that a pause holds back fail, not happen later', async () => {
    await using running = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
    await using client = await open(running);
    const writer = running.client();
    await client.call('CLIENT', 'PAUSE', 30_000, 'WRITE');
    const held = writer.set('a', '1').catch((error: Error) => error.message);
    await untilBlocked(client);
    await setFence(client, { directory: running.directory, clock, pauseMs: 5000 });
    expect(await held).toContain('NOREPLICAS');
    expect(await writer.get('a')).toBeNull();
  });

  it('that a dead process left is renewed, and still lifted to what was before the first', async () => {
    const config = { 'min-replicas-max-lag': '0' };
    await using running = await startServer({ server: await sourceServer(), config });
    const before = await (async () => {
      await using first = await open(running);
      const settings = await readSettings(running);
      await setFence(first, { directory: running.directory, clock, pauseMs: 5000 });
      return settings;
    })();
    await using second = await open(running);
    await setFence(second, { directory: running.directory, clock, pauseMs: 5000 });
    await expect(running.client().set('a', '1')).rejects.toThrow('NOREPLICAS');
    await liftFence(second, running.directory);
    expect(await readSettings(running)).toEqual(before);
  });

  it('is seen to be gone when the source was restarted', async () => {
    await using running = await startServer({ server: await sourceServer() });
    await using before = await open(running);
    await setFence(before, { directory: running.directory, clock, pauseMs: 5000 });
    await running.restart();
    await using after = await open(running);
    expect(await isFenceStanding(after, { directory: running.directory, clock })).toBe(false);
    expect(await liftFence(after, running.directory)).toBe(true);
  });

  it('is not lifted at another server', async () => {
    await using running = await startServer({ server: await sourceServer() });
    await using other = await startServer({ server: await sourceServer() });
    await using client = await open(running);
    await setFence(client, { directory: running.directory, clock, pauseMs: 5000 });
    await using stranger = await open(other);
    await expect(liftFence(stranger, running.directory)).rejects.toMatchObject({ code: 'fence-denied' });
    await expect(
      setFence(stranger, { directory: running.directory, clock, pauseMs: 5000 }),
    ).rejects.toMatchObject({
      code: 'fence-denied',
    });
    expect(await isFenceStanding(client, { directory: running.directory, clock })).toBe(true);
  });

  it.each(['-config|set', '-config', '-client|pause'])(
    'is set by ACL without the permission %s, and every user is as before when it is lifted',
    async (rule) => {
      const server = await findServer({ kind: 'redis', version: '7.0' });
      await using running = await startServer({ server });
      await using admin = await open(running);
      await admin.call('ACL', 'SETUSER', 'mover', 'on', '>pw', '~*', '&*', '+@all', rule);
      const rules = 'on >pw ~app:* -@all +ping +get +set'.split(' ');
      await admin.call('ACL', 'SETUSER', 'app', ...rules, '(~log:* +append)');
      await admin.call('ACL', 'SETUSER', 'nobody', 'on', '>pw', '~*', '-@all');
      const [settings, users] = [await readSettings(running), await admin.call('ACL', 'LIST')];
      await using app = await open(running, { name: 'app', password: 'pw' });
      await using client = await open(running, { name: 'mover', password: 'pw' });
      const fence = await setFence(client, { directory: running.directory, clock, pauseMs: 5000 });
      expect(fence).toBe('ACL SETUSER -@write for 3 users');
      await expect(app.call('SET', 'app:a', '1')).rejects.toThrow('NOPERM');
      await expect(app.call('APPEND', 'log:a', '1')).rejects.toThrow('NOPERM');
      await expect(running.client().set('a', '1')).rejects.toThrow('NOPERM');
      const script = "return redis.call('SET', KEYS[1], '1')";
      await expect(running.client().eval(script, 1, 'a')).rejects.toThrow(
        /can't run this command|NOPERM|ACL/,
      );
      await expect(running.client().multi().set('a', '1').exec()).rejects.toThrow('EXECABORT');
      expect(await app.call('GET', 'app:a')).toBeNull();
      await assertFenceHeld(client, { directory: running.directory, clock });

      await admin.call('ACL', 'SETUSER', 'new', 'on', '>pw', '~*', '+@all');
      await expect(assertFenceHeld(client, { directory: running.directory, clock })).rejects.toMatchObject({
        code: 'fence-denied',
        message: expect.stringContaining('somebody has lifted the fence'),
      });
      await admin.call('ACL', 'DELUSER', 'new');
      expect(await liftFence(client, running.directory)).toBe(true);
      expect(await admin.call('ACL', 'LIST')).toEqual(users);
      expect(await readSettings(running)).toEqual(settings);
      expect(await app.call('SET', 'app:a', '1')).toEqual(Buffer.from('OK'));
    },
  );

  it('is a pause where neither CONFIG nor ACL may be used, which ends by itself', async () => {
    await using running = await startServer({
      server: await findServer({ kind: 'redis', version: '7.0' }),
      config: { 'rename-command': ['CONFIG ""', 'ACL ""'] },
    });
    await using client = await open(running);
    const store = { directory: running.directory, clock, pauseMs: 1500 };
    expect(await setFence(client, store)).toBe('CLIENT PAUSE WRITE');
    const written = running.client().set('a', '1');
    await untilBlocked(client);
    expect(await isFenceStanding(client, store)).toBe(true);
    expect(await written).toBe('OK');
    while (await isFenceStanding(client, store)) await clock.sleep(20, AbortSignal.timeout(10_000));

    // It had ended: what was written meanwhile nobody has looked at.
    await expect(extendFence(accessOf('source', running), store)).rejects.toMatchObject({
      code: 'fence-lost',
    });
    expect(await liftFence(client, running.directory)).toBe(true);
    await setFence(client, store);
    await extendFence(accessOf('source', running), store);
    const held = running.client().set('a', '2');
    await untilBlocked(client);
    expect(await isFenceStanding(client, store)).toBe(true);
    expect(await liftFence(client, running.directory)).toBe(true);
    expect(await held).toBe('OK');
  });

  it('that is a pause is seen to be gone when somebody has ended it, or its time is over by the clock of the source', async () => {
    await using running = await startServer({
      server: await findServer({ kind: 'redis', version: '7.0' }),
      config: { 'rename-command': ['CONFIG ""', 'ACL ""'] },
    });
    await using client = await open(running);
    const store = { directory: running.directory, clock, pauseMs: 60_000 };
    await setFence(client, store);
    await assertFenceHeld(client, store);
    // The clock of the host says nothing of a pause.
    const late = { ...clock, nowMs: () => clock.nowMs() + 3_600_000 };
    expect(await isFenceStanding(client, { ...store, clock: late })).toBe(true);
    await running.client().call('CLIENT', 'UNPAUSE');
    expect(await isFenceStanding(client, store)).toBe(false);
    await expect(assertFenceHeld(client, store)).rejects.toMatchObject({
      code: 'fence-denied',
      message: expect.stringContaining('somebody has lifted the fence'),
    });
  });

  it('is no pause at a source where it may not end one, which is not left paused', async () => {
    await using running = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
    await using admin = await open(running);
    const rules = ['on', '>pw', '~*', '&*', '+@all', '-acl', '-config', '-client|unpause'];
    await admin.call('ACL', 'SETUSER', 'mover', ...rules);
    await using client = await open(running, { name: 'mover', password: 'pw' });
    const store = { directory: running.directory, clock, pauseMs: 60_000 };
    await expect(setFence(client, store)).rejects.toMatchObject({
      code: 'fence-denied',
      message: expect.stringMatching(/by min-replicas-to-write: .*NOPERM.* by CLIENT PAUSE: .*NOPERM/),
    });
    expect(await admin.call('SET', 'a', '1')).toEqual(Buffer.from('OK'));
    expect(await admin.callText('INFO', 'commandstats')).not.toMatch(/cmdstat_client\|pause:calls=[1-9]/);
  });

  it('needs no permission to end a pause where it is a setting: the pause ends into it', async () => {
    await using running = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
    await using admin = await open(running);
    const before = await readSettings(running);
    await admin.call('ACL', 'SETUSER', 'mover', 'on', '>pw', '~*', '&*', '+@all', '-client|unpause');
    await using client = await open(running, { name: 'mover', password: 'pw' });
    const store = { directory: running.directory, clock, pauseMs: 60_000 };
    expect(await setFence(client, store)).toBe('min-replicas-to-write 1000000');
    await expect(admin.call('SET', 'a', '1')).rejects.toThrow('NOREPLICAS');
    expect(await liftFence(client, running.directory)).toBe(true);
    expect(await readSettings(running)).toEqual(before);
    expect(await admin.call('SET', 'a', '1')).toEqual(Buffer.from('OK'));
  });

  it('is denied where nothing of it is allowed, and changes nothing', async () => {
    await using running = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
    await using admin = await open(running);
    await admin.call(
      'ACL',
      'SETUSER',
      'mover',
      'on',
      '>pw',
      '~*',
      '&*',
      '+@all',
      '-config',
      '-acl',
      '-client|pause',
    );
    const before = await readSettings(running);
    await using client = await open(running, { name: 'mover', password: 'pw' });
    await expect(
      setFence(client, { directory: running.directory, clock, pauseMs: 5000 }),
    ).rejects.toMatchObject({
      code: 'fence-denied',
      message: expect.stringMatching(
        /by min-replicas-to-write: .*NOPERM.* by ACL: .*NOPERM.* by CLIENT PAUSE: .*NOPERM/,
      ),
    });
    expect(await readSettings(running)).toEqual(before);
    expect(await liftFence(client, running.directory)).toBe(false);
  });

  it('that a restart of the source took away is found before anything is decided', async () => {
    await using running = await startServer({ server: await sourceServer() });
    await using before = await open(running);
    const store = { directory: running.directory, clock };
    await setFence(before, store);
    await assertFenceHeld(before, store);
    await running.restart();
    await using after = await open(running);
    await expect(assertFenceHeld(after, store)).rejects.toMatchObject({
      code: 'fence-denied',
      message: expect.stringContaining('restarted behind the fence'),
    });
  });

  it('is denied at a replica, whose writes come from elsewhere', async () => {
    await using master = await startServer({ server: await sourceServer() });
    await using running = await startServer({
      server: await sourceServer(),
      config: { replicaof: `127.0.0.1 ${master.port}` },
    });
    await using client = await open(running);
    await expect(
      setFence(client, { directory: running.directory, clock, pauseMs: 5000 }),
    ).rejects.toMatchObject({
      code: 'fence-denied',
      message: expect.stringContaining('it is a replica'),
    });
  });
});

async function untilBlocked(client: Client): Promise<void> {
  const signal = AbortSignal.timeout(10_000);
  const isBlocked = async () => /blocked_clients:1/.test((await client.callText('INFO', 'clients')) ?? '');
  while (!(await isBlocked())) await clock.sleep(10, signal);
}
