import { isMigrationError } from '../../core/errors.ts';
import type { Client } from '../redis/client.ts';

/** Which commands the target knows. */
export type TargetCommands = {
  /** Whether the target knows a command, by its name in capitals. */
  has(name: string): boolean;
};

/**
 * Asks the target once for its commands, so that none is sent that it would refuse in the middle of a transaction.
 *
 * A user who may not ask gets the benefit of the doubt: the target itself then refuses what it does not know.
 *
 * @throws the codes of {@link Client.call}
 */
export async function readTargetCommands(target: Client): Promise<TargetCommands> {
  const reply = await listCommands(target);
  if (!Array.isArray(reply)) return { has: () => true };
  const names = new Set(reply.map((name) => String(name).toUpperCase()));
  return { has: (name) => names.has(name) };
}

async function listCommands(target: Client): Promise<unknown> {
  try {
    return await target.call('COMMAND', 'LIST');
  } catch (error) {
    if (isMigrationError(error) && error.code === 'target-permission-denied') return undefined;
    throw error;
  }
}

/** Whether the target can hold hashes of which fields expire, in the layout of Valkey 9. */
export function holdsHashFieldTtls(commands: TargetCommands, kind: 'redis' | 'valkey'): boolean {
  return kind === 'valkey' && commands.has('HPEXPIREAT');
}
