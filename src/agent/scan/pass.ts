import { isMigrationError } from '../../core/errors.ts';
import { openRoutedConnection } from '../redis/cluster/routed-connection.ts';
import type { Command, RawConnection } from '../redis/raw-connection.ts';
import { BATCH_KEYS, copyDirty } from './dirty-copy.ts';
import { copyFunctions } from './functions.ts';
import { readAllDatabases, scanPages } from './keyspace.ts';
import { Scanner } from './scanner.ts';
import type { ScanSession } from './session.ts';

/** What a pass does besides copying. */
export type PassOptions = {
  /** Whether the target may hold keys that the source has not. */
  readonly mayHaveExtras: boolean;
};

/**
 * Copies every key of the source, and afterwards finds those of the target that the source has not. Ends early when a
 * gap is found: then everything must be gone over again.
 *
 * Changes from now on have events, so what was dirty before is forgotten.
 *
 * @throws the codes of both connections, source-data-unsupported, target-databases-too-few, or the signal's reason
 */
export async function passOver(session: ScanSession, { mayHaveExtras }: PassOptions): Promise<void> {
  const { copier, dirty, meter, skips, sourceClient, primaries, attention } = session;
  // Who waits until the target has everything must not take what follows for that.
  meter.stage = 'copying';
  await copier.finish();
  dirty.clear();
  attention.closeGap();
  skips.clear();
  const { source, signal } = session;
  await using scanner = await openRoutedConnection(source, { signal });
  const databases = await readAllDatabases(scanner);
  meter.startPass(databases.reduce((sum, { keys }) => sum + (Number.isFinite(keys) ? keys : 0), 0));
  const { footerVersion } = session.facts.dialect;
  await copyFunctions(sourceClient, { primaries: primaries.all, footerVersion });
  for (const { db, expires } of databases) {
    // A time that is set after this was read has an event.
    await copyDatabase(session, { db, expiry: expires === 0 ? 'none' : 'each' });
    if (session.attention.gap !== undefined) return;
  }
  await copier.finish();
  if (mayHaveExtras) await findExtras(session);
  meter.finishPass();
}

async function copyDatabase(
  session: ScanSession,
  { db, expiry }: { readonly db: number; readonly expiry: 'each' | 'none' },
): Promise<void> {
  const { copier, dirty, meter } = session;
  await using scanner = new Scanner(session, db);
  const reopen = (failure: unknown) => scanner.reopen(failure);
  for await (const page of scanPages(await scanner.open(), db, reopen)) {
    for (let from = 0; from < page.length; from += BATCH_KEYS) {
      if (session.attention.gap !== undefined) return;
      // Before they need the disk: what is changed while it waits there is written twice.
      if (dirty.isPressing) await copyDirty(session);
      const keys = page.slice(from, from + BATCH_KEYS);
      await copier.copy({ db, keys, expiry }, () => meter.scanned(keys.length));
    }
  }
}

/** A key that only the target has is dirty: the source is asked for it once more before it is removed. */
async function findExtras(session: ScanSession): Promise<void> {
  const { target, signal } = session;
  await using connection = await openRoutedConnection(target, { signal });
  for (const { db } of await readAllDatabases(connection)) {
    await using scanner = await openRoutedConnection(target, { db, signal });
    await using asker = await openSourceDatabase(session, db);
    for await (const page of scanPages(scanner, db)) {
      if (session.attention.gap !== undefined) return;
      if (asker === undefined) await removeAll(session, scanner, page);
      else await findExtraKeys(session, { db, page, asker });
    }
  }
}

type Extras = { readonly db: number; readonly page: readonly Buffer[]; readonly asker: RawConnection };

async function findExtraKeys(session: ScanSession, { db, page, asker }: Extras): Promise<void> {
  for (let from = 0; from < page.length; from += BATCH_KEYS) {
    const keys = page.slice(from, from + BATCH_KEYS);
    const replies = await asker.send(keys.map((key): Command => ['EXISTS', key]));
    for (const [index, key] of keys.entries()) {
      if (replies[index] === 1) continue;
      session.meter.removedKeys += 1;
      session.dirty.add(db, key, 0, key.length);
    }
    if (session.dirty.isPressing) await copyDirty(session);
  }
}

/** Of a database that the source does not have nothing can be asked, and nothing of it can come. */
async function removeAll(
  { meter }: ScanSession,
  target: RawConnection,
  keys: readonly Buffer[],
): Promise<void> {
  await target.send(keys.map((key): Command => ['UNLINK', key]));
  meter.removedKeys += keys.length;
}

/** Undefined where the source has no such database. */
async function openSourceDatabase(
  { source, signal }: ScanSession,
  db: number,
): Promise<RawConnection | undefined> {
  try {
    return await openRoutedConnection(source, { db, signal });
  } catch (error) {
    if (!isMigrationError(error) || error.code !== 'source-protocol-error') throw error;
    return undefined;
  }
}
