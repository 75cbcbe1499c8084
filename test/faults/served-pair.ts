import { setTimeout as sleep } from 'node:timers/promises';
import type { ServerBinary } from '../servers/server-binary.ts';
import { type RunningServer, startServer } from '../servers/start.ts';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';

/** A server with a replica that can take its place; both are reached through one proxy. */
export type ServedPair = AsyncDisposable & {
  readonly proxy: TcpProxy;
  /** The one that takes writes. */
  readonly primary: RunningServer;
  readonly standby: RunningServer;
  /** Resolves when the standby follows the primary: before, it has nothing of what was written since it took its place. */
  standbyFollows(): Promise<void>;
  /** Resolves when the standby has all that the primary has; nothing may be written meanwhile. */
  standbyCaughtUp(): Promise<void>;
  /** Has the primary write what it holds to its disk. */
  save(): Promise<void>;
  /** Ends the primary, as by a crash, and starts it again from what its disk has. */
  restart(signal: NodeJS.Signals): Promise<void>;
  /** Puts the standby in the place of the primary, which becomes the standby of the other. */
  failOver(options: { isCrash: boolean }): Promise<void>;
};

const POLL_MS = 20;
const LIMIT_MS = 30_000;

/** Starts the two and the proxy. */
export async function startServedPair(
  server: ServerBinary,
  config: Readonly<Record<string, string>>,
): Promise<ServedPair> {
  const stack = new AsyncDisposableStack();
  const servers: [RunningServer, RunningServer] = [
    stack.use(await startServer({ server, config })),
    stack.use(await startServer({ server, config })),
  ];
  const proxy = stack.use(await startTcpProxy(servers[0].port));
  const follow = () => servers[1].client().call('REPLICAOF', '127.0.0.1', String(servers[0].port));
  await follow();
  return {
    proxy,
    get primary() {
      return servers[0];
    },
    get standby() {
      return servers[1];
    },
    standbyFollows: () => until(async () => !(await offsetOf(servers[1])).startsWith(DOWN)),
    standbyCaughtUp: () => until(async () => (await offsetOf(servers[1])) === (await offsetOf(servers[0]))),
    save: () => save(servers[0]),
    restart: async (signal) => {
      await servers[0].restart(signal);
    },
    failOver: async ({ isCrash }) => {
      proxy.refuse();
      const old = servers[0];
      if (isCrash) process.kill(old.pid, 'SIGKILL');
      await servers[1].client().call('REPLICAOF', 'NO', 'ONE');
      servers.reverse();
      proxy.leadTo(servers[0].port);
      if (isCrash) await old.restart('SIGKILL');
      await follow();
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const DOWN = 'down';

/** The replid and offset of a server; of a replica whose link is down, nothing that equals any other. */
async function offsetOf(server: RunningServer): Promise<string> {
  const info = await server.client().info('replication');
  const field = (name: string) => new RegExp(`^${name}:(.*)\r$`, 'm').exec(info)?.[1];
  if (field('role') === 'slave' && field('master_link_status') !== 'up') return `${DOWN} ${server.port}`;
  return `${field('master_replid')} ${field('master_repl_offset')}`;
}

/** One may be under way already, for a replica or a rewritten log: then another one follows. */
async function save(server: RunningServer): Promise<void> {
  const client = server.client();
  await until(async () => {
    try {
      return (await client.save()) === 'OK';
    } catch (error) {
      if (!/in progress/.test(String(error))) throw error;
      return false;
    }
  });
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  while (!(await condition())) {
    signal.throwIfAborted();
    await sleep(POLL_MS, undefined, { signal });
  }
}
