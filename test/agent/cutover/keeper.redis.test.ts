import { expect, it } from 'vitest';
import { setFence } from '../../../src/agent/cutover/fence.ts';
import { runCutover } from '../../../src/agent/cutover/job.ts';
import { runKeeper } from '../../../src/agent/cutover/keeper.ts';
import {
  decideCompletion,
  decideHandOver,
  decideProved,
  grantLease,
  writeCutoverStep,
} from '../../../src/agent/cutover/state.ts';
import { encodeClaim } from '../../../src/agent/redis/checkpoint.ts';
import { openClient } from '../../../src/agent/redis/client.ts';
import { EXPIRY_PAD_MS } from '../../../src/agent/redis/expiry-pad.ts';
import { RESERVED_KEY } from '../../../src/agent/redis/reserved-key.ts';
import type { CutoverReport } from '../../../src/contract/reports.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { sourceServer, startServer, targetServer } from '../../servers/start.ts';
import {
  type CutoverPair,
  cutoverRequest,
  heldSiblings,
  passedVerification,
  syncState,
} from './cutover-pair.ts';
import { accessOf, jobContext, readSettings } from './job-context.ts';

const IN_AN_HOUR_MS = 3_600_000;
const LIMIT_MS = 30_000;

type Scene = CutoverPair &
  AsyncDisposable & {
    readonly context: ReturnType<typeof jobContext>;
    readonly siblings: ReturnType<typeof heldSiblings>;
    /** Of the source, before the fence. */
    readonly settings: Record<string, string>;
  };

/** A fenced source, and a target as a sync leaves it, whose cutover is as it is told. */
async function openScene(cutover: 'running' | 'dead' | 'succeeded'): Promise<Scene> {
  const stack = new AsyncDisposableStack();
  const source = stack.use(await startServer({ server: await sourceServer() }));
  const target = stack.use(await startServer({ server: await targetServer() }));
  const settings = await readSettings(source);
  const siblings = heldSiblings(passedVerification({ source, target }), syncState('running', 'live'));
  siblings.states.set('cutover', { ...syncState(cutover, 'proving'), kind: 'cutover' });
  const context = jobContext({ directory: source.directory, siblings });
  await using client = await openClient(accessOf('source', source));
  await setFence(client, context);
  return { source, target, settings, context, siblings, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function proved(scene: Scene, atMs = Date.now()): CutoverReport {
  return {
    kind: 'cutover',
    route: 'replica',
    fencedAtMs: atMs,
    fence: 'min-replicas-to-write 1000000',
    sourceReplid: 'r',
    sourceOffset: 1,
    targetOffset: 1,
    drainDurationMs: 1,
    proofDurationMs: 1,
    settleDurationMs: 0,
    writePauseMs: 2,
    verification: passedVerification(scene),
  };
}

/** What the host knows when the action has decided and is about to ask for the promotion. */
async function decidedByAction(scene: Scene, leaseUntilMs: number): Promise<string> {
  const { directory } = scene.context;
  const report = { ...proved(scene), route: 'native' as const };
  writeCutoverStep(directory, cutoverRequest(scene, 'native'), { step: 'proved', report });
  grantLease(directory, leaseUntilMs);
  expect(decideProved(directory)).toBe(true);
  return directory;
}

const keep = (scene: Scene, route: 'native' | 'replica') =>
  runKeeper({ kind: 'keeper', cutover: cutoverRequest(scene, route) }, scene.context);

it('the keeper brings a hand-over to its end that was decided before its cutover died', async () => {
  await using scene = await openScene('dead');
  const target = scene.target.client();
  const atMs = Date.now() + IN_AN_HOUR_MS;
  await target.set('key', '1', 'PXAT', EXPIRY_PAD_MS + atMs);
  const owner = { migrationId: 'sessions', repository: 'example/shop', hostId: 'host-1' };
  await target.set(RESERVED_KEY, encodeClaim({ ...owner, state: 'live' }));
  const request = cutoverRequest(scene, 'replica');
  expect(decideHandOver(scene.context.directory, request, proved(scene))).toBe(true);
  expect(await keep(scene, 'replica')).toEqual({ kind: 'keeper', outcome: 'handed-over' });
  expect(scene.siblings.stopped).toEqual(['sync']);
  expect(await target.exists(RESERVED_KEY)).toBe(0);
  expect(await target.pexpiretime('key')).toBe(atMs);
  await expect(scene.source.client().set('late', '1')).rejects.toThrow('NOREPLICAS');
  // Run again, the cutover tells of it.
  expect(await runCutover(request, scene.context)).toMatchObject({ route: 'replica', sourceReplid: 'r' });
});

it('the keeper hands nothing over that the target has lost since, and lifts the fence', async () => {
  await using scene = await openScene('dead');
  const request = cutoverRequest(scene, 'replica');
  // The sync runs, and its claim is gone with everything else.
  expect(decideHandOver(scene.context.directory, request, proved(scene))).toBe(true);
  expect(await keep(scene, 'replica')).toEqual({ kind: 'keeper', outcome: 'lifted' });
  expect(scene.siblings.stopped).toEqual([]);
  expect(await readSettings(scene.source)).toEqual(scene.settings);
});

it('the keeper lifts the fence of a cutover that is gone, and nothing is handed over any more', async () => {
  await using scene = await openScene('dead');
  expect(await keep(scene, 'replica')).toEqual({ kind: 'keeper', outcome: 'lifted' });
  expect(await readSettings(scene.source)).toEqual(scene.settings);
});

it('the keeper ends a cutover that hangs beyond its time before it lifts the fence', async () => {
  await using scene = await openScene('running');
  const cutover = { ...cutoverRequest(scene, 'replica'), maxWritePauseMs: 1 };
  const report = await runKeeper({ kind: 'keeper', cutover }, scene.context);
  expect(report.outcome).toBe('lifted');
  expect(scene.siblings.states.get('cutover')?.status).toBe('dead');
  expect(await readSettings(scene.source)).toEqual(scene.settings);
});

it('the keeper waits for a promotion, then lifts the fence, and the decision comes too late', async () => {
  await using scene = await openScene('succeeded');
  const request = cutoverRequest(scene, 'native');
  const { directory } = scene.context;
  writeCutoverStep(directory, request, { step: 'proved', report: proved(scene) });
  grantLease(directory, Date.now() + 500);
  expect(await keep(scene, 'native')).toEqual({ kind: 'keeper', outcome: 'lifted' });
  expect(decideProved(directory)).toBe(false);
  expect(await readSettings(scene.source)).toEqual(scene.settings);
});

it('the keeper leaves the fence to the promotion that was decided in time', async () => {
  await using scene = await openScene('succeeded');
  const directory = await decidedByAction(scene, Date.now() + IN_AN_HOUR_MS);
  const kept = keep(scene, 'native');
  expect(decideCompletion(directory)).toBe(true);
  expect(await kept).toEqual({ kind: 'keeper', outcome: 'ended' });
  await expect(scene.source.client().set('late', '1')).rejects.toThrow('NOREPLICAS');
});

it('the keeper withdraws a hand-over whose action is gone while the target still follows', async () => {
  await using scene = await openScene('succeeded');
  const directory = await decidedByAction(scene, Date.now() + 500);
  await scene.target.client().replicaof(scene.source.host, scene.source.port);
  expect(await keep(scene, 'native')).toEqual({ kind: 'keeper', outcome: 'lifted' });
  expect(await readSettings(scene.source)).toEqual(scene.settings);
  // The action was only slow: it does not get to mark what is not so.
  expect(decideProved(directory)).toBe(false);
});

it('the keeper and an action that is slow do not both have their way', async () => {
  await using scene = await openScene('succeeded');
  const directory = await decidedByAction(scene, 0);
  await scene.target.client().replicaof(scene.source.host, scene.source.port);
  expect(decideCompletion(directory)).toBe(true);
  expect(await keep(scene, 'native')).toEqual({ kind: 'keeper', outcome: 'ended' });
  await expect(scene.source.client().set('late', '1')).rejects.toThrow('NOREPLICAS');
});

it('the keeper leaves the fence to a target that was promoted, although its action is gone', async () => {
  await using scene = await openScene('succeeded');
  await decidedByAction(scene, 0);
  expect(await keep(scene, 'native')).toEqual({ kind: 'keeper', outcome: 'ended' });
  await expect(scene.source.client().set('late', '1')).rejects.toThrow('NOREPLICAS');
});

it('the keeper keeps the fence as long as it cannot ask the target whether it is promoted', async () => {
  await using scene = await openScene('succeeded');
  await decidedByAction(scene, 0);
  await scene.target.stop();
  const kept = keep(scene, 'native');
  const signal = AbortSignal.timeout(LIMIT_MS);
  while (!scene.context.lines.some((line) => line.includes('is not known'))) {
    await systemClock.sleep(20, signal);
  }
  await expect(scene.source.client().set('late', '1')).rejects.toThrow('NOREPLICAS');
  await scene.target.restart();
  expect(await kept).toEqual({ kind: 'keeper', outcome: 'ended' });
});

it('the keeper watches as long as the cutover runs within its time', async () => {
  await using scene = await openScene('running');
  const kept = keep(scene, 'replica');
  await systemClock.sleep(300, scene.context.signal);
  await expect(scene.source.client().set('late', '1')).rejects.toThrow('NOREPLICAS');
  scene.siblings.states.set('cutover', { ...syncState('dead', 'proving'), kind: 'cutover' });
  expect((await kept).outcome).toBe('lifted');
});
