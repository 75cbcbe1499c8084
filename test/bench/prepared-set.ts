import { mkdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { type Command, openRawConnection } from '../../src/agent/redis/raw-connection.ts';
import { ErrorReply } from '../../src/agent/redis/reply-parser.ts';
import type { ServerBinary } from '../servers/server-binary.ts';
import { type RunningServer, startServer } from '../servers/start.ts';
import { type DataFingerprint, takeFingerprint } from './data-fingerprint.ts';
import { DATA_SETS } from './data-sets.ts';
import type { DataSetId } from './options.ts';
import { debugConfig } from './server-pair.ts';

/** A data set as an RDB file that every run's source loads; disposing removes it. */
export type PreparedSet = AsyncDisposable & {
  readonly id: DataSetId;
  /** The folder of `dump.rdb`. */
  readonly directory: string;
  readonly items: number;
  readonly rdbBytes: number;
  readonly fingerprint: DataFingerprint;
};

/** Makes the data on a server like the source and has it saved. */
export async function prepareSet(preparation: {
  readonly id: DataSetId;
  readonly scale: number;
  readonly server: ServerBinary;
  /** Below it the set gets a folder of its own. */
  readonly directory: string;
  readonly signal: AbortSignal;
}): Promise<PreparedSet> {
  const { id, scale, server, signal } = preparation;
  const directory = path.join(preparation.directory, `set-${id}`);
  await mkdir(directory);
  const dataSet = DATA_SETS[id];
  const items = Math.max(1, Math.round(dataSet.items * scale));
  await using maker = await startServer({ server, config: { ...debugConfig(server), dir: directory } });
  await load(maker, dataSet.batches(items), signal);
  const client = maker.client();
  await client.save();
  const fingerprint = await takeFingerprint(client);
  const { size } = await stat(path.join(directory, 'dump.rdb'));
  return {
    id,
    directory,
    items,
    rdbBytes: size,
    fingerprint,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

async function load(
  { host, port }: RunningServer,
  batches: Iterable<readonly Command[]>,
  signal: AbortSignal,
): Promise<void> {
  const access = { side: 'source', host, port, address: `${host}:${port}` } as const;
  const plain = { username: undefined, password: undefined, tls: undefined };
  await using connection = await openRawConnection({ ...access, ...plain }, { signal });
  const send = async (batch: readonly Command[]) => {
    for (const reply of await connection.send(batch)) if (reply instanceof ErrorReply) throw reply;
  };
  // One batch is on its way while the next is made.
  let inFlight = Promise.resolve();
  for (const batch of batches) {
    await inFlight;
    inFlight = send(batch);
    // Awaited in the next turn: a refusal must not count as nobody's until then.
    inFlight.catch(() => {});
  }
  await inFlight;
}
