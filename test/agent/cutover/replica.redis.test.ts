import { describe, expect, it } from 'vitest';
import { isFenceStanding, setFence } from '../../../src/agent/cutover/fence.ts';
import { runCutover } from '../../../src/agent/cutover/job.ts';
import { runRollback } from '../../../src/agent/cutover/rollback.ts';
import { doubtCutover, isCutoverDoubted, isCutoverProved } from '../../../src/agent/cutover/state.ts';
import { encodeClaim, readClaim } from '../../../src/agent/redis/checkpoint.ts';
import { openClient } from '../../../src/agent/redis/client.ts';
import { EXPIRY_PAD_MS } from '../../../src/agent/redis/expiry-pad.ts';
import { RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import { runSync } from '../../../src/agent/sync/job.ts';
import { readTuningRecord, writeTuningRecord } from '../../../src/agent/tune/record.ts';
import { countTouched } from '../../../src/agent/verify/touched-batches.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { verifyInScope } from '../verify/scoped-verify.ts';
import {
  type CutoverPair,
  cutoverRequest,
  type HeldSiblings,
  heldSiblings,
  passedVerification,
  startWriter,
  syncState,
} from './cutover-pair.ts';
import { accessOf, endpointOf, jobContext, readSettings } from './job-context.ts';

type LivePair = CutoverPair & AsyncDisposable & { readonly siblings: HeldSiblings };

/** Source and target with a real sync between them that is live; it ends when a sibling asks it to stop. */
async function startLivePair(
  sourceConfig: Readonly<Record<string, string | readonly string[]>> = {},
): Promise<LivePair> {
  const stack = new AsyncDisposableStack();
  const config = { 'repl-diskless-sync-delay': '0', ...sourceConfig };
  const source = stack.use(await startServer({ server: await sourceServer(), config }));
  const target = stack.use(await startServer({ server: await targetServer() }));
  await source.client().mset({ a: '1', b: '2', c: '3' });
  const pair = { source, target };
  const siblings = heldSiblings(passedVerification(pair), syncState('running', 'starting'));
  const stopping = new AbortController();
  const context = jobContext({ directory: target.directory, siblings, signal: stopping.signal });
  const sync = runSync(
    { kind: 'sync', source: endpointOf(source), target: endpointOf(target), flushTarget: false },
    { ...context, report: ({ stage }) => siblings.states.set('sync', syncState('running', stage)) },
  ).then(
    () => siblings.states.set('sync', syncState('succeeded', 'ended')),
    () => siblings.states.set('sync', syncState('stopped', 'ended')),
  );
  siblings.onStop = async (kind) => {
    if (kind !== 'sync') return;
    stopping.abort(new Error('stopped'));
    await sync;
  };
  stack.defer(() => siblings.onStop('sync'));
  await untilStage(siblings, 'live');
  return { ...pair, siblings, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function untilStage(siblings: HeldSiblings, stage: string): Promise<void> {
  const signal = AbortSignal.timeout(30_000);
  while (siblings.states.get('sync')?.progress.stage !== stage) await systemClock.sleep(20, signal);
}

const contextOf = ({ source, siblings }: LivePair) => jobContext({ directory: source.directory, siblings });

const claimOf = async ({ target }: CutoverPair) => {
  await using client = await openClient(accessOf('target', target));
  return await readClaim(client);
};

/** A write is refused, or held until the fence is lifted. */
async function expectFenced({ source, siblings }: LivePair): Promise<void> {
  await using client = await openClient(accessOf('source', source));
  expect(await isFenceStanding(client, jobContext({ directory: source.directory, siblings }))).toBe(true);
}

function rollbackRequest({ source, target }: CutoverPair, flushTarget: boolean) {
  const endpoints = { source: endpointOf(source), target: endpointOf(target) };
  return { kind: 'rollback' as const, ...endpoints, route: 'replica' as const, flushTarget };
}

describe('a cutover on the replica route', () => {
  it('ends with a fenced source, no sync, and a target with every acknowledged write and no key of ours', async () => {
    await using pair = await startLivePair();
    const writer = startWriter(pair.source);
    const context = contextOf(pair);
    const report = await runCutover(cutoverRequest(pair, 'replica'), context);
    expect(await writer.refusal).toContain('NOREPLICAS');
    expect(pair.siblings.stopped).toEqual(['sync']);
    expect(await pair.target.client().exists(RESERVED_KEY)).toBe(0);
    expect(writer.acknowledged).toBeGreaterThan(0);
    expect(await pair.target.client().dbsize()).toBe(3 + writer.acknowledged);
    expect(await pair.target.client().exists(`written:${writer.acknowledged}`)).toBe(1);
    expect(report.targetOffset).toBeGreaterThanOrEqual(report.sourceOffset);
    expect(context.stages).toEqual([
      'preparing',
      'fencing',
      'draining',
      'proving',
      'handing-over',
      'settling',
    ]);
    // Once more: it is done, and says the same.
    expect(await runCutover(cutoverRequest(pair, 'replica'), context)).toEqual(report);
  });

  it('proves only what has changed since the full verification, and says what that compared', async () => {
    await using pair = await startLivePair();
    const context = jobContext({ directory: pair.target.directory, siblings: pair.siblings });
    pair.siblings.verification = await verifyInScope('full', { ...pair, directory: context.directory });
    const writer = startWriter(pair.source);
    while (writer.acknowledged < 100) await systemClock.sleep(5, context.signal);
    const { verification } = await runCutover(cutoverRequest(pair, 'replica'), context);
    await writer.refusal;
    expect(verification).toMatchObject({
      scope: 'delta',
      passed: true,
      keysCompared: writer.acknowledged,
      base: { verificationId: pair.siblings.verification?.verificationId, keysCompared: 3 },
    });
    expect(verification.fullReason).toBeUndefined();
  });

  it('compares before the fence what has changed since, when it is much, and ends with exact expiry times', async () => {
    await using pair = await startLivePair();
    const [source, target] = [pair.source.client(), pair.target.client()];
    const write = async (names: readonly string[], seconds: number) => {
      const pipeline = source.pipeline();
      for (const name of names) pipeline.set(name, 'x', 'EX', seconds);
      await pipeline.exec();
    };
    const names = Array.from({ length: 25_000 }, (_, index) => `key:${index}`);
    await write(names.slice(0, 1_000), 5_000);
    // What is still on its way when the verification begins counts as changed since.
    while ((await target.exists('key:999')) === 0) await source.ping();
    const context = jobContext({ directory: pair.target.directory, siblings: pair.siblings });
    pair.siblings.verification = await verifyInScope('full', { ...pair, directory: context.directory });
    await write(names.slice(500), 6_000);
    while (countTouched(context.directory, names.length) < 24_500)
      await systemClock.sleep(20, context.signal);
    // Right after the keys were noted, one gets another time and one loses it.
    const start = pair.siblings.start;
    pair.siblings.start = async (request) => {
      await source.expire('key:0', 7_000);
      await source.persist('key:1');
      await source.del('key:2');
      await start(request);
    };
    const { verification } = await runCutover(cutoverRequest(pair, 'replica'), context);
    expect(context.lines).toContain('Compared 24,500 keys that have changed.');
    expect(verification).toMatchObject({ scope: 'delta', passed: true });
    expect(verification.keysCompared).toBeLessThan(100);
    const read = async (client: typeof source) => {
      const pipeline = client.pipeline();
      for (const name of names) pipeline.pexpiretime(name);
      return (await pipeline.exec())?.map(([, atMs]) => atMs);
    };
    expect(await read(target)).toEqual(await read(source));
    expect(context.lines).toContain('restored the expiry times of 24,998 keys and 0 hash fields');
  });

  it('writes no time that it noted over one that it corrects, where the source tells only the time that is left', async () => {
    await using pair = await startLivePair({ 'rename-command': 'PEXPIRETIME ""' });
    const atMs = Date.now() + 600_000;
    const names = Array.from({ length: 50 }, (_, index) => `key:${index}`);
    const writing = pair.source.client().pipeline();
    for (const name of names) writing.call('SET', name, 'x', 'PXAT', atMs);
    await writing.exec();
    const target = pair.target.client();
    const signal = AbortSignal.timeout(30_000);
    while ((await target.exists(...names)) < names.length) await systemClock.sleep(20, signal);
    // As late as a relative time arrives.
    for (const name of names) await target.pexpireat(name, EXPIRY_PAD_MS + atMs + 300);
    const context = jobContext({ directory: pair.target.directory, siblings: pair.siblings });
    pair.siblings.verification = await verifyInScope('full', { ...pair, directory: context.directory });
    await runCutover(cutoverRequest(pair, 'replica'), context);
    for (const name of names) {
      const foundMs = Number(await target.call('PEXPIRETIME', name));
      expect(Math.abs(foundMs - atMs)).toBeLessThanOrEqual(1);
    }
  });

  it('finds what differs in a key that has changed, and lifts the fence', async () => {
    await using pair = await startLivePair();
    const context = jobContext({ directory: pair.target.directory, siblings: pair.siblings });
    pair.siblings.verification = await verifyInScope('full', { ...pair, directory: context.directory });
    await pair.source.client().set('a', 'new');
    while ((await pair.target.client().get('a')) !== 'new') await systemClock.sleep(5, context.signal);
    await pair.target.client().set('a', 'else');
    await expect(runCutover(cutoverRequest(pair, 'replica'), context)).rejects.toMatchObject({
      code: 'verification-different',
    });
    expect(context.left).toMatchObject([{ verification: { scope: 'delta', differences: { total: 1 } } }]);
    expect(await pair.source.client().set('b', 'free')).toBe('OK');
  });

  it('fences by ACL where CONFIG is renamed away, and gives every user exactly what it had when the proof fails', async () => {
    await using pair = await startLivePair({ 'rename-command': 'CONFIG ""' });
    const source = pair.source.client();
    await source.call('ACL', 'SETUSER', 'shop', 'on', '>pw', '~cart:*', '+@read', '+set');
    const users = await source.call('ACL', 'LIST');
    await pair.target.client().set('stray', '1');
    const cutover = () => runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
    await expect(cutover()).rejects.toMatchObject({ code: 'verification-different' });
    expect(await source.call('ACL', 'LIST')).toEqual(users);

    await pair.target.client().del('stray');
    const writer = startWriter(pair.source);
    const report = await cutover();
    expect(report.fence).toBe('ACL SETUSER -@write for 2 users');
    expect(await writer.refusal).toContain('NOPERM');
    expect(await pair.target.client().exists(`written:${writer.acknowledged}`)).toBe(1);
    expect(await cutover()).toEqual(report);
  });

  it('compares everything when the numbers of keys say that somebody else has written to the target', async () => {
    await using pair = await startLivePair();
    const context = jobContext({ directory: pair.target.directory, siblings: pair.siblings });
    pair.siblings.verification = await verifyInScope('full', { ...pair, directory: context.directory });
    await pair.target.client().set('stray', '1');
    await expect(runCutover(cutoverRequest(pair, 'replica'), context)).rejects.toMatchObject({
      code: 'verification-different',
    });
    expect(context.left).toMatchObject([{ verification: { scope: 'full', differences: { total: 1 } } }]);
    expect(context.lines).toContain(
      'The proof compares all keys: database 0 has 3 keys at the source and 4 at the target.',
    );
  });

  it('takes a delta verification for no younger than the full one that it goes on from', async () => {
    await using pair = await startLivePair();
    const passed = passedVerification(pair);
    const { verificationId, startedAtMs, keysCompared } = passed;
    const base = { verificationId, startedAtMs, finishedAtMs: Date.now() - 7_200_000, keysCompared };
    const cutover = () => runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
    pair.siblings.verification = { ...passed, scope: 'delta', base };
    await expect(cutover()).rejects.toMatchObject({ code: 'verification-stale' });
    pair.siblings.verification = { ...passed, scope: 'delta' };
    await expect(cutover()).rejects.toMatchObject({ code: 'verification-missing' });
  });

  it('goes on with the hand-over, behind the same fence, when it died in it', async () => {
    await using pair = await startLivePair();
    const stop = pair.siblings.onStop;
    pair.siblings.onStop = async () => {
      throw new Error('killed');
    };
    await expect(runCutover(cutoverRequest(pair, 'replica'), contextOf(pair))).rejects.toThrow('killed');
    await expect(pair.source.client().set('a', '2')).rejects.toThrow('NOREPLICAS');
    pair.siblings.onStop = stop;
    pair.siblings.verification = undefined;
    const report = await runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
    expect(report.verification.passed).toBe(true);
    expect(await claimOf(pair)).toBeUndefined();
  });

  it('whose target lost data behind the proof, as by a failover, hands nothing over and lifts the fence', async () => {
    await using pair = await startLivePair();
    const { source, target } = pair;
    const before = await readSettings(source);
    const { onStop } = pair.siblings;
    pair.siblings.onStop = async (kind) => {
      await onStop(kind);
      const claim = await claimOf(pair);
      if (claim?.checkpoint === undefined) throw new Error('there is no checkpoint');
      const checkpoint = { ...claim.checkpoint, offset: claim.checkpoint.offset - 1000 };
      await target.client().set(RESERVED_KEY, encodeClaim({ ...claim, checkpoint }));
    };
    await source.client().set('filler', 'x'.repeat(2000));
    await expect(runCutover(cutoverRequest(pair, 'replica'), contextOf(pair))).rejects.toMatchObject({
      code: 'sync-lost',
    });
    expect(await readSettings(source)).toEqual(before);
    expect(await source.client().set('a', '1')).toBe('OK');
    expect(isCutoverProved(source.directory)).toBe(false);
  });

  const PAUSED_ONLY = { 'rename-command': ['CONFIG ""', 'ACL ""'] };
  const LOSSES: readonly {
    readonly fence: string;
    readonly sourceConfig: Readonly<Record<string, string | readonly string[]>>;
    readonly lose: (pair: LivePair) => Promise<unknown>;
  }[] = [
    {
      fence: 'min-replicas-to-write 1000000',
      sourceConfig: {},
      lose: ({ source }) => source.client().config('SET', 'min-replicas-to-write', '0'),
    },
    {
      fence: 'CLIENT PAUSE WRITE',
      sourceConfig: PAUSED_ONLY,
      lose: ({ source }) => source.client().call('CLIENT', 'UNPAUSE'),
    },
  ];

  it.each(LOSSES)(
    'that lost its fence behind the hand-over, $fence, compares again behind another',
    async (loss) => {
      await using pair = await startLivePair(loss.sourceConfig);
      const first = await runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
      expect(first.fence).toBe(loss.fence);
      await loss.lose(pair);
      const again = await runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
      expect(again).toMatchObject({ fence: loss.fence, verification: { scope: 'full', passed: true } });
      expect(again.fencedAtMs).toBeGreaterThan(first.fencedAtMs);
      await expectFenced(pair);
      // It stands: nothing is compared any more.
      expect(await runCutover(cutoverRequest(pair, 'replica'), contextOf(pair))).toEqual(again);
    },
  );

  it.each(LOSSES)(
    'whose source took writes since, behind a lost $fence, can be given up, or mended',
    async (loss) => {
      await using pair = await startLivePair(loss.sourceConfig);
      const { directory } = pair.source;
      await runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
      await loss.lose(pair);
      await pair.source.client().set('taken', 'since');
      const again = () => runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
      await expect(again()).rejects.toMatchObject({ code: 'fence-lost' });
      expect(await pair.source.client().set('a', '1')).toBe('OK');
      expect([isCutoverProved(directory), isCutoverDoubted(directory)]).toEqual([false, true]);
      // Still, as long as it is not mended.
      await expect(again()).rejects.toMatchObject({ code: 'fence-lost' });
      await pair.target.client().set('taken', 'since');
      expect(await again()).toMatchObject({ verification: { passed: true } });
      await expectFenced(pair);

      await loss.lose(pair);
      await pair.source.client().set('taken', 'again');
      await expect(again()).rejects.toMatchObject({ code: 'fence-lost' });
      await runRollback(rollbackRequest(pair, false), contextOf(pair));
      expect([isCutoverProved(directory), isCutoverDoubted(directory)]).toEqual([false, false]);
      expect(await pair.source.client().set('a', '1')).toBe('OK');
    },
  );

  it('that is killed while it compares again is still in doubt, and a fence that it left proves nothing', async () => {
    await using pair = await startLivePair();
    const request = cutoverRequest(pair, 'replica');
    const report = await runCutover(request, contextOf(pair));
    await pair.source.client().config('SET', 'min-replicas-to-write', '0');
    await pair.source.client().set('taken', 'since');
    doubtCutover(pair.source.directory, request, report);
    await pair.source.client().config('SET', 'min-replicas-to-write', '1000000');
    await expect(runCutover(request, contextOf(pair))).rejects.toMatchObject({ code: 'fence-lost' });
  });

  it('restores the settings of the source that a sync which died had left', async () => {
    await using pair = await startLivePair();
    const before = await readSettings(pair.source);
    const settings = [
      { name: 'repl-backlog-size' as const, before: '1048576', set: '9000000', span: 'sync' as const },
    ];
    writeTuningRecord(pair.source.directory, { source: endpointOf(pair.source), settings });
    await pair.source.client().config('SET', 'repl-backlog-size', '9000000');
    const context = contextOf(pair);
    await runCutover(cutoverRequest(pair, 'replica'), context);
    const fence = { 'min-replicas-to-write': '1000000', 'min-slaves-to-write': '1000000' };
    expect(await readSettings(pair.source)).toEqual({ ...before, ...fence });
    expect(context.lines).toContain('source settings restored: repl-backlog-size');
    expect(readTuningRecord(pair.source.directory)).toBeUndefined();
  });

  it.each([
    ['sync-not-running', undefined],
    ['sync-not-running', syncState('dead', 'live')],
    ['sync-behind', syncState('running', 'copying')],
  ])('is refused as %s when the sync is not live', async (code, sync) => {
    await using pair = await startLivePair();
    const before = await readSettings(pair.source);
    const siblings = heldSiblings(pair.siblings.verification, sync);
    const cutover = runCutover(cutoverRequest(pair, 'replica'), { ...contextOf(pair), siblings });
    await expect(cutover).rejects.toMatchObject({ code });
    expect(await readSettings(pair.source)).toEqual(before);
  });

  it('lifts the fence when the sync ends before the target has drained', async () => {
    await using pair = await startLivePair();
    const before = await readSettings(pair.source);
    await pair.siblings.onStop('sync');
    await pair.source.client().set('late', '1');
    // The state that the cutover saw when it began.
    const live = pair.siblings.states.get('sync');
    let looks = 0;
    const siblings = {
      ...pair.siblings,
      state: async () => (looks++ === 0 ? syncState('running', 'live') : live),
    };
    const cutover = runCutover(cutoverRequest(pair, 'replica'), { ...contextOf(pair), siblings });
    await expect(cutover).rejects.toMatchObject({ code: 'sync-not-running' });
    expect(await readSettings(pair.source)).toEqual(before);
  });

  it('lifts the fence when drain and proof do not fit, and the sync goes on', async () => {
    await using pair = await startLivePair();
    const before = await readSettings(pair.source);
    const request = { ...cutoverRequest(pair, 'replica'), maxWritePauseMs: 1 };
    await expect(runCutover(request, contextOf(pair))).rejects.toMatchObject({
      code: 'write-pause-exceeded',
    });
    expect(await readSettings(pair.source)).toEqual(before);
    expect(pair.siblings.stopped).toEqual([]);
    await pair.source.client().set('after', '1');
    await runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
    expect(await pair.target.client().get('after')).toBe('1');
  });
});

describe('a rollback', () => {
  it.each([
    [true, 0, 'released and emptied'],
    [false, 3, 'released; the keys that were copied are left, with the expiry times that they had'],
  ])('stops the sync and releases the target, flushing: %s', async (flushTarget, keys, outcome) => {
    await using pair = await startLivePair();
    const report = await runRollback(rollbackRequest(pair, flushTarget), contextOf(pair));
    expect(report.steps).toEqual([
      { step: 'stop cutover', outcome: 'was not running' },
      { step: 'stop keeper', outcome: 'was not running' },
      { step: 'stop verify', outcome: 'was not running' },
      { step: 'stop sync', outcome: 'stopped' },
      { step: 'stop preflight', outcome: 'was not running' },
      { step: 'stop backup', outcome: 'was not running' },
      { step: 'stop link', outcome: 'was not running' },
      { step: 'lift fence', outcome: 'there was none' },
      { step: 'restore settings', outcome: 'there were none' },
      { step: 'release target', outcome },
    ]);
    expect(await pair.target.client().dbsize()).toBe(keys);
  });

  it('is refused after the hand-over, and leaves both sides as they are', async () => {
    await using pair = await startLivePair();
    await runCutover(cutoverRequest(pair, 'replica'), contextOf(pair));
    const fenced = await readSettings(pair.source);
    await pair.target.client().set('new', '1');
    await expect(runRollback(rollbackRequest(pair, true), contextOf(pair))).rejects.toMatchObject({
      code: 'migration-completed',
    });
    expect(await pair.target.client().dbsize()).toBe(4);
    expect(await readSettings(pair.source)).toEqual(fenced);
  });

  it('does not call a source restored that a fence without record still holds', async () => {
    await using pair = await startLivePair();
    await pair.source.client().config('SET', 'min-replicas-to-write', '1000000');
    await expect(runRollback(rollbackRequest(pair, false), contextOf(pair))).rejects.toMatchObject({
      code: 'fence-denied',
      remedy: expect.stringContaining('CONFIG SET min-replicas-to-write'),
    });
  });

  it('leaves the target of another migration alone', async () => {
    await using pair = await startLivePair();
    const context = { ...contextOf(pair), migrationId: 'carts' };
    const report = await runRollback(rollbackRequest(pair, true), context);
    expect(report.steps.at(-1)?.outcome).toContain('the migration sessions of example/shop holds it');
    expect(await claimOf(pair)).toMatchObject({ migrationId: 'sessions' });
    expect(await pair.target.client().dbsize()).toBe(4);
  });

  it('restores the source though the target cannot be reached, and says so at the end', async () => {
    await using pair = await startLivePair();
    const before = await readSettings(pair.source);
    await using client = await openClient(accessOf('source', pair.source));
    await setFence(client, contextOf(pair));
    await pair.target.stop();
    await expect(runRollback(rollbackRequest(pair, false), contextOf(pair))).rejects.toMatchObject({
      code: 'target-unreachable',
      message: expect.stringContaining('lift fence: lifted, with the settings as they were found'),
    });
    expect(await readSettings(pair.source)).toEqual(before);
  });
});
