import { isMigrationError, MigrationError } from '../../core/errors.ts';
import type { Client } from '../redis/client.ts';
import { FOOTER_BYTES, withFooter } from '../redis/rdb/footer.ts';

/**
 * Puts the function libraries of the source in place of those of every primary of the target. A source that knows none,
 * or does not let us read them, has none to carry; a verification compares them.
 *
 * @throws target-refused-command, and the codes of {@link Client.call}
 */
export async function copyFunctions(
  source: Client,
  { primaries, footerVersion }: { readonly primaries: readonly Client[]; readonly footerVersion: number },
): Promise<void> {
  const payload = await dumpFunctions(source);
  if (payload === undefined) return;
  for (const primary of primaries) {
    if (payload.length <= FOOTER_BYTES) await primary.call('FUNCTION', 'FLUSH');
    else await restoreFunctions(primary, withFooter(payload, footerVersion));
  }
}

async function dumpFunctions(source: Client): Promise<Buffer | undefined> {
  try {
    const payload = await source.call('FUNCTION', 'DUMP');
    return Buffer.isBuffer(payload) ? payload : undefined;
  } catch (error) {
    if (isMigrationError(error) && error.code === 'source-permission-denied') return undefined;
    throw error;
  }
}

async function restoreFunctions(primary: Client, payload: Buffer): Promise<void> {
  try {
    await primary.call('FUNCTION', 'RESTORE', payload, 'FLUSH');
  } catch (error) {
    if (!isMigrationError(error) || error.code !== 'target-protocol-error') throw error;
    throw new MigrationError('target-refused-command', error.message, { cause: error });
  }
}
