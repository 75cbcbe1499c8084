import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { hostCommandSchema, hostRequestSchema } from '../contract/host-commands.ts';
import { CONTRACT_VERSION } from '../contract/version.ts';
import { assertNever } from '../core/assert.ts';
import { systemClock } from '../core/clock.ts';
import { errorText, MigrationError, toErrorRecord, toMigrationError } from '../core/errors.ts';
import { type Invocation, parseInvocation, USAGE } from './command-line.ts';
import { lookAt, ping, runInForeground, type Shell } from './foreground.ts';
import { requireAccess } from './host/access.ts';
import { answerHostCommand } from './host/commands.ts';
import { parsePasswordServers } from './host/password-servers.ts';
import { stayAway } from './job/boot.ts';
import { boundHeap } from './job/heap.ts';
import { dispatchJob } from './job/registry.ts';
import { resumeJob } from './job/resume.ts';
import { runPreparedJob } from './job/run.ts';
import { availableSupervisor } from './job/spawn.ts';
import { openMigrationStore } from './job/store.ts';
import { resolveSecret } from './secret/resolve.ts';

/** A request that the host's stdin may carry at most: a job with two endpoints is far below. */
const REQUEST_BYTES_MAX = 1_000_000;

const stopping = new AbortController();
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  // Not once: a second one would find no handler, and kill a cutover while it lifts its fence.
  process.on(name, () => stopping.abort(new Error(`stopped by ${name}`)));
}
const shell: Shell = {
  clock: systemClock,
  signal: stopping.signal,
  run: dispatchJob,
  resolveSecret: (reference, use) =>
    resolveSecret(reference, { env: process.env, signal: stopping.signal, use }),
  print: (text) => process.stdout.write(`${text}\n`),
  show: (line) => process.stderr.write(`${line}\n`),
};
// process.exit() right after hot work can hang in Node 24, so the status is set and the process ends by itself.
process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<number> {
  const region = process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? 'us-east-1';
  try {
    return await invoke(parseInvocation(argv, region));
  } catch (error) {
    const { code, message, remedy } = toMigrationError(error);
    process.stderr.write(`${code}: ${message}\n${remedy}\n`);
    return 2;
  }
}

async function invoke(invocation: Invocation): Promise<number> {
  switch (invocation.verb) {
    case 'help':
      process.stdout.write(USAGE);
      return 0;
    case 'host':
      return answerHost(invocation);
    case 'job':
      return runDetachedJob(invocation);
    case 'resume':
      return resumeDetachedJob(invocation);
    case 'run':
      makeStateDirectory(invocation.stateDirectory);
      boundHeap(invocation.request.kind, process.execArgv);
      return runInForeground(invocation, shell);
    case 'status':
    case 'stop':
      return lookAt(invocation, shell);
    case 'ping':
      return ping(invocation, shell);
    default:
      return assertNever(invocation);
  }
}

/** One request on stdin, one line of JSON on stdout: an error of ours is an answer too. */
async function answerHost({
  stateDirectory,
  supervisor,
  access,
  passwordServers,
}: Extract<Invocation, { verb: 'host' }>): Promise<number> {
  const respond = (response: object) => {
    process.stdout.write(`${JSON.stringify({ ...response, contractVersion: CONTRACT_VERSION })}\n`);
    return 0;
  };
  try {
    makeStateDirectory(stateDirectory);
    const command = readCommand(await readStdin());
    if (access !== undefined) requireAccess(command, access);
    const reply = await answerHostCommand(command, {
      stateDirectory,
      agentPath: fileURLToPath(import.meta.url),
      supervisor: supervisor ?? availableSupervisor(),
      clock: systemClock,
      signal: stopping.signal,
      resolveSecret: shell.resolveSecret,
      asker: {
        access,
        passwordServers: passwordServers === undefined ? undefined : parsePasswordServers(passwordServers),
      },
    });
    return respond({ ok: true, reply });
  } catch (error) {
    return respond({ ok: false, error: toErrorRecord(error) });
  }
}

function readCommand(text: string) {
  const envelope = understood(hostRequestSchema.safeParse(JSON.parse(text)));
  if (envelope.contractVersion !== CONTRACT_VERSION) {
    throw new MigrationError(
      'contract-mismatch',
      `The action speaks version ${envelope.contractVersion} of the contract, the agent ${CONTRACT_VERSION}.`,
    );
  }
  return understood(hostCommandSchema.safeParse(envelope.command));
}

/** A request that does not fit was written by another version, not by a user. */
function understood<Data>(parsed: z.ZodSafeParseResult<Data>): Data {
  if (parsed.success) return parsed.data;
  throw new MigrationError(
    'contract-mismatch',
    `The request is not understood: ${z.prettifyError(parsed.error)}`,
  );
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    size += chunk.length;
    if (size > REQUEST_BYTES_MAX)
      throw new MigrationError('input-malformed', 'The request is larger than 1 MB.');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function runDetachedJob({
  kind,
  migrationDirectory,
}: Extract<Invocation, { verb: 'job' | 'resume' }>): Promise<number> {
  const store = openMigrationStore(migrationDirectory);
  const { migrationId, jobId } = store.readJobFile(kind);
  const launcher = { agentPath: fileURLToPath(import.meta.url), supervisor: availableSupervisor() };
  await runPreparedJob(kind, { ...shell, store, launcher });
  await stayAway({ migrationId, kind, jobId });
  return 0;
}

/** What systemd starts at a boot. */
async function resumeDetachedJob({
  kind,
  migrationDirectory,
}: Extract<Invocation, { verb: 'job' | 'resume' }>): Promise<number> {
  const launcher = { agentPath: fileURLToPath(import.meta.url), supervisor: availableSupervisor() };
  await resumeJob(kind, { ...shell, store: openMigrationStore(migrationDirectory), launcher });
  return 0;
}

function makeStateDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new MigrationError('host-state-unwritable', `Cannot make ${path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}
