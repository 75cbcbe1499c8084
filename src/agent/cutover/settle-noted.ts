import { isMigrationError } from '../../core/errors.ts';
import type { JobContext } from '../job/context.ts';
import type { Access } from '../redis/access.ts';
import { openRoutedConnection, type RoutedConnection } from '../redis/cluster/routed-connection.ts';
import { unpadExpiry } from '../redis/expiry-pad.ts';
import { forEachConcurrently } from '../verify/pool.ts';
import { TouchedKeysUnknown, touchedBatches } from '../verify/touched-batches.ts';
import type { Position } from './drain.ts';
import { findExpiring } from './expiring-databases.ts';
import type { ExpiringKeys, NotedKey } from './expiring-keys.ts';
import { exchange, rewriteExpiriesOf, takePadOff, writeExpiries } from './rewrite-expiries.ts';
import { settleHashes as settleFieldsOf } from './settle-fields.ts';

/** What was noted before the fence, and up to where the target has committed what was touched since. */
export type Noted = { readonly expiring: ExpiringKeys; readonly drained: Position };

/** How many keys and hash fields lost their pad. */
export type Settled = { readonly keys: number; readonly fields: number };

/** Batches on their way side by side, so that neither side waits for the other. */
const BATCHES_AT_ONCE = 3;
const BATCH_KEYS = 1000;
/** Touched keys whose names are kept in memory; with more of them every noted key is asked for its time again. */
const TOUCHED_MAX = 200_000;

/**
 * Restores the exact expiry times of the keys that were noted or touched since; all others have theirs already. What
 * was not touched still has the time that was noted.
 *
 * Undefined where that is not known any more, or the target was lost meanwhile: then all keys are to be gone over.
 *
 * @throws the codes of connections to the target, or the signal's reason
 */
export async function settleNoted(
  access: Access,
  { expiring, drained }: Noted,
  { directory, signal, log }: Pick<JobContext, 'directory' | 'signal' | 'log'>,
): Promise<Settled | undefined> {
  await using pass = await openPass(access, signal);
  const current = () => touchedBatches(directory, { id: expiring.generation, mark: drained });
  try {
    const touched = new NameSet(TOUCHED_MAX);
    for await (const { db, keys } of current()) for (const key of keys) touched.add(db, key);
    for (const { db, key } of expiring.touched()) touched.add(db, key);
    const noted = touched.isFull ? [] : untouched(expiring.keys(), touched);
    await forEachConcurrently(inBatches(noted), BATCHES_AT_ONCE, pass.settleAsNoted);
    const others = touched.isFull ? [expiring.keys(), expiring.touched()] : [expiring.touched()];
    for (const keys of others) {
      await forEachConcurrently(inBatches(keys), BATCHES_AT_ONCE, pass.settle);
    }
    await forEachConcurrently(inBatches(expiring.hashes()), BATCHES_AT_ONCE, pass.settleHashes);
    await forEachConcurrently(current(), BATCHES_AT_ONCE, ({ db, keys }) =>
      pass.settle({ db, keys: keys.map((key) => ({ key })) }),
    );
    return pass.settled;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof TouchedKeysUnknown) && !isMigrationError(error)) throw error;
    log(`all keys are gone over for their expiry times: ${error.message}`);
    return undefined;
  }
}

function* untouched(noted: Iterable<NotedKey>, touched: NameSet): Generator<NotedKey> {
  for (const key of noted) if (!touched.has(key.db, key.key)) yield key;
}

type Batch<Key> = { readonly db: number; readonly keys: readonly Key[] };

/** Keys as they come, each batch of one database; the names are copied. */
function* inBatches<Key extends { readonly db: number; readonly key: Buffer }>(
  records: Iterable<Key>,
): Generator<Batch<Key>> {
  let db = 0;
  let keys: Key[] = [];
  for (const record of records) {
    if (keys.length > 0 && (record.db !== db || keys.length === BATCH_KEYS)) {
      yield { db, keys };
      keys = [];
    }
    db = record.db;
    keys.push({ ...record, key: Buffer.from(record.key) });
  }
  if (keys.length > 0) yield { db, keys };
}

/** Connections by database; hashes are looked at only in databases that may hold fields that expire. */
async function openPass(access: Access, signal: AbortSignal) {
  const stack = new AsyncDisposableStack();
  const withFields = new Set<number>();
  for (const { db, hasFields } of await findExpiring(access, signal)) if (hasFields) withFields.add(db);
  const connections = new Map<number, Promise<RoutedConnection>>();
  const connectionTo = (db: number) => {
    const known = connections.get(db);
    if (known !== undefined) return known;
    const opening = openRoutedConnection(access, { db, signal }).then((opened) => stack.use(opened));
    connections.set(db, opening);
    return opening;
  };
  const settled = { keys: 0, fields: 0 };
  const settleAsNoted = async ({ db, keys }: Batch<NotedKey>) => {
    const exact = keys.map(({ key, atMs }) => ({ key, atMs: unpadExpiry(atMs) }));
    await writeExpiries(await connectionTo(db), exact);
    settled.keys += keys.length;
  };
  const settleHashes = async ({ db, keys }: Batch<{ readonly key: Buffer }>) => {
    if (!withFields.has(db)) return;
    const connection = await connectionTo(db);
    const types = await exchange(
      connection,
      keys.map(({ key }) => ['TYPE', key]),
    );
    const hashes = keys.filter((_, index) => String(types[index]) === 'hash').map(({ key }) => key);
    const count = await settleFieldsOf(connection, hashes);
    settled.fields += count;
  };
  const settle = async (batch: Batch<{ readonly key: Buffer }>) => {
    const names = batch.keys.map(({ key }) => key);
    const count = await rewriteExpiriesOf(await connectionTo(batch.db), names, takePadOff);
    settled.keys += count;
    await settleHashes(batch);
  };
  return {
    settled,
    settle,
    settleAsNoted,
    settleHashes,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Names of keys, up to a number of them. */
class NameSet {
  readonly #names = new Map<number, Set<string>>();
  readonly #sizeMax: number;
  #size = 0;

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  /** Whether a name was left out. */
  get isFull(): boolean {
    return this.#size > this.#sizeMax;
  }

  add(db: number, key: Buffer): void {
    if (this.isFull) return;
    const names = this.#names.get(db) ?? new Set();
    this.#names.set(db, names);
    this.#size -= names.size;
    names.add(key.toString('latin1'));
    this.#size += names.size;
  }

  has(db: number, key: Buffer): boolean {
    return this.#names.get(db)?.has(key.toString('latin1')) ?? false;
  }
}
