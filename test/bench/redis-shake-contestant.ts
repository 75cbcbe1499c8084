import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Contestant } from './contestant.ts';
import { startTool } from './tool-process.ts';

/** RedisShake with its default settings and `sync_reader`; for a copy it ends when all of it is written. */
export function redisShake(program: string): Contestant {
  return {
    name: 'redis-shake',
    attach: async ({ pair: { source, target }, purpose, directory }) => {
      const configPath = path.join(directory, 'shake.toml');
      await writeFile(
        configPath,
        renderConfig({
          source: `${source.host}:${source.port}`,
          target: `${target.host}:${target.port}`,
          follows: purpose === 'follow',
          directory,
        }),
      );
      const tool = await startTool([path.resolve(program), configPath], { directory });
      return {
        toolPid: tool.pid,
        failed: tool.failed,
        copied: async () => {
          await tool.ended;
          return Date.now();
        },
        appliedOffset: undefined,
        // Told to end it goes on for minutes; what it had to do is done.
        detach: () => tool.stop('SIGKILL'),
        [Symbol.asyncDispose]: () => tool[Symbol.asyncDispose](),
      };
    },
  };
}

type Settings = { source: string; target: string; follows: boolean; directory: string };

function renderConfig({ source, target, follows, directory }: Settings): string {
  return [
    '[sync_reader]',
    `address = "${source}"`,
    'sync_rdb = true',
    `sync_aof = ${follows}`,
    '[redis_writer]',
    `address = "${target}"`,
    '[advanced]',
    `dir = "${path.join(directory, 'data')}"`,
    'rdb_restore_command_behavior = "rewrite"',
    '',
  ].join('\n');
}
