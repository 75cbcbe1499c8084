import { Redis } from 'ioredis';

/** A server that takes the writes of the applications. */
export type WriteTarget = { readonly host: string; readonly port: number };

/** What the writers did and what the new home holds of it. */
export type WriteAudit = {
  readonly acknowledged: number;
  /** Writes that the fenced source refused; the application tried them again elsewhere. */
  readonly refused: number;
  /** Acknowledged writes that are not there. */
  readonly lost: number;
  /** Acknowledged writes that are there more than once. */
  readonly doubled: number;
};

/** Applications that write all the time and remember every write that was acknowledged. */
export type Writers = AsyncDisposable & {
  acknowledgedCount(): number;
  /** What an application's configuration change does: connections are closed, and the next write goes to the new address. */
  moveTo(target: WriteTarget): void;
  /** Ends the writing after the write that is on its way. */
  stop(): Promise<void>;
  /** Looks for every acknowledged write. */
  audit(target: WriteTarget): Promise<WriteAudit>;
};

const WRITERS = 6;
/** Pause of one writer between two writes: together some hundred writes a second, so that a laptop stays usable. */
const PAUSE_MS = 8;

/** Starts the writers against the source. */
export function startWriters(source: WriteTarget, prefix: string): Writers {
  const state: State = { target: source, clients: new Set(), isStopping: false, refused: 0 };
  const journals: Journal[] = Array.from({ length: WRITERS }, (_, index) => ({
    name: `${prefix}:writer-${index}`,
    acknowledged: 0,
    uncertain: new Set(),
  }));
  const running = journals.map((journal) => write(journal, state));
  const stop = async () => {
    state.isStopping = true;
    await Promise.all(running);
  };
  return {
    acknowledgedCount: () => journals.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
    moveTo: (target) => {
      state.target = target;
      // One that waits at a paused server would wait on.
      for (const client of state.clients) client.disconnect();
      state.clients.clear();
    },
    stop,
    audit: async (target) => auditJournals(journals, target, state.refused),
    [Symbol.asyncDispose]: stop,
  };
}

type State = { target: WriteTarget; readonly clients: Set<Redis>; isStopping: boolean; refused: number };

/** What one writer knows: its writes are numbered from 1, and `acknowledged` of them were answered. */
type Journal = {
  readonly name: string;
  acknowledged: number;
  /** Numbers whose answer was lost with the connection: they may be there or not. */
  readonly uncertain: Set<number>;
};

async function write(journal: Journal, state: State): Promise<void> {
  let connected: { client: Redis; target: WriteTarget } | undefined;
  try {
    while (!state.isStopping) {
      if (connected?.target !== state.target) {
        connected?.client.disconnect();
        connected = { client: connect(state.target), target: state.target };
        state.clients.add(connected.client);
      }
      await writeOnce(journal, connected.client, state);
      await pause();
    }
  } finally {
    connected?.client.disconnect();
  }
}

/**
 * One business event in one transaction: a counter, a list, a stream and a string that must all agree.
 *
 * A refused transaction did nothing and is tried again under the same number; one whose answer is lost with the
 * connection may have been done, so its number is not used again.
 */
async function writeOnce(journal: Journal, client: Redis, state: State): Promise<void> {
  const number = journal.acknowledged + journal.uncertain.size + 1;
  try {
    const replies = await client
      .multi()
      .incr(`${journal.name}:counter`)
      .rpush(`${journal.name}:log`, number)
      .xadd(`${journal.name}:events`, `${number}-1`, 'number', number)
      .set(`${journal.name}:last`, number)
      .hincrbyfloat(`${journal.name}:totals`, 'amount', 0.5)
      .exec();
    if (replies?.some(([error]) => error)) throw new Error('half a transaction');
    journal.acknowledged += 1;
  } catch (error) {
    if (isRefusal(error)) state.refused += 1;
    else journal.uncertain.add(number);
  }
}

function isRefusal(error: unknown): boolean {
  const text = error instanceof Error ? `${error.message}` : '';
  return /NOREPLICAS|NOPERM|READONLY|EXECABORT|MASTERDOWN|LOADING/.test(text);
}

function connect({ host, port }: WriteTarget): Redis {
  const client = new Redis({ host, port, protocol: 2, maxRetriesPerRequest: 0, retryStrategy: () => 20 });
  // Every failed write says so itself.
  client.on('error', () => {});
  return client;
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
}

async function auditJournals(
  journals: readonly Journal[],
  target: WriteTarget,
  refused: number,
): Promise<WriteAudit> {
  const client = connect(target);
  try {
    let lost = 0;
    let doubled = 0;
    for (const journal of journals) {
      const logged = await client.lrange(`${journal.name}:log`, 0, -1);
      const events = await client.xrange(`${journal.name}:events`, '-', '+');
      const counter = Number(await client.get(`${journal.name}:counter`));
      const totals = Number(await client.hget(`${journal.name}:totals`, 'amount'));
      const found = countTraces(
        logged.map(Number),
        events.map(([, [, number]]) => Number(number)),
      );
      const numbers = journal.acknowledged + journal.uncertain.size;
      for (let number = 1; number <= numbers; number += 1) {
        const { inLog, inStream } = found.get(number) ?? { inLog: 0, inStream: 0 };
        if (!journal.uncertain.has(number) && (inLog === 0 || inStream === 0)) lost += 1;
        if (inLog > 1 || inStream > 1) doubled += 1;
      }
      // The counters can only be told apart from the list by a write that was half done or done twice.
      lost += Math.max(0, logged.length - counter, logged.length - totals * 2);
      doubled += Math.max(0, counter - logged.length, totals * 2 - logged.length);
    }
    const acknowledged = journals.reduce((sum, journal) => sum + journal.acknowledged, 0);
    return { acknowledged, refused, lost, doubled };
  } finally {
    client.disconnect();
  }
}

function countTraces(
  logged: readonly number[],
  streamed: readonly number[],
): Map<number, { inLog: number; inStream: number }> {
  const traces = new Map<number, { inLog: number; inStream: number }>();
  const trace = (number: number) => {
    const found = traces.get(number) ?? { inLog: 0, inStream: 0 };
    traces.set(number, found);
    return found;
  };
  for (const number of logged) trace(number).inLog += 1;
  for (const number of streamed) trace(number).inStream += 1;
  return traces;
}
