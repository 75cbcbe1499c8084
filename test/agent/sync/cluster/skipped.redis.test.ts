import { expect, it, vi } from 'vitest';
import { startCluster } from '../../../servers/cluster.ts';
import { findServer, startServer, targetServer } from '../../../servers/start.ts';
import { differenceLines, verifyStill } from '../../verify/verify-pair.ts';
import { startSync } from '../sync-run.ts';

// A cluster of several servers beside the source and the sync takes its time on a small machine.
vi.setConfig({ testTimeout: 120_000 });

const VECTOR = Buffer.alloc(4);
VECTOR.writeFloatLE(1);

it('leaves keys of a module out, and does not diverge where commands name them, within a slot and over several', async () => {
  const redis8 = await findServer({ kind: 'redis', version: '8.0' });
  await using source = await startServer({ server: redis8, config: { 'repl-diskless-sync-delay': '0' } });
  await using cluster = await startCluster({ server: await targetServer() });
  const client = source.client();
  const addVector = (key: string) => client.call('VADD', key, 'FP32', VECTOR, 'element', 'NOQUANT');
  const tags = ['{t}', ''];
  for (const tag of tags) {
    for (const name of ['v1', 'v2', 'v3', 'v4', 'v5', 'v6']) await addVector(tag + name);
    for (const name of ['p1', 'p2', 'p3', 'p4', 'p5']) await client.set(tag + name, name, 'PX', 9_000_000);
  }
  await using sync = await startSync({ source, target: cluster });
  const { skipped } = await sync.until(({ stage }) => stage === 'live');
  expect(skipped).toEqual([expect.objectContaining({ reason: 'module vectorset', count: 12 })]);
  for (const tag of tags) {
    await client.rename(`${tag}v1`, `${tag}p1`);
    await client.rename(`${tag}p2`, `${tag}v2`);
    await client.rename(`${tag}v3`, `${tag}fresh`);
    await client.renamenx(`${tag}p3`, `${tag}also fresh`);
    await client.set(`${tag}v4`, 'an ordinary value', 'XX');
    await client.copy(`${tag}p4`, `${tag}v5`, 'REPLACE');
    await client.multi().incr(`${tag}n`).rename(`${tag}v6`, `${tag}p4`).incr(`${tag}n`).exec();
    await addVector(`${tag}new`);
  }
  await sync.caughtUp();
  const report = await verifyStill({ source, target: cluster });
  expect(differenceLines(report)).toEqual([]);
  expect(report.skipped.reduce((sum, { count }) => sum + count, 0)).toBe(2 * 4);
  const ended = await sync.stop();
  expect(ended).toMatchObject({ reconnects: 0 });
  expect(ended.skipped).toContainEqual(expect.objectContaining({ reason: 'module command VADD', count: 2 }));

  await client.rename('{t}new', '{t}v2');
  await client.incr('after');
  await using second = await startSync({ source, target: cluster });
  await second.caughtUp();
  expect(differenceLines(await verifyStill({ source, target: cluster }))).toEqual([]);
  const resumed = await second.stop();
  expect(resumed).toMatchObject({ copiedKeys: 0 });
  expect(resumed.skipped).toContainEqual(
    expect.objectContaining({ reason: 'module command VADD', count: 2 }),
  );
});
