import { describe, expect, it } from 'vitest';
import { runCutover } from '../../../src/agent/cutover/job.ts';
import { runRollback } from '../../../src/agent/cutover/rollback.ts';
import { settleTarget } from '../../../src/agent/cutover/settle.ts';
import { type Claim, encodeClaim, readClaim } from '../../../src/agent/redis/checkpoint.ts';
import { openPrimaries } from '../../../src/agent/redis/cluster/primaries.ts';
import { EXPIRY_PAD_MS, isPadded } from '../../../src/agent/redis/expiry-pad.ts';
import { checkpointKey, RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import { type RunningCluster, startCluster } from '../../servers/cluster.ts';
import { loadDataSet } from '../../servers/data-set.ts';
import {
  findServer,
  type RunningServer,
  sourceServer,
  startServer,
  targetServer,
} from '../../servers/start.ts';
import { readClusterDump } from '../sync/cluster/cluster-dump.ts';
import { countAcknowledged, startClusterWriters } from '../sync/cluster/cluster-writers.ts';
import { startSync } from '../sync/sync-run.ts';
import { compareDumps, readTypedDump } from '../sync/typed-dump.ts';
import { cutoverRequest, heldSiblings, passedVerification, startWriter, syncState } from './cutover-pair.ts';
import { accessOf, endpointOf, jobContext, readSettings } from './job-context.ts';

type Pair = AsyncDisposable & { readonly source: RunningServer; readonly target: RunningCluster };

const KEYS = 300;
const IN_AN_HOUR_MS = 3_600_000;
const LIBRARY = "#!lua name=shop\nredis.register_function('one', function() return 1 end)";
const OWN = { migrationId: 'sessions', repository: 'example/shop', hostId: 'host-1' };

/** A source and a cluster with the same data, as a sync leaves it: padded, claimed, a checkpoint on every primary. */
async function startPair(options: { sourceConfig?: Record<string, string> } = {}): Promise<Pair> {
  const stack = new AsyncDisposableStack();
  const config = options.sourceConfig ?? {};
  const source = stack.use(await startServer({ server: await sourceServer(), config }));
  const target = stack.use(await startCluster({ server: await targetServer() }));
  const [from, to] = [source.client(), target.client()];
  const atMs = Date.now() + IN_AN_HOUR_MS;
  for (let index = 0; index < KEYS; index++) {
    await from.call('SET', `key:${index}`, 'value', 'PXAT', atMs + index);
    await to.set(`key:${index}`, 'value');
    await to.pexpireat(`key:${index}`, EXPIRY_PAD_MS + atMs + index);
  }
  for (const server of [source, ...target.primaries]) await server.client().call('FUNCTION', 'LOAD', LIBRARY);
  await to.set(checkpointKey(0), 'offset');
  await to.set(checkpointKey(12_000), 'offset');
  await commit({ source, target });
  return { source, target, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Writes the claim of a sync that has committed all that the source has. */
async function commit({ source, target }: Pick<Pair, 'source' | 'target'>): Promise<void> {
  const info = await source.client().info('replication');
  const replid = /master_replid:(\w+)/.exec(info)?.[1] ?? '';
  // Room for what the source writes by itself, such as PINGs.
  const offset = Number(/master_repl_offset:(\d+)/.exec(info)?.[1]) + 1_000_000;
  const claim: Claim = { ...OWN, state: 'live', checkpoint: { replid, offset, db: 0 } };
  await target.client().set(RESERVED_KEY, encodeClaim(claim));
}

function liveContext(pair: Pair) {
  const siblings = heldSiblings(passedVerification(pair), syncState('running', 'live'));
  return { ...jobContext({ directory: pair.source.directory, siblings }), siblings };
}

async function keysOf({ target }: Pick<Pair, 'target'>): Promise<number> {
  const sizes = await Promise.all(target.primaries.map((primary) => primary.client().dbsize()));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Announces that a slot of the first primary will go to the second, and returns that one. */
async function beginMove({ primaries }: RunningCluster, slot: number): Promise<RunningServer> {
  const [first, second] = primaries;
  if (first === undefined || second === undefined) throw new Error('the cluster has too few primaries');
  const firstId = String(await first.client().call('CLUSTER', 'MYID'));
  const secondId = String(await second.client().call('CLUSTER', 'MYID'));
  await second.client().call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', firstId);
  await first.client().call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', secondId);
  return second;
}

/** The keys whose expiry time is not the source's to the millisecond. */
async function inexact({ source, target }: Pair): Promise<string[]> {
  const [from, to] = [source.client(), target.client()];
  const wrong: string[] = [];
  for (let index = 0; index < KEYS; index++) {
    const key = `key:${index}`;
    if ((await from.pexpiretime(key)) !== (await to.pexpiretime(key))) wrong.push(key);
  }
  return wrong;
}

describe('a cutover to a cluster', () => {
  it('ends with exact expiry times on every primary and no key of ours', async () => {
    await using pair = await startPair();
    const report = await runCutover(cutoverRequest(pair, 'replica'), liveContext(pair));
    expect(report.verification).toMatchObject({ passed: true, keysCompared: KEYS });
    expect(await keysOf(pair)).toBe(KEYS);
    expect(await inexact(pair)).toEqual([]);
    await expect(pair.source.client().set('late', '1')).rejects.toThrow('NOREPLICAS');
    expect(await runCutover(cutoverRequest(pair, 'replica'), liveContext(pair))).toEqual(report);
  });

  it('goes on with the hand-over behind the same fence, when it died in it', async () => {
    await using pair = await startPair();
    const context = liveContext(pair);
    context.siblings.onStop = async () => {
      throw new Error('killed');
    };
    await expect(runCutover(cutoverRequest(pair, 'replica'), context)).rejects.toThrow('killed');
    await expect(pair.source.client().set('late', '1')).rejects.toThrow('NOREPLICAS');
    // It may also have died between the keys of ours on different primaries.
    await pair.target.client().del(checkpointKey(0));
    await pair.target.client().pexpireat('key:0', await pair.source.client().pexpiretime('key:0'));
    const report = await runCutover(cutoverRequest(pair, 'replica'), liveContext(pair));
    expect(report.verification.passed).toBe(true);
    expect(await inexact(pair)).toEqual([]);
    expect(await keysOf(pair)).toBe(KEYS);
  });

  it('corrects the times of a source that tells only what is left of them', async () => {
    await using pair = await startPair({ sourceConfig: { 'rename-command': 'PEXPIRETIME ""' } });
    const target = pair.target.client();
    const exact = Number(await target.pexpiretime('key:1'));
    for (let index = 0; index < KEYS; index++) {
      await target.pexpireat(`key:${index}`, exact - 1 + index + 5000);
    }
    const request = { ...cutoverRequest(pair, 'replica'), ttlToleranceMs: 1 };
    const report = await runCutover(request, liveContext(pair));
    expect(report.verification.differences.listed).toEqual([]);
    const wrong: number[] = [];
    for (let index = 0; index < KEYS; index++) {
      const atMs = await target.pexpiretime(`key:${index}`);
      if (Math.abs(atMs - (exact - EXPIRY_PAD_MS - 1 + index)) > 1) wrong.push(index);
    }
    expect(wrong).toEqual([]);
  });

  it('lifts the fence while a slot is being moved, and succeeds when it is over', async () => {
    await using pair = await startPair();
    const before = await readSettings(pair.source);
    const context = liveContext(pair);
    const to = await beginMove(pair.target, 1);
    await expect(runCutover(cutoverRequest(pair, 'replica'), context)).rejects.toMatchObject({
      code: 'target-slots-moved',
    });
    expect(await readSettings(pair.source)).toEqual(before);
    expect(context.siblings.stopped).toEqual([]);
    expect(isPadded(await pair.target.client().pexpiretime('key:0'))).toBe(true);

    await pair.target.moveSlot(1, to);
    await commit(pair);
    await runCutover(cutoverRequest(pair, 'replica'), context);
    expect(await inexact(pair)).toEqual([]);
    expect(await keysOf(pair)).toBe(KEYS);
  });
});

describe('a cutover from a live sync', () => {
  it('ends with every acknowledged write, on whatever primary it belongs', async () => {
    await using source = await startServer({
      server: await sourceServer(),
      config: { 'repl-diskless-sync-delay': '0' },
    });
    await using target = await startCluster({ server: await targetServer() });
    await loadDataSet(source.client(), { keys: 500, seed: 21, databases: [0] });
    await using sync = await startSync({
      source,
      target,
      repository: OWN.repository,
      migrationId: OWN.migrationId,
    });
    await sync.until(({ stage }) => stage === 'live');
    const across = startClusterWriters(source, { version: '7.2' });
    await across.rounds(50);
    const acknowledged = await across.stop();
    const writer = startWriter(source);
    const pair = { source, target };
    const siblings = heldSiblings(passedVerification(pair), syncState('running', 'live'));
    siblings.onStop = async () => {
      await sync.stop();
    };
    const context = jobContext({ directory: source.directory, siblings });
    const report = await runCutover(cutoverRequest(pair, 'replica'), context);
    expect(await writer.refusal).toContain('NOREPLICAS');
    expect(report.verification.differences.listed).toEqual([]);
    expect(report.verification.keysCompared).toBeGreaterThan(500 + writer.acknowledged);
    expect(await keysOf(pair)).toBe(await source.client().dbsize());
    expect(await target.client().exists(`written:${writer.acknowledged}`)).toBe(1);
    const client = target.client();
    expect(await countAcknowledged((command, key) => client.call(command, key))).toEqual(acknowledged);
    const dumps = [await readTypedDump(source.client()), await readClusterDump(target.primaries)] as const;
    expect(compareDumps(...dumps)).toEqual([]);
  });
});

describe('a target whose sync is over', () => {
  it('is settled once more as long as a slot is being moved', async () => {
    await using pair = await startPair();
    const to = await beginMove(pair.target, 5);
    await using primaries = await openPrimaries(accessOf('target', pair.target));
    const claim = await readClaim(primaries.home);
    if (claim === undefined) throw new Error('the target has no claim');
    const context = jobContext({ directory: pair.source.directory });
    const settling = settleTarget(primaries, claim, context);
    await pair.target.moveSlot(5, to);
    await settling;
    expect(await inexact(pair)).toEqual([]);
  });

  it('has the exact times of hash fields on every primary', async () => {
    const server = await findServer({ kind: 'valkey', version: '9' });
    await using target = await startCluster({ server });
    await using source = await startServer({ server });
    const client = target.client();
    const atMs = Date.now() + IN_AN_HOUR_MS;
    for (let index = 0; index < 50; index++) {
      await client.hset(`hash:${index}`, 'a', '1', 'b', '2');
      await client.call('HPEXPIREAT', `hash:${index}`, EXPIRY_PAD_MS + atMs + index, 'FIELDS', 1, 'a');
    }
    await commit({ source, target });
    await using primaries = await openPrimaries(accessOf('target', target));
    const claim = await readClaim(primaries.home);
    if (claim === undefined) throw new Error('the target has no claim');
    await settleTarget(primaries, claim, jobContext({ directory: source.directory }));
    for (let index = 0; index < 50; index++) {
      const times = await client.call('HPEXPIRETIME', `hash:${index}`, 'FIELDS', 2, 'a', 'b');
      expect(times).toEqual([atMs + index, -1]);
    }
  });
});

describe('a rollback from a cluster', () => {
  const outcomes = [
    [true, 0, 'released and emptied'],
    [false, KEYS, 'released; the keys that were copied are left, with the expiry times that they had'],
  ] as const;

  it.each(outcomes)('releases every primary, flushing: %s', async (flushTarget, keys, outcome) => {
    await using pair = await startPair();
    const endpoints = { source: endpointOf(pair.source), target: endpointOf(pair.target) };
    const request = { kind: 'rollback', ...endpoints, route: 'replica', flushTarget } as const;
    const report = await runRollback(request, liveContext(pair));
    expect(report.steps.at(-1)).toEqual({ step: 'release target', outcome });
    expect(await keysOf(pair)).toBe(keys);
    if (!flushTarget) expect(await inexact(pair)).toEqual([]);
    const libraries = await Promise.all(
      pair.target.primaries.map((primary) => primary.client().call('FUNCTION', 'LIST')),
    );
    expect(libraries.flat()).toHaveLength(flushTarget ? 0 : 3);
  });
});
