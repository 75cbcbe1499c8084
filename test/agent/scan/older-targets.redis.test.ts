import { describe, expect, it } from 'vitest';
import { loadDataSet } from '../../servers/data-set.ts';
import { findServer, type RunningServer, startServer } from '../../servers/start.ts';
import { startSync } from '../sync/sync-run.ts';
import { compareDumps, readTypedDump } from '../sync/typed-dump.ts';
import { verifyInScope } from '../verify/scoped-verify.ts';

const KEYS = 3_000;

describe.each([
  { from: { kind: 'valkey', version: '8' }, to: { kind: 'redis', version: '7.0' } },
  { from: { kind: 'valkey', version: '9' }, to: { kind: 'redis', version: '7.0' } },
  { from: { kind: 'valkey', version: '8' }, to: { kind: 'redis', version: '8.0' } },
  { from: { kind: 'valkey', version: '9' }, to: { kind: 'redis', version: '8.0' } },
] as const)('from $from.kind $from.version to $to.kind $to.version', ({ from, to }) => {
  it('writes every value in a form that the older server loads', async () => {
    await using source = await startServer({
      server: await findServer(from),
      config: { 'notify-keyspace-events': 'EA' },
    });
    await using target = await startServer({ server: await findServer(to) });
    const hashFieldTtls = from.version === '9' && to.version === '8.0';
    await loadDataSet(source.client(), { keys: KEYS, seed: 7, hashFieldTtls });
    await fillLarge(source);
    await using sync = await startSync({ source, target, route: 'scan' });
    await sync.until(({ stage }) => stage === 'live');
    await change(source);
    await sync.caughtUp();
    const [atSource, atTarget] = await Promise.all(
      [source, target].map((server) => readTypedDump(server.client(), { isStreamCounted: true })),
    );
    if (atSource === undefined || atTarget === undefined) throw new Error('two servers make two dumps');
    expect(compareDumps(atSource, atTarget)).toEqual([]);
    const report = await verifyInScope('full', { source, target, directory: target.directory });
    expect(report).toMatchObject({ passed: true, differences: { total: 0 } });
  });
});

/** Large enough to go in pieces, and consumers with an activity of their own. */
async function fillLarge(source: RunningServer): Promise<void> {
  const client = source.client();
  const members = Array.from({ length: 30_000 }, (_, index) => `member ${index}`.repeat(4));
  await client.sadd('large set', ...members);
  await client.rpush('large list', ...members);
  for (let index = 0; index < 300; index++) await client.xadd('stream', '*', 'f', index);
  await client.call('XGROUP', 'CREATE', 'stream', 'g', '0');
  await client.call('XREADGROUP', 'GROUP', 'g', 'one', 'COUNT', '7', 'STREAMS', 'stream', '>');
  await client.call('XREADGROUP', 'GROUP', 'g', 'two', 'COUNT', '3', 'STREAMS', 'stream', '>');
}

async function change(source: RunningServer): Promise<void> {
  const pipeline = source.client().pipeline();
  for (let index = 0; index < 200; index++) {
    pipeline.sadd(`words:${index}`, 'some', 'words', index);
    pipeline.sadd(`numbers:${index}`, 1, 2, index);
    pipeline.set(`expiring:${index}`, 'x', 'PX', 3_600_000 + index);
    pipeline.zadd(`scores:${index}`, index / 3, 'member');
  }
  pipeline.xadd('stream', '*', 'f', 'more');
  pipeline.del('large list');
  await pipeline.exec();
}
