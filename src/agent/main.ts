import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hostCommandSchema, hostRequestSchema } from '../contract/host-commands.ts';
import { CONTRACT_VERSION } from '../contract/version.ts';
import { assertNever } from '../core/assert.ts';
import { systemClock } from '../core/clock.ts';
import { errorText, MigrationError, toErrorRecord, toMigrationError } from '../core/errors.ts';
import { type Invocation, parseInvocation, USAGE } from './command-line.ts';
import { answerHostCommand } from './host/commands.ts';
import { NO_PROGRESS } from './job/context.ts';
import { dispatchJob } from './job/registry.ts';
import { type JobRuntime, runPreparedJob } from './job/run.ts';
import { requestStop } from './job/siblings.ts';
import { availableSupervisor } from './job/spawn.ts';
import { JOB_KINDS, type MigrationStore, openMigrationStore } from './job/store.ts';
import { measureLatency } from './preflight/latency.ts';
import { resolveAccess } from './redis/access.ts';
import { openClient } from './redis/client.ts';
import { resolveSecret } from './secret/resolve.ts';

/** A request that the host's stdin may carry at most: a job with two endpoints is far below. */
const REQUEST_BYTES_MAX = 1_000_000;

const stopping = new AbortController();
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.once(name, () => stopping.abort(new Error(`stopped by ${name}`)));
}
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
    case 'run':
      return runInForeground(invocation);
    case 'status':
    case 'stop':
      return lookAt(invocation);
    case 'ping':
      return ping(invocation);
    default:
      return assertNever(invocation);
  }
}

/** One request on stdin, one line of JSON on stdout: an error of ours is an answer too. */
async function answerHost({
  stateDirectory,
  supervisor,
}: Extract<Invocation, { verb: 'host' }>): Promise<number> {
  const respond = (response: object) => {
    process.stdout.write(`${JSON.stringify({ ...response, contractVersion: CONTRACT_VERSION })}\n`);
    return 0;
  };
  try {
    makeStateDirectory(stateDirectory);
    const command = readCommand(await readStdin());
    const reply = await answerHostCommand(command, {
      stateDirectory,
      agentPath: fileURLToPath(import.meta.url),
      supervisor: supervisor ?? availableSupervisor(),
      clock: systemClock,
      signal: stopping.signal,
    });
    return respond({ ok: true, reply });
  } catch (error) {
    return respond({ ok: false, error: toErrorRecord(error) });
  }
}

function readCommand(text: string) {
  const envelope = hostRequestSchema.parse(JSON.parse(text));
  if (envelope.contractVersion !== CONTRACT_VERSION) {
    throw new MigrationError(
      'contract-mismatch',
      `The action speaks version ${envelope.contractVersion} of the contract, the agent ${CONTRACT_VERSION}.`,
    );
  }
  return hostCommandSchema.parse(envelope.command);
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
}: Extract<Invocation, { verb: 'job' }>): Promise<number> {
  await runPreparedJob(kind, jobRuntime(openMigrationStore(migrationDirectory)));
  return 0;
}

async function runInForeground(invocation: Extract<Invocation, { verb: 'run' }>): Promise<number> {
  const { stateDirectory, migrationId, request } = invocation;
  makeStateDirectory(stateDirectory);
  const store = openMigrationStore(join(stateDirectory, 'migrations', migrationId));
  const { kind } = request;
  if (store.readState(kind)?.status === 'running') {
    throw new MigrationError('migration-conflict', `A ${kind} job of ${migrationId} is already running.`, {
      remedy: 'Look at it with `status`, end it with `stop`, or use another --migration-id.',
    });
  }
  const startedAtMs = systemClock.nowMs();
  const jobId = randomBytes(8).toString('hex');
  const hostId = `${hostname()}:${stateDirectory}`;
  store.prepareJob(
    { jobId, migrationId, repository: 'command line', hostId, startedAtMs, request },
    {
      kind,
      jobId,
      status: 'running',
      startedAtMs,
      updatedAtMs: startedAtMs,
      progress: NO_PROGRESS,
      series: [],
      hasReport: false,
    },
  );
  const runtime = jobRuntime(store);
  await runPreparedJob(kind, {
    ...runtime,
    run: (job, context) => runtime.run(job, { ...context, report: progressLine(context.report) }),
  });
  return concludeForeground(store, kind);
}

function concludeForeground(store: MigrationStore, kind: (typeof JOB_KINDS)[number]): number {
  const { error } = store.readState(kind) ?? {};
  if (error !== undefined) throw new MigrationError(error.code, error.message, error);
  const report = store.readReport(kind);
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  if (report?.kind === 'verify') return report.passed ? 0 : 1;
  if (report?.kind === 'preflight') return report.findings.some(({ status }) => status === 'fail') ? 1 : 0;
  return 0;
}

/** Passes progress on and shows it as one line per second on stderr. */
function progressLine(pass: JobRuntimeReport): JobRuntimeReport {
  let shownAtMs = 0;
  return (progress) => {
    pass(progress);
    if (systemClock.nowMs() - shownAtMs < 1000) return;
    shownAtMs = systemClock.nowMs();
    const { stage, percent, keys, keysPerSecond, lagBytes } = progress;
    const parts = [
      stage,
      percent === undefined ? '' : `${percent.toFixed(0)} %`,
      `${keys} keys`,
      `${Math.round(keysPerSecond)}/s`,
    ];
    if (lagBytes !== undefined) parts.push(`lag ${lagBytes} B`);
    process.stderr.write(`${parts.filter((part) => part !== '').join('  ')}\n`);
  };
}

type JobRuntimeReport = Parameters<JobRuntime['run']>[1]['report'];

function lookAt({
  verb,
  stateDirectory,
  migrationId,
  kind,
}: Extract<Invocation, { verb: 'status' | 'stop' }>): number {
  const store = openMigrationStore(join(stateDirectory, 'migrations', migrationId));
  const kinds = kind === undefined ? JOB_KINDS : [kind];
  if (verb === 'stop') for (const one of kinds) requestStop(store, one);
  const jobs = kinds.flatMap((one) => store.readState(one) ?? []);
  process.stdout.write(`${JSON.stringify({ migration: store.readMigration() ?? null, jobs }, null, 2)}\n`);
  return 0;
}

async function ping({ endpoints, count }: Extract<Invocation, { verb: 'ping' }>): Promise<number> {
  for (const { side, endpoint } of endpoints) {
    const access = await resolveAccess(side, endpoint, (reference) => secret(reference));
    await using client = await openClient(access);
    const latency = await measureLatency(client, count);
    process.stdout.write(`${JSON.stringify({ side, address: access.address, ...latency })}\n`);
  }
  return 0;
}

function jobRuntime(store: MigrationStore): JobRuntime {
  return { store, clock: systemClock, signal: stopping.signal, run: dispatchJob, resolveSecret: secret };
}

function secret(reference: Parameters<typeof resolveSecret>[0]) {
  return resolveSecret(reference, { env: process.env, signal: stopping.signal });
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
