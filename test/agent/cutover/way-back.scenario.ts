import { expect, it } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../../src/core/clock.ts';
import { type HostAgent, type HostJobs, openHostAgent } from '../../host-agent.ts';
import { loadDataSet } from '../../servers/data-set.ts';
import { findServer, type RunningServer, startServer } from '../../servers/start.ts';
import { expectSame } from '../scan/expect-same.ts';
import { cutoverRequest } from './cutover-pair.ts';
import { endpointOf, readSettings } from './job-context.ts';

const COMPARE = { maxDifferences: 0, ttlToleranceMs: 1000, keyDisplay: 'shown' } as const;
const KEYS = 2_000;
/** In their order. */
const STAGES = ['preparing', 'fencing', 'draining', 'proving', 'handing-over'];

type Pair = { readonly source: RunningServer; readonly target: RunningServer; readonly host: HostAgent };

it('goes back with what was written since, through the same steps, and gives the old source back as it was', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  const before = await readAsFound(source);
  const wayBack = await cutOver(pair);
  await expect(source.client().set('a', '1')).rejects.toThrow('NOPERM');
  await writeAfterCutover(target);
  await wayBack.until('sync', ({ progress }) => progress.stage === 'live');
  await writeAfterCutover(target, 'again');
  await goBack(wayBack);
  await expectSame(target, source);
  expect(await source.client().exists('__valkey-migrate__')).toBe(0);
  expect(await readAsFound(source)).toEqual(before);
  await source.client().set('back', '1');
  await expect(target.client().set('a', '1')).rejects.toThrow('NOREPLICAS');
  await expect(pair.host.remove()).rejects.toThrow('migration-conflict');
  await pair.host.completeWayBack();
  await pair.host.remove();
});

it('lets nobody but itself write to the old source, sets the fence again when that was restarted, and takes back what came in between', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  const wayBack = await cutOver(pair);
  await wayBack.until('sync', ({ progress }) => progress.stage === 'live');
  for (const write of STRAGGLER_WRITES) {
    await expect(source.client().call(...write)).rejects.toThrow(/NOPERM|can't run/);
  }
  await source.restart();
  // Its users are those of its configuration again, until the sync has connected again.
  await writeUntilRefused(source);
  await target.client().set('new', '1');
  await untilValue(source, 'new', '1');
  await wayBack.until('sync', ({ progress }) => progress.stage === 'live');
  await goBack(wayBack);
  await expectSame(target, source);
  expect(await source.client().exists('straggler')).toBe(0);
});

it('is refused when somebody has lifted the fence at the old source', async () => {
  await using pair = await startPair();
  const wayBack = await cutOver(pair);
  await wayBack.until('sync', ({ progress }) => progress.stage === 'live');
  await wayBack.run(verifyRequest(wayBack));
  await pair.source.client().call('ACL', 'SETUSER', 'default', '+@write');
  const cutover = wayBack.run(backRequest(wayBack));
  await expect(cutover).rejects.toThrow('way-back-unfenced');
  await pair.target.client().set('still', 'open');
});

it('leaves an old source that is fenced for everybody when it is given up, and only then lets the state go', async () => {
  await using pair = await startPair();
  const { source, target } = pair;
  const wayBack = await cutOver(pair);
  await wayBack.until('sync', ({ progress }) => progress.stage === 'live');
  await expect(pair.host.remove()).rejects.toThrow('migration-conflict');
  const { source: from, target: to } = endpointsOf(wayBack);
  await wayBack.run({ kind: 'rollback', source: from, target: to, route: 'scan', flushTarget: false });
  await pair.host.forgetWayBack();
  expect(await source.client().call('ACL', 'USERS')).toEqual(['app', 'default', 'reader']);
  await expect(source.client().set('a', '1')).rejects.toThrow('NOPERM');
  expect(await source.client().exists('__valkey-migrate__')).toBe(0);
  await target.client().set('still', 'here');
  await pair.host.remove();
});

it.each(STAGES)(
  'that is killed at the stage %s, or soon after, leaves no half, and the next one succeeds',
  async (stage) => {
    await using pair = await startPair();
    const { source, target } = pair;
    const before = await readAsFound(source);
    const wayBack = await cutOver(pair);
    await wayBack.until('sync', ({ progress }) => progress.stage === 'live');
    await writeAfterCutover(target);
    await wayBack.run(verifyRequest(wayBack));
    await wayBack.start(backRequest(wayBack));
    await killAt(wayBack, stage);
    if (wayBack.store.readState('keeper') !== undefined) {
      await wayBack.until('keeper', ({ status }) => status === 'succeeded');
    }
    // Exactly one of the two takes writes.
    const takers = await Promise.all([takesWrites(source), takesWrites(target)]);
    expect(takers.filter((taking) => taking).length).toBe(1);
    await wayBack.run(backRequest(wayBack));
    await expectSame(target, source);
    expect(await readAsFound(source)).toEqual(before);
    expect(await takesWrites(target)).toBe(false);
  },
);

/** What a user of the old source may still try: every way to write. */
const STRAGGLER_WRITES: readonly [string, ...string[]][] = [
  ['SET', 'straggler', '1'],
  ['EVAL', "return redis.call('SET', KEYS[1], '1')", '1', 'straggler'],
  ['FLUSHALL'],
  ['RENAME', 'kept', 'straggler'],
  ['FUNCTION', 'FLUSH'],
];

/** A migration that is live and verified, from a Redis with users and settings of its own. */
async function startPair(): Promise<Pair & AsyncDisposable> {
  await using opening = new AsyncDisposableStack();
  const config = {
    'repl-diskless-sync-delay': '0',
    'min-replicas-max-lag': '7',
    user: ['app on >secret ~app:* +@all -@dangerous', 'reader on >secret ~* +@read (~own:* +@write)'],
  };
  const server = await findServer({ kind: 'redis', version: '7.0' });
  const source = opening.use(await startServer({ server, config }));
  const target = opening.use(
    await startServer({
      server: await findServer({ kind: 'valkey', version: '9' }),
      config: { 'notify-keyspace-events': 'EA' },
    }),
  );
  await loadDataSet(source.client(), { keys: KEYS, seed: 3 });
  await source.client().set('kept', '1');
  const endpoints = { source: endpointOf(source), target: endpointOf(target) };
  const host = opening.use(await openHostAgent(endpoints.source, endpoints.target));
  await host.start({ kind: 'sync', ...endpoints, flushTarget: false });
  await host.until('sync', ({ progress }) => progress.stage === 'live');
  await host.run({ kind: 'verify', ...endpoints, ...COMPARE });
  const owned = opening.move();
  return { source, target, host, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function cutOver(pair: Pair): Promise<HostJobs> {
  await pair.host.run({ ...cutoverRequest(pair, 'replica'), reverse: true });
  return pair.host.completeWithWayBack();
}

async function goBack(wayBack: HostJobs): Promise<void> {
  await wayBack.run(verifyRequest(wayBack));
  await wayBack.run(backRequest(wayBack));
}

function endpointsOf({ store }: HostJobs) {
  const record = store.readMigration();
  if (record === undefined) throw new Error('there is no way back');
  const { source, target } = record;
  return { source, target };
}

function verifyRequest(wayBack: HostJobs) {
  return { kind: 'verify', ...endpointsOf(wayBack), route: 'scan', ...COMPARE } as const;
}

function backRequest(wayBack: HostJobs) {
  const limits = { maxVerificationAgeMs: 3_600_000, maxWritePauseMs: 30_000 };
  return { kind: 'cutover', ...endpointsOf(wayBack), route: 'scan', ...COMPARE, ...limits } as const;
}

/** Settings and users, as they are given back. */
async function readAsFound(server: RunningServer): Promise<unknown> {
  const client = server.client();
  return { settings: await readSettings(server), users: await client.call('ACL', 'LIST') };
}

/** Writes of every type, with expiry times, deletions and renamed keys. */
async function writeAfterCutover(server: RunningServer, prefix = 'late'): Promise<void> {
  const client = server.client();
  const pipeline = client.pipeline();
  for (let index = 0; index < 500; index++) {
    pipeline.set(`${prefix}:string:${index}`, index, 'PX', 3_600_000 + index);
    pipeline.hset(`${prefix}:hash:${index}`, 'f', index);
    pipeline.sadd(`${prefix}:set:${index}`, 'word', index);
    pipeline.zadd(`${prefix}:zset:${index}`, index / 3, 'member');
    pipeline.rpush(`${prefix}:list:${index}`, 'a', index);
    pipeline.xadd(`${prefix}:stream:${index % 50}`, '*', 'f', index);
  }
  for (let index = 0; index < 100; index++) {
    pipeline.rename(`${prefix}:string:${index}`, `${prefix}:renamed:${index}`);
    pipeline.del(`${prefix}:hash:${index}`);
    pipeline.persist(`${prefix}:string:${index + 100}`);
    pipeline.pexpire(`${prefix}:list:${index}`, 1);
  }
  pipeline.call('XGROUP', 'CREATE', `${prefix}:stream:0`, 'g', '0');
  pipeline.call('XREADGROUP', 'GROUP', 'g', 'one', 'COUNT', '3', 'STREAMS', `${prefix}:stream:0`, '>');
  const replies = z.array(z.tuple([z.unknown(), z.unknown()])).parse(await pipeline.exec());
  expect(replies.filter(([error]) => error !== null)).toEqual([]);
}

/** Kills the cutover as soon as it is seen at the stage, or at a later one. */
async function killAt({ store }: HostJobs, stage: string): Promise<void> {
  const signal = AbortSignal.timeout(30_000);
  for (;;) {
    const state = store.readState('cutover');
    if (state?.status !== 'running') return;
    if (STAGES.indexOf(state.progress.stage) >= STAGES.indexOf(stage)) break;
    await systemClock.sleep(1, signal);
  }
  const pid = store.readProcess('cutover')?.identity.pid;
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
}

async function takesWrites(server: RunningServer): Promise<boolean> {
  try {
    await server.client().del('what is not there');
    return true;
  } catch {
    return false;
  }
}

async function writeUntilRefused(server: RunningServer): Promise<void> {
  const client = server.client();
  const signal = AbortSignal.timeout(30_000);
  for (;;) {
    try {
      await client.set('straggler', '1');
    } catch (error) {
      expect(String(error)).toContain('NOPERM');
      return;
    }
    await systemClock.sleep(5, signal);
  }
}

async function untilValue(server: RunningServer, key: string, value: string): Promise<void> {
  const client = server.client();
  const signal = AbortSignal.timeout(30_000);
  while ((await client.get(key)) !== value) await systemClock.sleep(20, signal);
}
