import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What Systems Manager says about the agent on an instance. */
export type PingStatus = 'Online' | 'ConnectionLost' | 'Inactive';

/** An EC2 instance to simulate; everything has a default. */
export type InstanceOptions = {
  instanceId?: string;
  ipAddress?: string;
  platformType?: 'Linux' | 'Windows';
  pingStatus?: PingStatus;
  /** Where its scripts run and keep their files; a directory of the caller's is left in place on dispose. */
  directory?: string;
  /** What its scripts find in their environment beside what the agent sets; nothing comes from the test's own. */
  env?: Record<string, string>;
};

/** How a script ended: its exit code (137 after SIGKILL) and its output, cut where the agent cuts it. */
export type ScriptEnd = { exitCode: number; stdout: string; stderr: string };

/** A script that runs on a simulated instance. */
export type RunningScript = {
  /** Settles when the shell has ended and nobody holds its output any more, or at once after `kill`. */
  readonly ended: Promise<ScriptEnd>;
  /** SIGKILL to the process group, as the agent does on cancel and timeout; what left the group lives on. */
  kill(): void;
};

/** An instance that really runs scripts on this machine, each in a process group of its own. */
export type SimulatedInstance = AsyncDisposable & {
  readonly instanceId: string;
  readonly ipAddress: string;
  readonly platformType: 'Linux' | 'Windows';
  readonly directory: string;
  readonly pingStatus: PingStatus;
  setPingStatus(status: PingStatus): void;
  run(script: { commandId: string; text: string; workingDirectory?: string }): Promise<RunningScript>;
  /** Kills everything the instance ever started, also what left its process group; files stay. */
  reboot(): Promise<void>;
  /** The processes of the instance that live now. */
  pids(): Promise<number[]>;
};

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const SIGKILL_EXIT_CODE = 137;
/** The agent keeps the first part of the output; the suffix counts into it. */
const STDOUT_LIMIT = { characters: 24_000, suffix: '---Output truncated---' };
const STDERR_LIMIT = { characters: 8_000, suffix: '---Error truncated----' };
/** Set in every process of an instance, so that a reboot finds those that left group and session. */
const MARK = 'SIMULATED_INSTANCE';

/** Makes an instance; nothing runs on it until a command is delivered. */
export async function createInstance(options: InstanceOptions, region: string): Promise<SimulatedInstance> {
  const instanceId = options.instanceId ?? `i-${randomUUID().replaceAll('-', '').slice(0, 17)}`;
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'simulated-instance-')));
  const agentDirectory = await mkdtemp(join(tmpdir(), 'simulated-agent-'));
  const mark = randomUUID();
  const searchPath = `${await hideSystemd(agentDirectory)}:${options.env?.PATH ?? DEFAULT_PATH}`;
  const running = new Set<RunningScript>();
  let pingStatus = options.pingStatus ?? 'Online';

  const reboot = async () => {
    for (const script of running) script.kill();
    // Twice: a process can fork between the listing and the signal.
    for (let round = 0; round < 2; round += 1) killAll(await markedProcesses(mark));
  };
  return {
    instanceId,
    ipAddress: options.ipAddress ?? '127.0.0.1',
    platformType: options.platformType ?? 'Linux',
    directory,
    get pingStatus() {
      return pingStatus;
    },
    setPingStatus: (status) => {
      pingStatus = status;
    },
    run: async ({ commandId, text, workingDirectory }) => {
      const path = await writeScript(join(agentDirectory, commandId), text);
      const script = runScript(path, {
        directory: workingDirectory?.startsWith('/') ? workingDirectory : directory,
        env: {
          ...options.env,
          PATH: searchPath,
          SSM_COMMAND_ID: commandId,
          AWS_SSM_INSTANCE_ID: instanceId,
          AWS_SSM_REGION_NAME: region,
          [MARK]: mark,
        },
      });
      running.add(script);
      void script.ended.then(() => running.delete(script));
      return script;
    },
    reboot,
    pids: () => markedProcesses(mark),
    [Symbol.asyncDispose]: async () => {
      await reboot();
      await rm(agentDirectory, { recursive: true, force: true });
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}

/**
 * A directory for the front of PATH where systemd's tools say that systemd does not run here: a script under
 * test must not create units on the machine that runs the tests.
 */
async function hideSystemd(agentDirectory: string): Promise<string> {
  const bin = join(agentDirectory, 'bin');
  await mkdir(bin);
  const refusal = [
    '#!/bin/sh',
    'echo "System has not been booted with systemd as init system (PID 1). Can\'t operate." >&2',
    'exit 1',
    '',
  ].join('\n');
  for (const tool of ['systemctl', 'systemd-run']) {
    await writeFile(join(bin, tool), refusal);
    await chmod(join(bin, tool), 0o755);
  }
  return bin;
}

async function writeScript(directory: string, text: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, '_script.sh');
  await writeFile(path, text);
  await chmod(path, 0o700);
  return path;
}

function runScript(path: string, options: { directory: string; env: Record<string, string> }): RunningScript {
  const child = spawn('/bin/sh', ['-c', path], {
    cwd: options.directory,
    env: options.env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stdout = keepFirst(child.stdout, STDOUT_LIMIT);
  const stderr = keepFirst(child.stderr, STDERR_LIMIT);
  let isKilled = false;
  const ended = new Promise<ScriptEnd>((resolve) => {
    const end = (exitCode: number) => resolve({ exitCode, stdout: stdout(), stderr: stderr() });
    child.once('error', (error) => resolve({ exitCode: 1, stdout: '', stderr: error.message }));
    // After a kill the agent does not wait for children that left the group and still hold the output.
    child.once('exit', () => {
      if (!isKilled) return;
      child.stdout.destroy();
      child.stderr.destroy();
      end(SIGKILL_EXIT_CODE);
    });
    child.once('close', (code) => end(code ?? SIGKILL_EXIT_CODE));
  });
  return {
    ended,
    kill: () => {
      isKilled = true;
      const hasEnded = child.exitCode !== null || child.signalCode !== null;
      killGroup(child);
      if (hasEnded) {
        child.stdout.destroy();
        child.stderr.destroy();
      }
    },
  };
}

function keepFirst(
  stream: NodeJS.ReadableStream,
  limit: { characters: number; suffix: string },
): () => string {
  let kept = '';
  let isCut = false;
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const room = limit.characters - kept.length;
    isCut ||= chunk.length > room;
    kept += chunk.slice(0, room);
  });
  return () => (isCut ? kept.slice(0, limit.characters - limit.suffix.length) + limit.suffix : kept);
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    // The group has ended by itself: that is what was wanted.
    if (!isGone(error)) throw error;
  }
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      // Ended between the listing and the signal.
      if (!isGone(error)) throw error;
    }
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ESRCH';
}

/** Looks through /proc for processes with the instance's mark in their environment. */
async function markedProcesses(mark: string): Promise<number[]> {
  const entries = await readdir('/proc');
  const pids = entries.map(Number).filter((pid) => Number.isInteger(pid) && pid !== process.pid);
  const isMarked = await Promise.all(pids.map((pid) => hasMark(pid, mark)));
  return pids.filter((_, index) => isMarked[index]);
}

async function hasMark(pid: number, mark: string): Promise<boolean> {
  try {
    // A zombie has no executable any more: it is dead and only waits for its parent.
    await readlink(`/proc/${pid}/exe`);
    return (await readFile(`/proc/${pid}/environ`, 'latin1')).includes(`${MARK}=${mark}`);
  } catch {
    // The process ended meanwhile, or belongs to another user and so is none of ours.
    return false;
  }
}
