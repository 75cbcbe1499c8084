import { dirname, join } from 'node:path';
import { type SecretReference, sealBinding } from '../../contract/endpoint.ts';
import { makeSealingKey, openSealedText, publicSealingKey } from '../../core/sealing.ts';
import { readFileIfThere, writeFileOnce } from '../job/files.ts';
import { openMigrationStore } from '../job/store.ts';
import { type SecretUse, secretUnreadable } from './reading.ts';

/** Whose sealed secrets are opened: each migration has a key of its own, which goes with its folder. */
export type SealedFor = {
  /** The folder of the migration, with the private key in it: it never leaves the host. */
  readonly directory: string;
  readonly migrationId: string;
  readonly repository: string;
};

/** The public key of a migration; the first call makes the pair. @throws host-state-unwritable */
export function publicKeyOf(directory: string): string {
  const path = keyPath(directory);
  if (readFileIfThere(path) === undefined) writeFileOnce(path, makeSealingKey());
  return publicSealingKey(readFileIfThere(path)?.toString() ?? '');
}

/**
 * Opens a secret that was sealed for this migration and this server. A way back goes to the servers of the migration that
 * it goes back over, and opens what was sealed for that one.
 *
 * @throws secret-unreadable
 */
export function openSealedSecret(
  reference: Extract<SecretReference, { from: 'sealed' }>,
  { endpoint, sealedFor }: Partial<SecretUse> = {},
): string {
  if (endpoint === undefined || sealedFor === undefined)
    throw secretUnreadable(reference, 'it belongs to no migration.');
  const owner = ownerOf(sealedFor);
  const privateKeyPem = readFileIfThere(keyPath(owner.directory))?.toString();
  if (privateKeyPem === undefined)
    throw secretUnreadable(reference, 'the host no longer has the key for it.');
  const binding = sealBinding({ ...owner, endpoint });
  const value = openSealedText(reference.sealedBase64, { privateKeyPem, binding });
  if (value !== undefined) return value;
  throw secretUnreadable(
    reference,
    'it was sealed for another host, migration, server or user, or was altered on its way.',
  );
}

function ownerOf(sealedFor: SealedFor): SealedFor {
  const migrationId = openMigrationStore(sealedFor.directory).readMigration()?.wayBackOf;
  if (migrationId === undefined) return sealedFor;
  return { ...sealedFor, migrationId, directory: join(dirname(sealedFor.directory), migrationId) };
}

function keyPath(directory: string): string {
  return join(directory, 'sealing-key.pem');
}
