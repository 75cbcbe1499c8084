import { expect, it, vi } from 'vitest';
import { EXPIRY_PAD_MS } from '../../../src/agent/redis/expiry-pad.ts';
import { startCluster } from '../../servers/cluster.ts';
import { findServer, startServer } from '../../servers/start.ts';
import { readClusterDump } from './cluster/cluster-dump.ts';
import { startSync } from './sync-run.ts';
import { compareDumps, readTypedDump } from './typed-dump.ts';

vi.setConfig({ testTimeout: 120_000 });

/** Longer than what is written at once, and than what is held in memory of a command that is translated. */
const LARGE = Buffer.alloc(3_000_000, 'large');
const EXPIRES_AT_MS = 4_000_000_000_000;

const startOldTarget = async () =>
  startServer({ server: await findServer({ kind: 'valkey', version: '8.1' }) });
const startOldCluster = async () =>
  startCluster({ server: await findServer({ kind: 'valkey', version: '8.1' }) });

it.each([
  { name: 'a Valkey 8', start: startOldTarget },
  { name: 'a cluster of Valkey 8', start: startOldCluster },
])('MSETEX of a Valkey 9 reaches $name, which does not know it', async ({ start }) => {
  await using source = await startServer({
    server: await findServer({ kind: 'valkey', version: 'newest' }),
    config: { 'repl-diskless-sync-delay': '0' },
  });
  await using target = await start();
  const client = source.client();
  await client.set('kept', 'before', 'PXAT', EXPIRES_AT_MS);
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'live');

  const set = (...args: (string | number | Buffer)[]) => client.call('MSETEX', ...args);
  expect(await set(3, 'a', '1', 'b', '2', 'c', '3', 'PXAT', EXPIRES_AT_MS)).toBe(1);
  expect(await set(2, 'kept', 'after', 'never', 'expires', 'KEEPTTL')).toBe(1);
  expect(await set(2, '{slot}a', LARGE, '{slot}b', 'small', 'NX', 'EX', 5_000)).toBe(1);
  expect(await set(2, 'a', '4', 'nobody', '5', 'XX')).toBe(0);
  expect(await set(2, 'twice', '1', 'twice', '2', 'EX', 5_000)).toBe(1);
  await client.multi().set('x', '1').call('MSETEX', 2, 'x', '2', 'y', '3').append('x', '4').exec();
  await sync.caughtUp();

  const dump = 'primaries' in target ? readClusterDump(target.primaries) : readTypedDump(target.client());
  expect(compareDumps(await readTypedDump(client), await dump)).toEqual([]);
  const reader = target.client();
  for (const key of ['a', 'b', 'c', 'kept'])
    expect(await reader.call('PEXPIRETIME', key)).toBe(EXPIRES_AT_MS + EXPIRY_PAD_MS);
  expect(await reader.pttl('never')).toBe(-1);
  expect(await sync.stop()).toMatchObject({ reconnects: 0, skipped: [] });
});
