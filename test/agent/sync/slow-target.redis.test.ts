import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { systemClock } from '../../../src/core/clock.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { startSync } from './sync-run.ts';
import { compareDumps, readTypedDump } from './typed-dump.ts';

const REPL_TIMEOUT_S = 3;
/** Longer than the source bears a replica that takes nothing, shorter than the sync bears a silent target. */
const FREEZE_MS = 1.5 * REPL_TIMEOUT_S * 1000;
const VALUE = Buffer.alloc(50_000, 'incompressible?'.repeat(7));
const VALUES = 1_200;

it('drains the source while the target is frozen in the copy and in the stream, and loses nothing', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  const client = source.client();
  await writeValues(client, 'copied');
  const thaw = () => process.kill(target.pid, 'SIGCONT');
  await using sync = await startSync({ source, target });
  await sync.until(({ stage }) => stage === 'copying');
  process.kill(target.pid, 'SIGSTOP');
  try {
    await sync.until((progress) => isSpooling(progress) && progress.bottleneck === 'target');
    await sleep(FREEZE_MS);
  } finally {
    thaw();
  }
  await sync.until(({ stage }) => stage === 'live');

  process.kill(target.pid, 'SIGSTOP');
  try {
    await writeValues(client, 'streamed');
    await client.incr('counter');
    const { lagBytes } = await sync.until(isSpooling);
    expect(lagBytes).toBeGreaterThan(VALUE.length);
    await sleep(FREEZE_MS);
  } finally {
    thaw();
  }
  await sync.caughtUp();
  expect(compareDumps(await readTypedDump(client), await readTypedDump(target.client()))).toEqual([]);
  expect(await client.info('stats')).toMatch(/^sync_full:1\r$/m);
  // The source pings every second: one ping may be under way at any time.
  await sync.until((progress) => !isSpooling(progress) && progress.lagBytes === 0);
  expect((await sync.stop()).reconnects).toBe(0);
});

it('stops when the spool is full, and goes on from the checkpoint when it is started again', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  const client = source.client();
  await using first = await startSync({ source, target, spoolBytesMax: 1_000_000 });
  await first.until(({ stage }) => stage === 'live');
  process.kill(target.pid, 'SIGSTOP');
  try {
    await writeValues(client, 'streamed');
    await expect(first.ended).rejects.toMatchObject({ code: 'spool-full', retryable: true });
  } finally {
    process.kill(target.pid, 'SIGCONT');
  }
  await client.incr('counter');
  await using second = await startSync({ source, target });
  await second.caughtUp();
  expect(second.log.join()).toContain('resumed at offset');
  expect(compareDumps(await readTypedDump(client), await readTypedDump(target.client()))).toEqual([]);
  expect((await second.stop()).copiedKeys).toBe(0);
});

it('catches a frozen target up in small batches: a transaction is memory of the target until it ends', async () => {
  const commands = 200_000;
  await using source = await startServer({ server: await sourceServer() });
  await using target = await startServer({ server: await targetServer() });
  // By this clock no answer takes any time on its way, as over a short one.
  const clock = { ...systemClock, nowMs: () => Math.floor(systemClock.nowMs() / 1000) * 1000 };
  await using sync = await startSync({ source, target, clock });
  await sync.until(({ stage }) => stage === 'live');
  await target.client().config('RESETSTAT');
  process.kill(target.pid, 'SIGSTOP');
  try {
    for (let written = 0; written < commands; written += 10_000) {
      const pipeline = source.client().pipeline();
      for (let one = 0; one < 10_000; one++) pipeline.incr('counter');
      await pipeline.exec();
    }
  } finally {
    process.kill(target.pid, 'SIGCONT');
  }
  await sync.caughtUp();
  expect(await target.client().get('counter')).toBe(String(commands));
  const transactions = /^cmdstat_exec:calls=(\d+)/m.exec(await target.client().info('commandstats'))?.[1];
  expect(Number(transactions)).toBeGreaterThan(commands / 5_000);
}, 60_000);

function isSpooling({ notes }: { notes: readonly string[] }): boolean {
  return notes.some((note) => note.startsWith('spooled on disk'));
}

async function writeValues(client: ReturnType<RunningServer['client']>, name: string): Promise<void> {
  for (let value = 0; value < VALUES; value++) await client.set(`${name}:${value}`, VALUE);
}

/** A source that soon drops a replica which does not take what it is sent. */
async function startSource(): Promise<RunningServer> {
  return startServer({
    server: await sourceServer(),
    config: {
      'repl-diskless-sync-delay': '0',
      'repl-timeout': String(REPL_TIMEOUT_S),
      'repl-ping-replica-period': '1',
      'repl-backlog-size': '128mb',
      rdbcompression: 'no',
      // Microseconds: the copy takes a while, so that the target can be frozen in the middle of it.
      'rdb-key-save-delay': '1000',
      'client-output-buffer-limit': 'replica 16mb 8mb 1',
    },
  });
}
