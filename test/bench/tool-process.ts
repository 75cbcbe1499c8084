import { type ChildProcess, spawn } from 'node:child_process';
import { dieWithParent, endServerProcess, trackChild } from '../servers/server-process.ts';

/** A program that the bench runs beside the servers; disposing kills it. */
export type ToolProcess = AsyncDisposable & {
  readonly pid: number;
  /** Resolves when it has ended by itself or was stopped; rejects when that was a failure. */
  readonly ended: Promise<void>;
  /** Rejects when it fails, and never resolves. */
  readonly failed: Promise<never>;
  /** Asks it to end, by SIGTERM unless told, and waits. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** The last that it wrote to stdout and stderr. */
  output(): string;
};

const OUTPUT_CHARS_MAX = 1_000_000;
const COMPLAINT_CHARS_MAX = 2_000;

/** Starts a program by its argv, in a directory. */
export async function startTool(
  command: readonly string[],
  { directory }: { readonly directory: string },
): Promise<ToolProcess> {
  const [file = '', ...args] = [...dieWithParent(), ...command];
  const child = spawn(file, args, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
  trackChild(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-OUTPUT_CHARS_MAX);
    });
  }
  const state: { asked?: NodeJS.Signals } = {};
  const ended = waitForEnd(child, state, () => output);
  const failed = ended.then(() => new Promise<never>(() => {}));
  // Every caller looks at them in its own time; until then a failure is nobody's unhandled rejection.
  failed.catch(() => {});
  if (child.pid === undefined) await ended;
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    state.asked = signal;
    await endServerProcess(child, signal);
  };
  return {
    pid: child.pid ?? 0,
    ended,
    failed,
    stop: async (signal) => {
      await stop(signal);
      await ended;
    },
    output: () => output,
    [Symbol.asyncDispose]: () => stop('SIGKILL'),
  };
}

function waitForEnd(
  child: ChildProcess,
  state: { readonly asked?: NodeJS.Signals },
  output: () => string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0 || (signal !== null && signal === state.asked)) return resolve();
      const complaint = output().trimEnd().slice(-COMPLAINT_CHARS_MAX);
      reject(new Error(`it ended with ${signal ?? `exit code ${code}`}: ${complaint}`));
    });
  });
}
