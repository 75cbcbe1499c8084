import { createHash, randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { Endpoint } from '../../contract/endpoint.ts';
import type { MigrationRecord } from '../../contract/host-commands.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import type { JobContext } from '../job/context.ts';
import { readFileIfThere, writeFileAtomically } from '../job/files.ts';
import { openMigrationStore } from '../job/store.ts';
import { resolveAccess } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { assertFenceHeld, dropWriter, liftFence, renewFence } from './fence.ts';
import type { FenceWriter } from './fence-by-acl.ts';
import { readFenceRecord } from './fence-record.ts';

/*
 * The way back of a migration is a migration of its own, in a folder beside it: from the target, where the applications
 * are now, to the source that they have left. That source stays fenced by ACL for everybody, but for one user of ours,
 * the writer, whose password is nowhere but in the folder of the migration. Going back ends with lifting that fence.
 */

/** The migration over which a way back goes back: its folder, and its source with the user that may lift the fence. */
export type Origin = { readonly directory: string; readonly source: Endpoint };

type Place = Pick<JobContext, 'directory' | 'clock' | 'resolveSecret'>;

/** Where the migration in this folder goes back over; undefined for one that is no way back. @throws migration-unknown */
export function originOf(directory: string): Origin | undefined {
  const id = openMigrationStore(directory).readMigration()?.wayBackOf;
  if (id === undefined) return undefined;
  const origin = openMigrationStore(join(dirname(directory), id));
  const record = origin.readMigration();
  if (record === undefined) {
    throw new MigrationError('migration-unknown', `The migration ${id} is not on this host any more.`);
  }
  return { directory: origin.directory, source: record.source };
}

/** The user that may write behind the fence of the migration, with a password that is made once. */
export function makeWriter(directory: string, migrationId: string): FenceWriter {
  const path = passwordPath(directory);
  if (readFileIfThere(path) === undefined) writeFileAtomically(path, randomBytes(32).toString('hex'));
  const password = readFileIfThere(path) ?? Buffer.alloc(0);
  return {
    name: `valkey-migrate-${migrationId}`,
    passwordSha256: createHash('sha256').update(password).digest('hex'),
  };
}

/**
 * The two servers of the way back of a migration.
 *
 * @throws way-back-missing where the cutover did not leave a fence that lets a way back write
 */
export function wayBackEndpoints(
  directory: string,
  { source, target }: Pick<MigrationRecord, 'source' | 'target'>,
): Pick<MigrationRecord, 'source' | 'target'> {
  const record = readFenceRecord(directory);
  if (record?.method !== 'acl' || record.writer === undefined) {
    throw new MigrationError(
      'way-back-missing',
      'The cutover was made without `reverse: true`: its fence lets nobody write.',
    );
  }
  const password = { from: 'file', path: passwordPath(directory) } as const;
  return { source: target, target: { ...source, username: record.writer.name, password } };
}

/** Sets the fence at the old source again where it does not stand any more; nothing where this is no way back. */
export async function holdOldFence(place: Place, log: (line: string) => void): Promise<void> {
  await atOldSource(place, async (client, { directory }) => {
    if (!(await renewFence(client, { directory, clock: place.clock }))) return;
    log(`Set the fence at ${client.access.address} again: it did not stand any more.`);
  });
}

/** Looks whether only the way back could write to the old source until now. @throws way-back-unfenced */
export async function assertOldFenceHeld(place: Place): Promise<void> {
  await atOldSource(place, async (client, { directory }) => {
    try {
      await assertFenceHeld(client, { directory, clock: place.clock });
    } catch (error) {
      if (!isMigrationError(error) || error.code !== 'fence-denied') throw error;
      throw new MigrationError('way-back-unfenced', error.message, { cause: error });
    }
  });
}

/** Whether the old source was given back already, so that the writer is not there any more. */
export function isGivenBack(directory: string): boolean {
  const origin = originOf(directory);
  return origin !== undefined && readFenceRecord(origin.directory) === undefined;
}

/** Lifts the fence at the old source: it has what it was found with, and takes the writes of everybody again. */
export async function giveBack(place: Place): Promise<void> {
  await atOldSource(place, async (client, { directory }) => {
    await liftFence(client, directory);
  });
}

/** Gives the way back up: the old source stays fenced, for everybody now. False where this is no way back. */
export async function closeWayBack(place: Place): Promise<boolean> {
  let isClosed = false;
  await atOldSource(place, async (client, { directory }) => {
    isClosed = await dropWriter(client, directory);
  });
  return isClosed;
}

async function atOldSource(
  { directory, resolveSecret }: Place,
  act: (client: Client, origin: Origin) => Promise<void>,
): Promise<void> {
  const origin = originOf(directory);
  if (origin === undefined) return;
  const access = await resolveAccess('target', origin.source, resolveSecret);
  await using client = await openClient(access);
  await act(client, origin);
}

function passwordPath(directory: string): string {
  return join(directory, 'writer-password');
}
