import path from 'node:path';
import type { Contestant } from './contestant.ts';
import { startTool } from './tool-process.ts';

const FORWARDER = path.join(import.meta.dirname, 'raw-forwarder.ts');

/** The bare stream without transactions, checkpoints or a spool: what the guarantees of ours are measured against. */
export const raw: Contestant = {
  name: 'raw',
  attach: async ({ pair: { source, target }, purpose, directory }) => {
    if (purpose === 'copy') throw new Error('the raw forwarder carries no copy');
    const tool = await startTool([process.execPath, FORWARDER, String(source.port), String(target.port)], {
      directory,
    });
    return {
      toolPid: tool.pid,
      failed: tool.failed,
      copied: () => Promise.reject(new Error('the raw forwarder carries no copy')),
      appliedOffset: undefined,
      detach: () => tool.stop(),
      [Symbol.asyncDispose]: () => tool[Symbol.asyncDispose](),
    };
  },
};
