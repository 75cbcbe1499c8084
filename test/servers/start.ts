import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { FETCH_COMMAND, listServers } from './catalogue.ts';
import { chooseServer, identifyServer, type ServerBinary, type WantedServer } from './server-binary.ts';
import {
  endServerProcess,
  forgetDirectory,
  LOG_FILE,
  launchOnFreePort,
  launchServer,
  rememberDirectory,
  type ServerProcess,
} from './server-process.ts';
import type { TlsFiles } from './tls.ts';

/** How to start a server. */
export type StartOptions = {
  readonly server: ServerBinary;
  /** Directives and their values as redis.conf spells them; a list repeats the directive. They win over the defaults. */
  readonly config?: Readonly<Record<string, string | readonly string[]>>;
  /** Without it a free port is found. */
  readonly port?: number;
  /** Starts with cluster mode on and no slots assigned; the bus listens on port + 10000. */
  readonly cluster?: boolean;
  /** Opens a TLS port beside the plain one; clients need no certificate. */
  readonly tls?: TlsFiles;
};

/** A server of our own on the loopback; it ends with `await using`, and at the latest with this process. */
export type RunningServer = AsyncDisposable & {
  readonly host: '127.0.0.1';
  readonly port: number;
  readonly tlsPort: number | undefined;
  /** Changes with `restart`. */
  readonly pid: number;
  readonly server: ServerBinary;
  readonly directory: string;
  readonly logPath: string;
  /** A client on `db` (0 by default), with `requirepass` if set; it survives `restart` and ends with `stop`. */
  client(db?: number): Redis;
  /** Ends the process, by SIGTERM unless told, by SIGKILL when that does not help; the directory stays. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Stops and starts again: same port, directory and configuration, so it loads what the last life saved. */
  restart(signal?: NodeJS.Signals): Promise<void>;
};

const HOST = '127.0.0.1';

/** Starts a server and waits until it answers; one that does not come up throws with the tail of its log. */
export async function startServer(options: StartOptions): Promise<RunningServer> {
  const directory = await mkdtemp(path.join(os.tmpdir(), `valkey-migrate-${options.server.kind}-`));
  rememberDirectory(directory);
  try {
    return makeServer(options, await launchOnFreePort(options, directory));
  } catch (error) {
    await forgetDirectory(directory);
    throw error;
  }
}

function makeServer(options: StartOptions, firstLife: ServerProcess): RunningServer {
  const { directory, port, tlsPort } = firstLife;
  const clients = new Set<Redis>();
  let life = firstLife;
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    for (const client of clients) client.disconnect();
    clients.clear();
    await endServerProcess(life.child, signal);
  };
  return {
    host: HOST,
    port,
    tlsPort,
    get pid() {
      return life.pid;
    },
    server: options.server,
    directory,
    logPath: path.join(directory, LOG_FILE),
    client: (db = 0) => {
      const client = openClient(port, db, options.config?.requirepass);
      clients.add(client);
      return client;
    },
    stop,
    restart: async (signal = 'SIGTERM') => {
      await endServerProcess(life.child, signal);
      life = await launchServer(options, { directory, port, tlsPort });
    },
    [Symbol.asyncDispose]: async () => {
      await stop();
      await forgetDirectory(directory);
    },
  };
}

function openClient(port: number, db: number, password: string | readonly string[] | undefined): Redis {
  const client = new Redis({
    host: HOST,
    port,
    db,
    ...(typeof password === 'string' ? { password: password.replace(/^"(.*)"$/, '$1') } : {}),
    // Commands wait up to ten seconds for a server that restarts.
    retryStrategy: () => 50,
    maxRetriesPerRequest: 200,
  });
  // Without a listener ioredis prints each broken connection; the command that fails says it anyway.
  client.on('error', () => {});
  return client;
}

/** Finds a server at hand; throws an error that names the command that fetches it. */
export async function findServer(wanted: WantedServer): Promise<ServerBinary> {
  const servers = await listServers();
  const server = chooseServer(servers, wanted);
  if (server !== undefined) return server;
  const known = servers.map(({ kind, version }) => `${kind} ${version}`).join(', ') || 'none';
  throw new Error(
    `There is no ${wanted.kind} ${wanted.version} at hand (there is: ${known}). Fetch it with: ${FETCH_COMMAND}`,
  );
}

/** The server the tests migrate from: the program named by SOURCE_SERVER, else Redis 8.0. */
export async function sourceServer(): Promise<ServerBinary> {
  return (await serverFromEnvironment('SOURCE_SERVER')) ?? findServer({ kind: 'redis', version: '8.0' });
}

/** The server the tests migrate to: the program named by TARGET_SERVER, else the newest Valkey 8, or where there is none the newest Valkey. */
export async function targetServer(): Promise<ServerBinary> {
  const named = await serverFromEnvironment('TARGET_SERVER');
  const valkey8 = named ?? chooseServer(await listServers(), { kind: 'valkey', version: '8' });
  return valkey8 ?? findServer({ kind: 'valkey', version: 'newest' });
}

async function serverFromEnvironment(
  name: 'SOURCE_SERVER' | 'TARGET_SERVER',
): Promise<ServerBinary | undefined> {
  const program = process.env[name];
  if (program === undefined || program === '') return undefined;
  try {
    return await identifyServer([program]);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${name}=${program} is no server that runs here: ${reason}`);
  }
}
