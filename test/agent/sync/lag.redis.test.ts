import { expect, it } from 'vitest';
import { sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { startSync } from './sync-run.ts';

const CHANNEL = '__valkey-migrate__';

it('measures the lag by canaries, which leave nothing at the source and do not reach the target', async () => {
  await using source = await startServer({ server: await sourceServer() });
  await using target = await startServer({ server: await targetServer() });
  const listener = target.client();
  const heard: string[] = [];
  listener.on('message', (channel) => heard.push(channel));
  await listener.subscribe(CHANNEL, 'news');
  await source.client().set('key', 'value');
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');

  // A frozen target commits nothing: what is missed is as old as the freeze is long.
  process.kill(target.pid, 'SIGSTOP');
  try {
    await sync.until(({ lagMs }) => (lagMs ?? 0) > 1_500);
  } finally {
    process.kill(target.pid, 'SIGCONT');
  }
  const arrived = await sync.until(({ lagMs }) => lagMs !== undefined && lagMs < 500);
  expect(arrived.stage).toBe('live');
  await source.client(3).publish(CHANNEL, 'of somebody else');
  await source.client(3).publish('news', 'for everybody');
  await sync.caughtUp();
  await expect.poll(() => heard).toEqual(['news']);
  expect(await source.client().dbsize()).toBe(1);
  expect(await target.client().dbsize()).toBe(2);
  expect(sync.log.join()).not.toContain('canaries');
});

it('goes on without canaries where the source refuses them, and says so once', async () => {
  await using source = await startServer({
    server: await sourceServer(),
    config: { user: ['default on nopass ~* &* +@all', 'mover on >hard ~* &* +@all -publish'] },
  });
  await using target = await startServer({ server: await targetServer() });
  await source.client().set('key', 'value');
  await using sync = await startSync({
    source,
    target,
    sourceUser: { username: 'mover', password: 'hard' },
  });
  await sync.until(({ stage }) => stage === 'live');
  await sync.until(({ notes }) => notes.some((note) => note.includes('refuses PUBLISH')));
  process.kill(target.pid, 'SIGSTOP');
  try {
    await source.client().set('key', 'other');
    await sync.until(({ lagMs, lagBytes }) => (lagMs ?? 0) > 1_500 && lagBytes !== 0);
  } finally {
    process.kill(target.pid, 'SIGCONT');
  }
  await sync.caughtUp();
  await sync.until(({ lagMs }) => lagMs === 0);
  expect(sync.progress()?.notes.filter((note) => note.includes('PUBLISH'))).toHaveLength(1);
});

it('does not wait for canaries that a source which is itself a replica does not pass on', async () => {
  await using master = await startServer({ server: await sourceServer() });
  await using source = await startServer({
    server: await sourceServer(),
    config: { replicaof: `${master.host} ${master.port}` },
  });
  await using target = await startServer({ server: await targetServer() });
  await expect.poll(() => source.client().info('replication'), { timeout: 30_000 }).toContain('_status:up');
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  await master.client().set('key', 'value');
  await expect.poll(() => target.client().get('key'), { timeout: 10_000 }).toBe('value');
  await sync.caughtUp();
  await sync.until(({ lagMs }) => lagMs === 0);
  expect(await source.client().info('commandstats')).not.toContain('cmdstat_publish');
});

it('stops at once although the source pauses its writers and holds a canary back', async () => {
  await using source = await startServer({ server: await sourceServer() });
  await using target = await startServer({ server: await targetServer() });
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');
  const client = source.client();
  await client.call('CLIENT', 'PAUSE', '600000', 'WRITE');
  await expect.poll(() => client.info('clients'), { timeout: 30_000 }).toMatch(/^blocked_clients:1\r$/m);
  const { lagMs } = await sync.until((progress) => progress.lagBytes === 0);
  expect(lagMs).toBeDefined();
  expect((await sync.stop()).checkpoint).toBeDefined();
  await expect.poll(() => client.info('clients'), { timeout: 30_000 }).toMatch(/^blocked_clients:0\r$/m);
});
