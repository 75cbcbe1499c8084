import { spawn } from 'node:child_process';

/** The process of one step. */
export type StepProcess = {
  readonly command: string;
  readonly args: readonly string[];
  /** All that it has: nothing of our own environment comes along. */
  readonly env: Readonly<Record<string, string>>;
  readonly directory?: string;
  /** Sees every line of the log as it comes. */
  onLine?(line: string): void;
  /** Cancels it as the runner does: SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL. */
  readonly cancel?: AbortSignal;
  /** Kills it at once, as a runner that is lost. */
  readonly kill?: AbortSignal;
};

/** How it ended. */
export type StepEnd = { readonly exitCode: number | null; readonly stdout: string; readonly stderr: string };

/** Runs the process of a step as GitHub's runner does. Source: actions/runner, Runner.Worker/Handlers. */
export function runStepProcess(step: StepProcess): Promise<StepEnd> {
  const { onLine, cancel, kill } = step;
  const child = spawn(step.command, step.args, {
    env: step.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(step.directory === undefined ? {} : { cwd: step.directory }),
  });
  const timers: NodeJS.Timeout[] = [];
  const onCancel = () => {
    child.kill('SIGINT');
    timers.push(
      setTimeout(() => child.kill('SIGTERM'), 7500),
      setTimeout(() => child.kill('SIGKILL'), 10_000),
    );
  };
  cancel?.addEventListener('abort', onCancel, { once: true });
  kill?.addEventListener('abort', () => child.kill('SIGKILL'), { once: true });
  let stdout = '';
  let stderr = '';
  let shown = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    for (let end = stdout.indexOf('\n', shown); end >= 0; end = stdout.indexOf('\n', shown)) {
      onLine?.(stdout.slice(shown, end));
      shown = end + 1;
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => {
      for (const timer of timers) clearTimeout(timer);
      cancel?.removeEventListener('abort', onCancel);
      resolve({ exitCode, stdout, stderr });
    });
  });
}
