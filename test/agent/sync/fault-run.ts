import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { expect } from 'vitest';
import type { RunningServer } from '../../servers/start.ts';
import { type LiveWriters, startLiveWriters } from './live-writers.ts';
import type { ServerPlace, SyncRun } from './sync-run.ts';
import { compareDumps, readTypedDump } from './typed-dump.ts';

/** Writes to the source with all that its version knows. */
export function startWriters(source: RunningServer): LiveWriters {
  const { kind, version } = source.server;
  return startLiveWriters(source, { version: kind === 'valkey' ? '7.2.4' : version });
}

/** Resolves when the log of the sync has the text at least so many times. */
export async function logged(sync: SyncRun, text: string, times: number): Promise<void> {
  const count = () => sync.log.filter((line) => line.includes(text)).length;
  if (count() < times) await sync.until(() => count() >= times);
}

/** Starts a sync in a process of its own; resolves when it applies the stream, or at once when it need not. */
export async function startChild(
  source: Pick<ServerPlace, 'port'>,
  target: Pick<ServerPlace, 'port'>,
  { directory, isAwaited = true }: { directory?: string; isAwaited?: boolean } = {},
): Promise<ChildProcess> {
  const script = path.join(import.meta.dirname, 'sync-child.ts');
  const folder = directory === undefined ? [] : [directory];
  const child = spawn(process.execPath, [script, String(source.port), String(target.port), ...folder], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  child.stderr.on('data', (chunk: Buffer) => {
    printed += chunk;
  });
  if (!isAwaited) return child;
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', () => reject(new Error(`the sync ended: ${printed}`)));
  });
  return child;
}

/** Ends a connection that the sync writes on, as the server lists it. */
export async function killWriter(server: RunningServer, named = / name=valkey-migrate:/): Promise<void> {
  const list = String(await server.client().call('CLIENT', 'LIST'));
  const id = /^id=(\d+) /.exec(list.split('\n').find((line) => named.test(line)) ?? '')?.[1];
  if (id === undefined) throw new Error('the sync has no connection to the server');
  await server.client().call('CLIENT', 'KILL', 'ID', id);
}

/** Ends a process by -9, and resolves when it is gone. */
export async function kill(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

/** Reads both servers key by key, and finds no difference. */
export async function expectEqual(
  source: Pick<ServerPlace, 'client'>,
  target: Pick<ServerPlace, 'client'>,
): Promise<void> {
  expect(compareDumps(await readTypedDump(source.client()), await readTypedDump(target.client()))).toEqual(
    [],
  );
}

/** What the live writers have counted, as the target holds it. */
export async function countersOf(target: Pick<RunningServer, 'client'>): Promise<Record<string, number>> {
  const clients = [target.client(0), target.client(4)];
  const sum = async (read: (client: (typeof clients)[number]) => Promise<unknown>) =>
    (await Promise.all(clients.map(read))).reduce<number>((total, value) => total + Number(value), 0);
  return {
    increments: await sum((client) => client.get('counter')),
    pushes: await sum((client) => client.llen('list')),
    transactions: await sum((client) => client.get('transactions')),
  };
}

/** How many full copies the source has given since it was started. */
export async function fullSyncsOf(source: Pick<ServerPlace, 'client'>): Promise<number> {
  const client = source.client();
  const stats = await client.info('stats');
  client.disconnect();
  return Number(/^sync_full:(\d+)/m.exec(stats)?.[1]);
}
