import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Contestant } from './contestant.ts';
import { startTool } from './tool-process.ts';

/** RedisShake with its default settings and `sync_reader`; for a copy it ends when all of it is written. */
export function redisShake(program: string): Contestant {
  return shake({ name: 'redis-shake' }, program);
}

/** The same with `scan_reader`, which ends when every key was read once. */
export function redisShakeScan(program: string): Contestant {
  return shake({ name: 'redis-shake-scan', isScanning: true }, program);
}

function shake(kind: Pick<Contestant, 'name' | 'isScanning'>, program: string): Contestant {
  return {
    ...kind,
    attach: async ({ pair: { source, target }, purpose, directory }) => {
      const configPath = path.join(directory, 'shake.toml');
      await writeFile(
        configPath,
        renderConfig({
          source: `${source.host}:${source.port}`,
          target: `${target.host}:${target.port}`,
          follows: purpose === 'follow',
          isScanning: kind.isScanning === true,
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

type Settings = {
  source: string;
  target: string;
  follows: boolean;
  isScanning: boolean;
  directory: string;
};

function renderConfig({ source, target, follows, isScanning, directory }: Settings): string {
  const reader = isScanning
    ? ['[scan_reader]', 'scan = true', `ksn = ${follows}`, 'count = 1000']
    : ['[sync_reader]', 'sync_rdb = true', `sync_aof = ${follows}`];
  return [
    ...reader,
    `address = "${source}"`,
    '[redis_writer]',
    `address = "${target}"`,
    '[advanced]',
    `dir = "${path.join(directory, 'data')}"`,
    'rdb_restore_command_behavior = "rewrite"',
    '',
  ].join('\n');
}
