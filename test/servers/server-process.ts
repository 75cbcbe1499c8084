import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { StartOptions } from './start.ts';

/** One life of a server's process, and where it lives. */
export type ServerProcess = {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly port: number;
  readonly tlsPort: number | undefined;
  readonly directory: string;
};

/** The name of the log below a server's directory. */
export const LOG_FILE = 'server.log';

const HOST = '127.0.0.1';
const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 10_000;
const PORT_ATTEMPTS = 20;
const LOG_TAIL_LINES = 20;

/**
 * Nothing can reserve a port for another process, so a port is free when the server itself has bound it:
 * tries ports at random, below the range the kernel uses for outgoing connections.
 */
export async function launchOnFreePort(options: StartOptions, directory: string): Promise<ServerProcess> {
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? randomPort();
    const tlsPort = options.tls === undefined ? undefined : randomPort();
    try {
      return await launchServer(options, { directory, port, tlsPort });
    } catch (error) {
      const isTaken = error instanceof Error && error.message.includes('Address already in use');
      if (!isTaken || options.port !== undefined || attempt === PORT_ATTEMPTS) throw error;
      await rm(path.join(directory, LOG_FILE), { force: true });
    }
  }
}

function randomPort(): number {
  return 10_000 + Math.floor(Math.random() * 10_000);
}

type Place = { directory: string; port: number; tlsPort: number | undefined };

/** Starts the process and waits until it answers; one that does not come up throws with the tail of its log. */
export async function launchServer(options: StartOptions, place: Place): Promise<ServerProcess> {
  const { directory, port } = place;
  const configPath = path.join(directory, 'server.conf');
  await writeFile(configPath, renderConfig(options, place));
  const logOffset = (await readLog(directory)).length;
  const [file = '', ...args] = [...dieWithParent(), ...options.server.command, configPath];
  const child = spawn(file, args, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      printed = (printed + chunk.toString()).slice(-10_000);
    });
  }
  const failed = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(`it ended with ${signal ?? `exit code ${code}`}`));
  });
  trackChild(child);
  const reason = await Promise.race([failed, waitUntilReady({ child, directory, port, logOffset })]);
  if (reason !== undefined || child.pid === undefined) {
    await endServerProcess(child, 'SIGKILL');
    const log = (await readLog(directory)).slice(logOffset) + printed;
    const tail = log.trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
    const { kind, version } = options.server;
    throw new Error(
      `${kind} ${version} on port ${port} did not come up: ${reason}. The end of its log:\n${tail}`,
    );
  }
  return { ...place, child, pid: child.pid };
}

function renderConfig(options: StartOptions, { directory, port, tlsPort }: Place): string {
  const { tls } = options;
  const directives: Record<string, string | readonly string[]> = {
    bind: HOST,
    dir: directory,
    logfile: path.join(directory, LOG_FILE),
    save: '""',
    appendonly: 'no',
    ...(options.cluster ? { 'cluster-enabled': 'yes', 'cluster-config-file': 'nodes.conf' } : {}),
    ...(tls && tlsPort
      ? {
          'tls-port': String(tlsPort),
          'tls-cert-file': tls.certificate,
          'tls-key-file': tls.key,
          'tls-ca-cert-file': tls.ca,
          'tls-auth-clients': 'no',
        }
      : {}),
    ...options.config,
    port: String(port),
  };
  const lines = Object.entries(directives).flatMap(([name, value]) =>
    (typeof value === 'string' ? [value] : value).map((single) => `${name} ${single}`),
  );
  return `${lines.join('\n')}\n`;
}

/**
 * The start of an argv whose program ends with this process.
 *
 * The exit hook below does not run when this process is killed by -9, so the kernel is asked to end the server
 * with its parent. setpriv replaces itself by the server: the process id stays the child's.
 */
export function dieWithParent(): string[] {
  const setpriv = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => existsSync(file));
  return setpriv === undefined ? [] : [setpriv, '--pdeathsig', 'KILL'];
}

type Readiness = { child: ChildProcess; directory: string; port: number; logOffset: number };

/** Resolves to nothing when the server is ready, else to what was waited for in vain. */
async function waitUntilReady({ child, directory, port, logOffset }: Readiness): Promise<string | undefined> {
  const deadline = performance.now() + START_LIMIT_MS;
  while (performance.now() < deadline && child.exitCode === null && child.signalCode === null) {
    // Its own log proves that this server, not a stranger on the same port, is the one that answers.
    const hasBound = (await readLog(directory)).slice(logOffset).includes('eady to accept connections');
    if (hasBound && (await answersPing(port))) return undefined;
    await delay(15);
  }
  return `it did not answer PING within ${START_LIMIT_MS} ms`;
}

function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: HOST, port, timeout: 1_000 }, () => socket.write('PING\r\n'));
    const settle = (isAnswered: boolean) => {
      socket.destroy();
      resolve(isAnswered);
    };
    socket.once('data', (data) => settle(/^(\+PONG|-NOAUTH|-DENIED)/.test(data.toString())));
    socket.once('error', () => settle(false));
    socket.once('timeout', () => settle(false));
    socket.once('close', () => settle(false));
  });
}

/** Ends a process by `signal`, by SIGKILL when it is still there after a while; one that has ended is left alone. */
export async function endServerProcess(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill(signal);
  const escalation = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
  // A process that a test has suspended takes no SIGTERM until it goes on.
  child.kill('SIGCONT');
  await ended;
  clearTimeout(escalation);
}

async function readLog(directory: string): Promise<string> {
  const logPath = path.join(directory, LOG_FILE);
  return existsSync(logPath) ? readFile(logPath, 'utf8') : '';
}

const liveChildren = new Set<ChildProcess>();
const liveDirectories = new Set<string>();
let isHooked = false;

/** Has a server's directory removed at the latest when this process exits. */
export function rememberDirectory(directory: string): void {
  liveDirectories.add(directory);
}

/** Has a child killed at the latest when this process exits. */
export function trackChild(child: ChildProcess): void {
  liveChildren.add(child);
  child.once('exit', () => liveChildren.delete(child));
  if (isHooked) return;
  isHooked = true;
  process.once('exit', () => {
    for (const live of liveChildren) live.kill('SIGKILL');
    for (const directory of liveDirectories) rmSync(directory, { recursive: true, force: true });
  });
}

/** Removes a server's directory. */
export async function forgetDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  liveDirectories.delete(directory);
}
