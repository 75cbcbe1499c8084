import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { access, mkdir } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import type { HostCommand } from '../../contract/host-commands.ts';
import type { Clock } from '../../core/clock.ts';
import { errorText, MigrationError } from '../../core/errors.ts';
import { decodeReply, encodeRequest, type Host } from './host.ts';
import { requireStateDirectory } from './state-directory.ts';

/** How to reach the agent on this machine. */
export type LocalHostOptions = {
  /** The built agent. */
  readonly agentPath: string;
  /** An absolute path. */
  readonly stateDirectory: string;
  readonly nodePath: string;
  /** The environment of the action; the agent gets only what {@link agentEnvironment} lets through. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Variables that the user named as the place of a secret. */
  readonly secretVariables: readonly string[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
  log(message: string): void;
};

/** The agent's answers are short: a page of a report is the longest. */
const STDOUT_BYTES_MAX = 1024 * 1024;
/** Of stderr only the end is shown. */
const STDERR_BYTES_MAX = 8 * 1024;
const CALL_TIMEOUT_MS = 120_000;
const SHOWN_CHARACTERS_MAX = 1000;

/**
 * Opens the agent as a child process of this machine: for a runner inside the VPC, the tests and the demo.
 *
 * @throws input-malformed (state directory), host-state-unwritable, command-failed, command-timeout, contract-mismatch, host-reply-malformed, internal (no agent there)
 */
export async function openLocalHost(options: LocalHostOptions): Promise<Host> {
  requireStateDirectory(options.stateDirectory);
  await checkFiles(options);
  const call: Host['call'] = async (command, { signal = options.signal } = {}) =>
    decodeReply(command.command, await runAgent({ ...options, signal }, command));
  const hello = await call({ command: 'hello' });
  return {
    description: `this runner (${hello.hostname}, Node.js ${hello.nodeVersion})`,
    // A runner may have several addresses; which of them ElastiCache reaches is the user's to say.
    privateAddress: () => undefined,
    call,
    // Nothing is held open between calls.
    [Symbol.asyncDispose]: async () => {},
  };
}

/**
 * What of the action's environment reaches the agent: enough to run and to call AWS, and the named secrets; neither
 * the inputs nor the tokens of the runner.
 */
export function agentEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  secretVariables: readonly string[],
): Record<string, string> {
  const passed = new Set([
    'PATH',
    'HOME',
    'LANG',
    'TMPDIR',
    'XDG_RUNTIME_DIR',
    'NODE_EXTRA_CA_CERTS',
    ...secretVariables,
  ]);
  return Object.fromEntries(
    Object.entries(environment).flatMap(([name, value]) =>
      value !== undefined && (passed.has(name) || name.startsWith('AWS_')) ? [[name, value]] : [],
    ),
  );
}

async function checkFiles({ agentPath, stateDirectory }: LocalHostOptions): Promise<void> {
  try {
    await access(agentPath);
  } catch (error) {
    throw new MigrationError('internal', `The agent is not readable at ${agentPath}: ${errorText(error)}.`, {
      remedy: 'Use a released version of the action, whose dist folder is complete.',
      cause: error,
    });
  }
  try {
    await mkdir(stateDirectory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new MigrationError(
      'host-state-unwritable',
      `The state directory ${stateDirectory} on this runner cannot be made: ${errorText(error)}.`,
      { cause: error },
    );
  }
}

type AgentProcess = ChildProcessByStdio<Writable, Readable, Readable>;

async function runAgent(options: LocalHostOptions, command: HostCommand): Promise<string> {
  options.signal.throwIfAborted();
  const directoryBase64 = Buffer.from(options.stateDirectory).toString('base64');
  const child = spawn(
    options.nodePath,
    // A unit of systemd would not see the variables that name secrets, nor the credentials of the runner.
    [options.agentPath, 'host', '--state-directory-base64', directoryBase64, '--supervisor', 'process'],
    {
      cwd: options.stateDirectory,
      env: agentEnvironment(options.environment, options.secretVariables),
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  );
  // An agent that dies before it has read its request is told by its exit code.
  child.stdin.on('error', () => {});
  child.stdin.end(encodeRequest(command));
  const over = new AbortController();
  const timeout = new MigrationError(
    'command-timeout',
    `The agent did not answer ${command.command} in ${CALL_TIMEOUT_MS / 1000} s.`,
  );
  try {
    return await Promise.race([
      collectAnswer(child, command.command),
      options.clock.sleep(CALL_TIMEOUT_MS, AbortSignal.any([over.signal, options.signal])).then(() => {
        throw timeout;
      }),
    ]);
  } finally {
    over.abort();
    // Jobs that the agent detached are in a session of their own and live on.
    child.kill('SIGKILL');
  }
}

async function collectAnswer(child: AgentProcess, name: string): Promise<string> {
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal ?? String(code)));
  });
  const stdout: Buffer[] = [];
  let stdoutBytes = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    stdoutBytes += chunk.length;
    if (stdoutBytes > STDOUT_BYTES_MAX) child.kill('SIGKILL');
    else stdout.push(chunk);
  });
  let stderr = Buffer.alloc(0);
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-STDERR_BYTES_MAX);
  });
  const end = await ended.catch((error: unknown) => {
    throw new MigrationError(
      'command-failed',
      `The agent could not be started for ${name}: ${errorText(error)}.`,
      {
        cause: error,
      },
    );
  });
  if (stdoutBytes > STDOUT_BYTES_MAX) {
    throw new MigrationError(
      'host-reply-malformed',
      `The agent answered ${name} with more than ${STDOUT_BYTES_MAX} bytes.`,
      {
        retryable: false,
      },
    );
  }
  if (end === '0') return Buffer.concat(stdout).toString();
  const told = stderr.toString().trim().slice(-SHOWN_CHARACTERS_MAX);
  const ending = /^\d+$/.test(end) ? `with exit code ${end}` : `by ${end}`;
  throw new MigrationError(
    'command-failed',
    `The agent ended ${ending} over ${name}.${told === '' ? '' : ` Its error output ends: ${JSON.stringify(told)}.`}`,
    { retryable: end === 'SIGKILL' },
  );
}
