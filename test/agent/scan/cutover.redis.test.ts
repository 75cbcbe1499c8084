import { expect, it } from 'vitest';
import { runCutover } from '../../../src/agent/cutover/job.ts';
import { runScanSync } from '../../../src/agent/scan/job.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { compareVersions } from '../../servers/server-binary.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { cutoverRequest, type HeldSiblings, heldSiblings, syncState } from '../cutover/cutover-pair.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';
import { verifyInScope } from '../verify/scoped-verify.ts';
import { expectSame } from './expect-same.ts';

const KEYS = 5_000;
const PENDING = ['1-1', '1-2', '1-3'];

it('compares in full, then what has changed, and cuts over beside writers and consumers of streams', async () => {
  await using pair = await startLivePair();
  const { source, target, siblings } = pair;
  const place = { source, target, directory: target.directory };
  const full = await verifyInScope('full', place);
  expect(full).toMatchObject({ scope: 'full', differences: { total: 0 } });
  siblings.verification = full;
  await source.client().mset('key:1', 'changed', 'key:new', '1');
  const delta = await verifyInScope('delta', place);
  expect(delta).toMatchObject({ scope: 'delta', differences: { total: 0 } });
  expect(delta.keysCompared).toBeLessThan(100);
  const users = [startWriter(source), startConsumer(source)];
  const context = jobContext({ directory: target.directory, siblings });
  const report = await runCutover(cutoverRequest(pair, 'scan'), context);
  for (const refusal of await Promise.all(users)) expect(refusal).toContain('NOREPLICAS');
  expect(report).toMatchObject({
    route: 'scan',
    verification: { scope: isExpiryTold(source) ? 'delta' : 'full', differences: { total: 0 } },
  });
  expect(siblings.stopped).toContain('sync');
  await expectSame(source, target);
  expect(await target.client().exists('__valkey-migrate__')).toBe(0);
  expect(await target.client().ttl('expiring')).toBeGreaterThan(3_000);
});

it('mends behind the fence what no event has told of', async () => {
  await using pair = await startLivePair();
  const { source, target, siblings } = pair;
  siblings.verification = await verifyInScope('full', { source, target, directory: target.directory });
  // Another consumer takes the entries over, which no count shows.
  await source.client().call('XCLAIM', 'stream', 'g', 'two', '0', ...PENDING);
  const context = jobContext({ directory: target.directory, siblings });
  const report = await runCutover(cutoverRequest(pair, 'scan'), context);
  expect(report.verification.differences.total).toBe(0);
  await expectSame(source, target);
});

/** Before Redis 7.0 a proof compares all keys, for their expiry times. */
function isExpiryTold({ server: { kind, version } }: RunningServer): boolean {
  return kind === 'valkey' || compareVersions(version, '7.0.0') >= 0;
}

type LivePair = AsyncDisposable & {
  readonly source: RunningServer;
  readonly target: RunningServer;
  readonly siblings: HeldSiblings;
};

/** A source that is scanned and a target with all that it has; the sync ends when a sibling asks it to. */
async function startLivePair(): Promise<LivePair> {
  const stack = new AsyncDisposableStack();
  const config = { 'notify-keyspace-events': 'EA' };
  const source = stack.use(await startServer({ server: await sourceServer(), config }));
  const target = stack.use(await startServer({ server: await targetServer() }));
  await fill(source);
  const pair = { source, target };
  const siblings = heldSiblings(undefined, syncState('running', 'starting'));
  const stopping = new AbortController();
  const context = jobContext({ directory: target.directory, siblings, signal: stopping.signal });
  const endpoints = { source: endpointOf(source), target: endpointOf(target) };
  const sync = runScanSync(
    { kind: 'sync', ...endpoints, route: 'scan', flushTarget: false },
    { ...context, report: ({ stage }) => siblings.states.set('sync', syncState('running', stage)) },
  ).finally(() => siblings.states.set('sync', syncState('stopped', 'ended')));
  sync.catch(() => {});
  siblings.onStop = async (kind) => {
    if (kind !== 'sync') return;
    stopping.abort(new Error('stopped'));
    await sync;
  };
  stack.defer(() => siblings.onStop('sync').catch(() => {}));
  const signal = AbortSignal.timeout(30_000);
  while (siblings.states.get('sync')?.progress.stage !== 'live') await systemClock.sleep(20, signal);
  return { ...pair, siblings, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function fill(source: RunningServer): Promise<void> {
  const pipeline = source.client().pipeline();
  for (let index = 0; index < KEYS; index++) pipeline.hset(`key:${index}`, 'f', index);
  for (const id of PENDING) pipeline.xadd('stream', id, 'f', '1');
  for (let index = 0; index < 100; index++) pipeline.xadd('stream', '*', 'f', index);
  pipeline.call('XGROUP', 'CREATE', 'stream', 'g', '0');
  for (const name of ['one', 'two']) pipeline.call('XGROUP', 'CREATECONSUMER', 'stream', 'g', name);
  pipeline.call('XREADGROUP', 'GROUP', 'g', 'one', 'COUNT', PENDING.length, 'STREAMS', 'stream', '>');
  pipeline.set('expiring', '1', 'EX', 3600);
  await pipeline.exec();
}

/** Writes until it is refused; resolves with the refusal. */
async function startWriter(source: RunningServer): Promise<string> {
  const client = source.client();
  for (let round = 0; ; round++) {
    try {
      await client.hset(`live:${round % 500}`, 'round', round);
    } catch (error) {
      return String(error);
    }
  }
}

async function startConsumer(source: RunningServer): Promise<string> {
  const client = source.client();
  for (;;) {
    try {
      await client.xadd('stream', '*', 'f', '1');
      const read = await client.call(
        'XREADGROUP',
        'GROUP',
        'g',
        'one',
        'COUNT',
        '2',
        'STREAMS',
        'stream',
        '>',
      );
      const [id = '0-0'] = JSON.stringify(read).match(/\d+-\d+/) ?? [];
      await client.xack('stream', 'g', id);
    } catch (error) {
      return String(error);
    }
  }
}
