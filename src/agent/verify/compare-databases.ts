import { MigrationError } from '../../core/errors.ts';
import type { Command } from '../redis/raw-connection.ts';
import { type BatchOptions, compareBatch, compareExpiries } from './compare-batch.ts';
import type { Pair } from './key-comparison.ts';
import { markSource, waitForMark } from './lag.ts';
import { forEachConcurrently } from './pool.ts';
import { addSuspects, tell, type VerifyOptions, type VerifyRun } from './run.ts';
import { scanCount, scanKeys } from './scan.ts';
import { skipReason } from './skip-reason.ts';
import { holdsNothingElse, readMoment } from './stillness.ts';

/** Batches that are compared side by side, so that no side waits for the other. */
const BATCHES_AT_ONCE = 5;

/** Compares every key of every database, in both directions. Throws the codes of `compareAll`. */
export async function compareEverything(run: VerifyRun): Promise<void> {
  await waitForMark(run.pair, run.options.after, run.options);
  await compareDatabases(run);
}

/**
 * Compares the keys that are given: what the source has done until now is what the verification is about; what comes
 * later is for the next one. Throws the codes of `compareAll`.
 */
export async function compareTouched(
  run: VerifyRun,
  touched: NonNullable<VerifyOptions['touched']>,
): Promise<void> {
  const { pair, tally, options } = run;
  const mark = await markSource(pair, options.clock);
  await waitForMark(pair, mark, options);
  await forEachConcurrently(touched(mark), BATCHES_AT_ONCE, async ({ db, keys }) => {
    options.signal.throwIfAborted();
    tally.addScanned(db, 'source', keys.length);
    await compareKeys(run, { db, keys });
  });
}

/** Databases may come up while others are compared, so they are listed again until none is new. */
async function compareDatabases(run: VerifyRun): Promise<void> {
  const { source, target } = run.pair;
  const done = new Set<number>();
  const swaps = await readSwaps(run.pair);
  for (;;) {
    const [atSource, atTarget] = await Promise.all([source.databases(), target.databases()]);
    run.keysExpected = [...atSource.values(), ...atTarget.values()].reduce((sum, { keys }) => sum + keys, 0);
    const fresh = [...new Set([...atSource.keys(), ...atTarget.keys()])].filter((db) => !done.has(db));
    if (fresh.length === 0) break;
    for (const db of fresh.sort((a, b) => a - b)) {
      const before = await readMoment(run.pair);
      const { keys, equal } = await compareTargetKeys(run, db);
      if (keys === equal && (await holdsNothingElse(run.pair, { db, keys, before }))) {
        run.tally.addScanned(db, 'source', keys);
        tell(run, 'scanning-source');
      } else {
        await findMissingKeys(run, db);
      }
      done.add(db);
    }
  }
  if ((await readSwaps(run.pair)) === swaps) return;
  throw new MigrationError(
    'verification-incomplete',
    'Databases were swapped (SWAPDB) during the verification, so that keys may have been passed over.',
  );
}

/** How often each server has swapped databases: keys that change places with those compared before are never seen. */
async function readSwaps({ source, target }: Pair): Promise<string> {
  const replies = await Promise.all(
    [source, target].map((session) => session.askEvery(['INFO', 'commandstats'])),
  );
  return replies
    .flat()
    .map((reply) => /^cmdstat_swapdb:calls=(\d+)/m.exec(String(reply))?.[1] ?? '0')
    .join();
}

/**
 * The target is scanned and not the source, which is the one that serves clients.
 *
 * In a database that holds no key that expires, at either side, no key is asked when it does. Whoever got a time while
 * its values were compared is found at the end, when some key has one: then all are asked for it after all.
 */
async function compareTargetKeys(run: VerifyRun, db: number): Promise<{ keys: number; equal: number }> {
  const { pair } = run;
  const counts = { keys: 0, equal: 0 };
  const guess = { stringBatches: 0, bytesPerString: 0, portionsAlone: 0 };
  const expiry = (await holdsExpiring(pair, db)) ? 'each' : 'none';
  const scan = scanKeys(pair.target, db, () => scanCount(guess));
  await forEachConcurrently(scan, BATCHES_AT_ONCE, async (keys) => {
    run.options.signal.throwIfAborted();
    counts.keys += keys.length;
    // Not in one statement: the sum would be read before the batches beside it have added to it.
    const equal = await compareKeys(run, { db, keys, how: { expiry, guess } });
    counts.equal += equal;
  });
  if (expiry === 'each' || !(await holdsExpiring(pair, db))) return counts;
  await forEachConcurrently(scanKeys(pair.target, db), BATCHES_AT_ONCE, async (keys) => {
    run.options.signal.throwIfAborted();
    const suspects = await compareExpiries(pair, db, keys);
    counts.equal -= suspects.length;
    await addSuspects(run, db, suspects);
  });
  return counts;
}

async function holdsExpiring({ source, target }: Pair, db: number): Promise<boolean> {
  const sides = await Promise.all([source.databases(), target.databases()]);
  return sides.some((databases) => (databases.get(db)?.expires ?? 0) > 0);
}

type Keys = { readonly db: number; readonly keys: readonly Buffer[]; readonly how?: BatchOptions };

/** Compares keys that either side may hold; returns how many were found equal at once. */
async function compareKeys(run: VerifyRun, { db, keys, how }: Keys): Promise<number> {
  const { pair, tally } = run;
  const { typeCounts, suspects, skipped } = await compareBatch(pair, db, keys, how);
  let equal = 0;
  tally.addScanned(db, 'target', keys.length);
  for (const [type, count] of typeCounts) {
    tally.addCompared(type, count);
    equal += count;
  }
  for (const { key, reason } of skipped) tally.addSkipped(db, key, reason);
  await addSuspects(run, db, suspects);
  tell(run, 'scanning-target');
  return equal - suspects.length - skipped.length;
}

/** The other direction: keys of the source that the target lacks. Needs no memory of what the target had. */
async function findMissingKeys(run: VerifyRun, db: number): Promise<void> {
  const { pair, tally } = run;
  await forEachConcurrently(scanKeys(pair.source, db), BATCHES_AT_ONCE, async (keys) => {
    run.options.signal.throwIfAborted();
    const [existing] = await pair.target.ask(db, [['EXISTS', ...keys]]);
    tally.addScanned(db, 'source', keys.length);
    if (existing !== keys.length) await addMissing(run, db, keys);
    tell(run, 'scanning-source');
  });
}

async function addMissing(run: VerifyRun, db: number, keys: readonly Buffer[]): Promise<void> {
  const { source, target } = run.pair;
  const found = await target.ask(
    db,
    keys.map((key): Command => ['EXISTS', key]),
  );
  const missing = keys.filter((_, index) => found[index] !== 1);
  const types = await source.ask(
    db,
    missing.map((key): Command => ['TYPE', key]),
  );
  const suspects = missing.filter((key, index) => {
    const type = String(types[index]);
    const reason = skipReason({ source: type, target: 'none' });
    if (reason !== undefined) run.tally.addSkipped(db, key, reason);
    else if (type !== 'none') run.tally.addCompared(type, 1);
    return reason === undefined;
  });
  await addSuspects(run, db, suspects);
}
