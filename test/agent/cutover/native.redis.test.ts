import { describe, expect, it } from 'vitest';
import { isFenceStanding, setFence } from '../../../src/agent/cutover/fence.ts';
import { runCutover } from '../../../src/agent/cutover/job.ts';
import { runRollback } from '../../../src/agent/cutover/rollback.ts';
import { writeCutoverStep } from '../../../src/agent/cutover/state.ts';
import { runUnfence } from '../../../src/agent/cutover/unfence.ts';
import { openClient } from '../../../src/agent/redis/client.ts';
import type { Skipped } from '../../../src/contract/skipped.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { findServer, startServer, targetServer } from '../../servers/start.ts';
import {
  type CutoverPair,
  cutoverRequest,
  heldSiblings,
  passedVerification,
  startWriter,
  untilInfo,
} from './cutover-pair.ts';
import { accessOf, endpointOf, jobContext, readSettings } from './job-context.ts';

const clock = systemClock;

/** A source of an RDB version that the target loads, and the target as its native replica, as ElastiCache makes it. */
async function startNativePair(): Promise<CutoverPair & AsyncDisposable> {
  const stack = new AsyncDisposableStack();
  const source = stack.use(
    await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) }),
  );
  await source.client().mset({ a: '1', b: '2', c: '3' });
  await source.client().config('SET', 'repl-diskless-sync-delay', '0');
  const config = { replicaof: `127.0.0.1 ${source.port}` };
  const target = stack.use(await startServer({ server: await targetServer(), config }));
  await untilInfo(target, 'master_link_status:up');
  return { source, target, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function contextOf(pair: CutoverPair, signal?: AbortSignal) {
  const siblings = heldSiblings(passedVerification(pair));
  return jobContext({ directory: pair.source.directory, siblings, ...(signal ? { signal } : {}) });
}

describe('a cutover on the native route', () => {
  it('ends with a fenced source, and a target that has every acknowledged write', async () => {
    await using pair = await startNativePair();
    const writer = startWriter(pair.source);
    const report = await runCutover(cutoverRequest(pair, 'native'), contextOf(pair));
    expect(await writer.refusal).toContain('NOREPLICAS');
    expect(writer.acknowledged).toBeGreaterThan(0);
    expect(await pair.target.client().exists(`written:${writer.acknowledged}`)).toBe(1);
    expect(await pair.target.client().dbsize()).toBe(3 + writer.acknowledged);
    expect(report.targetOffset).toBeGreaterThanOrEqual(report.sourceOffset);
    expect(report.writePauseMs).toBe(report.drainDurationMs + report.proofDurationMs);
    expect(report.settleDurationMs).toBe(0);
    expect(report.verification).toMatchObject({ scope: 'full', passed: true, differences: { total: 0 } });
    expect(report.verification.keysCompared).toBe(3 + writer.acknowledged);
  });

  it('gives the same report when it is run again behind the same fence', async () => {
    await using pair = await startNativePair();
    const first = await runCutover(cutoverRequest(pair, 'native'), contextOf(pair));
    expect(await runCutover(cutoverRequest(pair, 'native'), contextOf(pair))).toEqual(first);
  });

  it('proves anew when the source lost its fence by a restart', async () => {
    await using pair = await startNativePair();
    const first = await runCutover(cutoverRequest(pair, 'native'), contextOf(pair));
    await pair.source.restart();
    await pair.source.client().mset({ a: '1', b: '2', c: '3', late: '4' });
    await untilInfo(pair.target, 'master_link_status:up');
    const second = await runCutover(cutoverRequest(pair, 'native'), contextOf(pair));
    expect(second.fencedAtMs).toBeGreaterThan(first.fencedAtMs);
    expect(await pair.target.client().get('late')).toBe('4');
    await expect(pair.source.client().set('a', '1')).rejects.toThrow('NOREPLICAS');
  });

  it('is begun anew after a refused promotion, for which the source takes writes again', async () => {
    await using pair = await startNativePair();
    const before = await readSettings(pair.source);
    await runCutover(cutoverRequest(pair, 'native'), contextOf(pair));
    const unfenced = await runUnfence({ kind: 'unfence', source: endpointOf(pair.source) }, contextOf(pair));
    expect(unfenced.lifted).toBe(true);
    expect(await readSettings(pair.source)).toEqual(before);
    await pair.source.client().set('late', '1');
    const siblings = heldSiblings(undefined);
    const again = runCutover(cutoverRequest(pair, 'native'), { ...contextOf(pair), siblings });
    await expect(again).rejects.toMatchObject({ code: 'verification-missing' });
  });

  it('starts over after a death between fence and proof, and can be rolled back to the settings before', async () => {
    await using pair = await startNativePair();
    const before = await readSettings(pair.source);
    const request = cutoverRequest(pair, 'native');
    {
      await using client = await openClient(accessOf('source', pair.source));
      await setFence(client, { directory: pair.source.directory, clock });
      writeCutoverStep(pair.source.directory, request, { step: 'draining' });
    }
    const report = await runCutover(request, contextOf(pair));
    expect(report.verification.passed).toBe(true);
    const { source, target } = request;
    await runRollback(
      { kind: 'rollback', source, target, route: 'native', flushTarget: false },
      contextOf(pair),
    );
    expect(await readSettings(pair.source)).toEqual(before);
  });

  it('is refused, and the source untouched, while the target does not replicate', async () => {
    await using pair = await startNativePair();
    await pair.target.client().replicaof('NO', 'ONE');
    const before = await readSettings(pair.source);
    await expect(runCutover(cutoverRequest(pair, 'native'), contextOf(pair))).rejects.toMatchObject({
      code: 'sync-not-running',
    });
    expect(await readSettings(pair.source)).toEqual(before);
  });

  it.each([
    ['verification-missing', 'there is none', undefined],
    ['verification-missing', 'it is of another migration', { migrationId: 'carts' }],
    ['verification-missing', 'it is of another target', { targetAddress: '127.0.0.1:1' }],
    ['verification-missing', 'it is no full one', { scope: 'delta' as const }],
    ['verification-different', 'it did not pass', { passed: false }],
    ['data-skipped', 'it skipped keys of a module', { skipped: [skippedKeys('module vectorset')] }],
    ['verification-stale', 'it is two hours old', { finishedAtMs: Date.now() - 7_200_000 }],
  ])('is refused as %s when the verification is not good enough: %s', async (code, _, change) => {
    await using pair = await startNativePair();
    const before = await readSettings(pair.source);
    const context = contextOf(pair);
    const siblings = heldSiblings(change && { ...passedVerification(pair), ...change });
    await expect(runCutover(cutoverRequest(pair, 'native'), { ...context, siblings })).rejects.toMatchObject({
      code,
    });
    expect(await readSettings(pair.source)).toEqual(before);
  });

  it('goes on without what somebody has agreed to lose', async () => {
    const skipped = [skippedKeys('module vectorset'), skippedKeys('hash-field-ttl')];
    for (const [allowSkipped, rows] of [
      [true, skipped],
      [false, skipped.slice(1)],
    ] as const) {
      await using pair = await startNativePair();
      const siblings = heldSiblings({ ...passedVerification(pair), skipped: rows });
      const request = { ...cutoverRequest(pair, 'native'), allowSkipped };
      const report = await runCutover(request, { ...contextOf(pair), siblings });
      expect(report.verification.passed).toBe(true);
    }
  });

  it('lifts the fence when the proof finds a difference', async () => {
    await using pair = await startNativePair();
    await pair.target.client().config('SET', 'replica-read-only', 'no');
    await pair.target.client().set('stray', '1');
    const before = await readSettings(pair.source);
    await expect(runCutover(cutoverRequest(pair, 'native'), contextOf(pair))).rejects.toMatchObject({
      code: 'verification-different',
      message: expect.stringContaining('1 differences were found (extra 1)'),
    });
    expect(await readSettings(pair.source)).toEqual(before);
    expect(await pair.source.client().set('a', '2')).toBe('OK');
  });

  it('lifts the fence when the target falls silent, and says what was measured', async () => {
    await using pair = await startNativePair();
    const before = await readSettings(pair.source);
    const context = contextOf(pair);
    // The budget is real time, long enough for the way to the proof; the target falls silent at its beginning.
    const silent = {
      ...context,
      report: (progress: Parameters<typeof context.report>[0]) => {
        context.report(progress);
        if (progress.stage === 'proving') process.kill(pair.target.pid, 'SIGSTOP');
      },
    };
    const request = { ...cutoverRequest(pair, 'native'), maxWritePauseMs: 3000 };
    await expect(runCutover(request, silent)).rejects.toMatchObject({
      code: 'write-pause-exceeded',
      message: expect.stringMatching(
        /^Writes may be fenced for 3\.0 s: the drain took .*proof was not done after/,
      ),
    });
    process.kill(pair.target.pid, 'SIGCONT');
    expect(await readSettings(pair.source)).toEqual(before);
    expect(context.stages).toEqual(['fencing', 'draining', 'proving']);
  });

  it('lifts the fence when it is stopped', async () => {
    await using pair = await startNativePair();
    const before = await readSettings(pair.source);
    const stopping = new AbortController();
    const context = contextOf(pair, stopping.signal);
    const stopped = {
      ...context,
      report: (progress: Parameters<typeof context.report>[0]) => {
        if (progress.stage === 'proving') stopping.abort(new Error('stopped by the test'));
      },
    };
    await expect(runCutover(cutoverRequest(pair, 'native'), stopped)).rejects.toThrow('stopped by the test');
    expect(await readSettings(pair.source)).toEqual(before);
  });

  it('leaves a record of the fence when it cannot be lifted, and rollback lifts it then', async () => {
    await using pair = await startNativePair();
    const before = await readSettings(pair.source);
    const context = contextOf(pair);
    const admin = pair.source.client();
    await admin.call('ACL', 'SETUSER', 'mover', 'on', '>pw', '~*', '&*', '+@all');
    const request = {
      ...cutoverRequest(pair, 'native'),
      source: {
        ...endpointOf(pair.source),
        username: 'mover',
        password: { from: 'env' as const, name: 'pw' },
      },
    };
    const denying = {
      ...context,
      report: ({ stage }: Parameters<typeof context.report>[0]) => {
        if (stage === 'proving') admin.call('ACL', 'SETUSER', 'mover', '-config');
      },
    };
    await pair.target.client().config('SET', 'replica-read-only', 'no');
    await pair.target.client().set('stray', '1');
    await expect(runCutover(request, denying)).rejects.toMatchObject({
      code: 'fence-denied',
      message: expect.stringMatching(/could not be lifted .*after: .*differences/),
    });
    await admin.call('ACL', 'SETUSER', 'mover', '+config');
    await using client = await openClient(accessOf('source', pair.source));
    expect(await isFenceStanding(client, { directory: pair.source.directory, clock })).toBe(true);
    const { source, target } = request;
    await runRollback({ kind: 'rollback', source, target, route: 'native', flushTarget: false }, context);
    expect(await readSettings(pair.source)).toEqual(before);
  });
});

function skippedKeys(reason: string): Skipped {
  return { what: 'keys', reason, count: 1, sample: ['db0 v'] };
}
