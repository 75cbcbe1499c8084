import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { endpointOf } from '../agent/cutover/job-context.ts';
import { openHostAgent } from '../host-agent.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../servers/start.ts';
import type { MemoryCase } from './memory-cases.ts';

/** What an agent may have resident at most, whatever the data. */
export const PEAK_BYTES_MAX = 150_000_000;

/** What a case took; `difference`: what the target holds otherwise than the source. */
export type PeakMemory = {
  readonly peakBytes: number;
  readonly durationMs: number;
  readonly difference: string | undefined;
};

const COMPARED = { maxDifferences: 0, ttlToleranceMs: 1000, keyDisplay: 'hashed' } as const;
const POLL_MS = 100;
const LIMIT_MS = 300_000;

/** Whether the system tells what a process had resident. */
export async function canMeasure(): Promise<boolean> {
  return (await readPeakBytes(process.pid)) !== undefined;
}

/** Syncs the data of a case with the built agent, started as on a host, and reads what that had resident at most. */
export async function measurePeakMemory({ config, fill, stream }: MemoryCase): Promise<PeakMemory> {
  await using source = await startServer({
    server: await sourceServer(),
    config: { 'repl-diskless-sync-delay': '0', 'enable-debug-command': 'yes', ...config },
  });
  await using target = await startServer({
    server: await targetServer(),
    config: { 'enable-debug-command': 'yes' },
  });
  await fill(source.client());
  const startedAtMs = Date.now();
  const ends = { source: endpointOf(source), target: endpointOf(target) };
  await using agent = await openHostAgent(ends.source, ends.target);
  await agent.start({ kind: 'sync', ...ends, flushTarget: false });
  await agent.until('sync', ({ progress }) => progress.stage === 'live', LIMIT_MS);
  const verify = () => agent.run({ kind: 'verify', ...ends, ...COMPARED });
  await stream?.({ source: source.client(), targetPid: target.pid, verify });
  await caughtUp(source, target);
  const { pid } = agent.store.readProcess('sync')?.identity ?? { pid: 0 };
  const peakBytes = (await readPeakBytes(pid)) ?? Number.NaN;
  return {
    peakBytes,
    durationMs: Date.now() - startedAtMs,
    difference: await findDifference(source, target),
  };
}

/** Resolves when the target has committed everything that the source has written until now. */
async function caughtUp(source: RunningServer, target: RunningServer): Promise<void> {
  const info = await source.client().info('replication');
  const offset = Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1]);
  const reader = target.client();
  const signal = AbortSignal.timeout(LIMIT_MS);
  for (;;) {
    const claim = await reader.get('__valkey-migrate__');
    if (Number(/"offset":(\d+)/.exec(claim ?? '')?.[1] ?? -1) >= offset) return;
    await sleep(POLL_MS, undefined, { signal });
  }
}

/** What a process had resident at most; undefined where the system does not tell. */
export async function readPeakBytes(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** What the servers themselves say of each key. */
async function findDifference(source: RunningServer, target: RunningServer): Promise<string | undefined> {
  const [from, to] = [source.client(), target.client()];
  const [atSource, atTarget] = [await from.dbsize(), (await to.dbsize()) - 1];
  if (atSource !== atTarget) return `${atSource} keys, and ${atTarget} at the target`;
  for (const key of await from.keys('*')) {
    const [ours, theirs] = await Promise.all([
      from.call('DEBUG', 'DIGEST-VALUE', key),
      to.call('DEBUG', 'DIGEST-VALUE', key),
    ]);
    if (String(ours) !== String(theirs)) return `the value of ${key}`;
  }
  return undefined;
}
