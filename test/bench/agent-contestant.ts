import path from 'node:path';
import { heapOptions } from '../../src/agent/job/heap.ts';
import { decodeClaim } from '../../src/agent/redis/checkpoint.ts';
import { RESERVED_KEY } from '../../src/agent/redis/reserved-key.ts';
import { systemClock } from '../../src/core/clock.ts';
import { type Attaching, type Attachment, type Contestant, POLL_MS } from './contestant.ts';
import { startTool } from './tool-process.ts';

/** The program of the built agent. */
export const AGENT = path.resolve(import.meta.dirname, '../../dist/agent/index.js');

/** The built agent as a process of its own, with everything it can do switched on: `tune-source` as well. */
export const ours: Contestant = {
  name: 'ours',
  attach: (attaching) => attach(attaching, ['--tune-source']),
};

/** The same on a source that it may not change. */
export const oursUntuned: Contestant = {
  name: 'ours-untuned',
  attach: (attaching) => attach(attaching, []),
};

/** The same on a source that refuses PSYNC. */
export const scan: Contestant = {
  name: 'scan',
  isScanning: true,
  attach: async (attaching) => {
    await attaching.pair.source.client().config('SET', 'notify-keyspace-events', 'EA');
    return await attach(attaching, ['--route', 'scan', '--tune-source']);
  },
};

async function attach(
  { pair: { source, target }, directory, signal }: Attaching,
  options: readonly string[],
): Promise<Attachment> {
  const address = `${target.host}:${target.port}`;
  const sides = ['--source', `${source.host}:${source.port}`, '--target', address];
  const state = ['--state-directory', directory, '--migration-id', 'bench', ...options];
  const tool = await startTool(
    [process.execPath, ...heapOptions('sync'), AGENT, 'sync', ...sides, ...state],
    {
      directory,
    },
  );
  const client = target.client();
  const claim = async () => {
    const value = await client.get(RESERVED_KEY);
    return value === null ? undefined : decodeClaim(value, address);
  };
  // The connection that carried the data sets the claim to live behind it, so what shows it has the data.
  const waitUntilLive = async () => {
    while ((await claim())?.state !== 'live') await systemClock.sleep(POLL_MS, signal);
    return Date.now();
  };
  return {
    toolPid: tool.pid,
    failed: tool.failed,
    copied: waitUntilLive,
    appliedOffset: async () => (await claim())?.checkpoint?.offset ?? 0,
    detach: async () => {
      await tool.stop();
      await client.del(RESERVED_KEY);
    },
    [Symbol.asyncDispose]: async () => {
      client.disconnect();
      await tool[Symbol.asyncDispose]();
    },
  };
}
