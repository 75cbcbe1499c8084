import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openMigrationStore } from '../../src/agent/job/store.ts';
import { AGENT } from '../host-agent.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../servers/start.ts';
import type { MemoryCase } from './memory-cases.ts';

/** What an agent may have resident at most, whatever the data. */
export const PEAK_BYTES_MAX = 150 * 1024 * 1024;

/** What a case took; `difference`: what the target holds otherwise than the source. */
export type PeakMemory = {
  readonly peakBytes: number;
  readonly durationMs: number;
  readonly difference: string | undefined;
};

const POLL_MS = 100;
const LIMIT_MS = 300_000;

/** Whether the system tells what a process had resident. */
export async function canMeasure(): Promise<boolean> {
  return (await readPeakBytes(process.pid)) !== undefined;
}

/** Syncs the data of a case with the built agent, and reads what that had resident at most. */
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
  await using agent = await startAgent(source, target);
  await agent.live();
  await stream?.({ source: source.client(), targetPid: target.pid });
  await agent.caughtUp();
  const peakBytes = (await readPeakBytes(agent.pid)) ?? Number.NaN;
  return {
    peakBytes,
    durationMs: Date.now() - startedAtMs,
    difference: await findDifference(source, target),
  };
}

async function startAgent(source: RunningServer, target: RunningServer) {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-memory-'));
  const store = openMigrationStore(path.join(directory, 'migrations/manual'));
  const ends = ['--source', `127.0.0.1:${source.port}`, '--target', `127.0.0.1:${target.port}`];
  const args = [AGENT, 'sync', '--state-directory', directory, ...ends];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let printed = '';
  child.stderr.on('data', (chunk: Buffer) => {
    printed = `${printed}${chunk}`.slice(-2_000);
  });
  const until = async (isReached: () => Promise<boolean>) => {
    for (const startedAtMs = Date.now(); !(await isReached()); await sleep(POLL_MS)) {
      if (child.exitCode !== null) throw new Error(`the agent ended: ${printed}`);
      if (Date.now() - startedAtMs > LIMIT_MS) throw new Error(`not reached in ${LIMIT_MS} ms: ${printed}`);
    }
  };
  const reader = target.client();
  return {
    pid: child.pid ?? 0,
    live: () => until(async () => store.readState('sync')?.progress.stage === 'live'),
    caughtUp: async () => {
      const info = await source.client().info('replication');
      const offset = Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1]);
      await until(async () => {
        const claim = await reader.get('__valkey-migrate__');
        return Number(/"offset":(\d+)/.exec(claim ?? '')?.[1] ?? -1) >= offset;
      });
    },
    [Symbol.asyncDispose]: async () => {
      await end(child);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

async function readPeakBytes(pid: number): Promise<number | undefined> {
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
