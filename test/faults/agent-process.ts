import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AGENT } from '../host-agent.ts';

/** The built agent that syncs in a process of its own, started again whenever it has ended. */
export type AgentProcess = AsyncDisposable & {
  /** Ends it by -9 and starts it again. */
  kill(): Promise<void>;
  /** How it has ended by itself: the code of the error, marked when it had been streaming. */
  readonly ownEnds: readonly string[];
  /** What it has logged in this life, and said when it last ended by itself. */
  log(): Promise<string>;
};

const RESTART_DELAY_MS = 200;
const STOP_LIMIT_MS = 15_000;

/** Starts it between two ports of the loopback. */
export async function startAgentProcess(ports: { source: number; target: number }): Promise<AgentProcess> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-agent-'));
  const logPath = path.join(directory, 'migrations/manual/jobs/sync/log.txt');
  const args = [AGENT, 'sync', '--state-directory', directory];
  args.push('--source', `127.0.0.1:${ports.source}`, '--target', `127.0.0.1:${ports.target}`);
  const ownEnds: string[] = [];
  let life = startLife(args);
  let isWanted = true;
  let lastWords = '';
  const keepAlive = async () => {
    for (;;) {
      const { signal } = await life.ended;
      if (isWanted && signal !== 'SIGKILL') {
        // A user would start it again; whether that was needed is counted.
        const log = await readFile(logPath, 'utf8').catch(() => '');
        lastWords = life.printed() + log;
        const code = /^([a-z-]+): /m.exec(life.printed())?.[1] ?? 'no code';
        ownEnds.push(/resumed at offset|copied \d+ keys/.test(log) ? `${code} while streaming` : code);
        await sleep(RESTART_DELAY_MS);
      }
      if (!isWanted) return;
      life = startLife(args);
    }
  };
  const kept = keepAlive();
  return {
    kill: async () => {
      const { child, ended } = life;
      child.kill('SIGKILL');
      await ended;
    },
    ownEnds,
    log: async () => `${await readFile(logPath, 'utf8').catch(() => '')}\n${lastWords}`,
    [Symbol.asyncDispose]: async () => {
      isWanted = false;
      life.child.kill('SIGTERM');
      const escalation = setTimeout(() => life.child.kill('SIGKILL'), STOP_LIMIT_MS);
      await kept;
      clearTimeout(escalation);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

type Life = {
  child: ChildProcess;
  ended: Promise<{ signal: NodeJS.Signals | null }>;
  printed(): string;
};

function startLife(args: readonly string[]): Life {
  let printed = '';
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.on('data', (chunk: Buffer) => {
    printed = `${printed}${chunk}`.slice(-4_000);
  });
  const ended: Life['ended'] = new Promise((resolve) => {
    child.once('exit', (_code, signal) => resolve({ signal }));
  });
  return { child, ended, printed: () => printed };
}
