import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { RunningServer } from '../servers/start.ts';

/** What has been acknowledged of what must not be lost or doubled, over all databases. */
export type Counts = {
  readonly increments: number;
  readonly pushes: number;
  readonly entries: number;
  readonly transactions: number;
};

/** Clients that write to a source, and know what it has acknowledged. */
export type AcknowledgedLoad = AsyncDisposable & {
  /** Resolves when nothing is under way any more. */
  pause(): Promise<void>;
  /** Goes on, at the server that is the source now. */
  resume(): void;
  /** What the source should hold. */
  readonly acknowledged: Counts;
  /** Takes what the server holds for acknowledged: after it has lost writes by itself. */
  rebase(server: RunningServer): Promise<void>;
  /** Empties the lists and streams, so that a long run stays small; only while it is paused. */
  clear(): Promise<void>;
};

const DATABASES = [0, 4];
const SMALL_KEYS = 300;
/** Between two pipelines of a client: a steady load leaves the machine to what is tested. */
const PACE_MS = 4;

/** Starts one client for each of two databases; `source` says where the source is now. */
export function startAcknowledgedLoad(source: () => RunningServer): AcknowledgedLoad {
  const counts = { increments: 0, pushes: 0, entries: 0, transactions: 0 };
  let pausing = new AbortController();
  let writing: Promise<unknown> = Promise.resolve();
  let number = 0;
  const write = async (db: number, signal: AbortSignal) => {
    const client = source().client(db);
    while (!signal.aborted) {
      number += 1;
      const replies = await writeOnce(client, number);
      const failed = replies?.find(([error]) => error !== null);
      if (replies === null || failed?.[0]) throw failed?.[0] ?? new Error('the source said nothing');
      counts.increments += 2;
      counts.pushes += 2;
      counts.entries += 1;
      counts.transactions += 1;
      await sleep(PACE_MS);
    }
    client.disconnect();
  };
  const resume = () => {
    pausing = new AbortController();
    writing = Promise.all(DATABASES.map((db) => write(db, pausing.signal)));
    // Looked at by `pause`; a failure before that is not unhandled.
    writing.catch(() => {});
  };
  const pause = async () => {
    pausing.abort();
    await writing;
  };
  resume();
  return {
    pause,
    resume,
    get acknowledged() {
      return { ...counts };
    },
    rebase: async (server) => {
      Object.assign(counts, await countWritten(server));
    },
    clear: async () => {
      for (const db of DATABASES) await source().client(db).del('list', 'stream');
      counts.pushes = 0;
      counts.entries = 0;
    },
    [Symbol.asyncDispose]: pause,
  };
}

/** What a server holds of what the load counts. */
export async function countWritten(server: RunningServer): Promise<Counts> {
  const counts = { increments: 0, pushes: 0, entries: 0, transactions: 0 };
  for (const db of DATABASES) {
    const client = server.client(db);
    counts.increments += Number(await client.get('counter'));
    counts.pushes += await client.llen('list');
    counts.entries += await client.xlen('stream');
    counts.transactions += Number(await client.get('transactions'));
    client.disconnect();
  }
  return counts;
}

function writeOnce(client: Redis, number: number): ReturnType<ReturnType<Redis['pipeline']>['exec']> {
  const key = `small:${number % SMALL_KEYS}`;
  const calls: [string, ...(string | number)[]][] = [
    ['INCR', 'counter'],
    ['LPUSH', 'list', number],
    ['XADD', 'stream', '*', 'number', number],
    ['MULTI'],
    ['INCR', 'counter'],
    ['INCR', 'transactions'],
    ['LPUSH', 'list', `in a transaction ${number}`],
    ['APPEND', key, `+${number}`],
    ['EXEC'],
    ['HINCRBY', `hash:${number % SMALL_KEYS}`, 'field', 1],
    ['SET', `${key}:brief`, number, 'PX', 5 + (number % 500)],
    ['SET', `${key}:lasting`, 'x'.repeat(number % 700), 'EX', 5_000],
    ['DEL', number % 7 === 0 ? key : 'none'],
  ];
  const pipeline = client.pipeline();
  for (const [name, ...args] of calls) pipeline.call(name, ...args);
  return pipeline.exec();
}
