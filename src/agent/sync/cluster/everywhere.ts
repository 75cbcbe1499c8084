import { errorText, isMigrationError } from '../../../core/errors.ts';
import type { Client } from '../../redis/client.ts';
import { BATCH_SCRIPT } from './batch-script.ts';
import { type Arguments, optionAt } from './command-keys.ts';

/**
 * Carries out a command about functions or scripts on every primary, in a form that may be repeated: after an
 * interruption it may come again to a primary that has had it.
 *
 * @throws the codes of {@link Client.call}
 */
export async function runEverywhere(clients: readonly Client[], args: Arguments): Promise<void> {
  const [name = '', ...rest] = repeatable(args);
  for (const client of clients) {
    try {
      await client.call(String(name), ...rest);
    } catch (error) {
      if (!isGoneAlready(args, error)) throw error;
    }
    // SCRIPT FLUSH takes ours along.
    if (optionAt(args, 0) === 'SCRIPT') await loadBatchScript(client);
  }
}

/** Loads the script of the batches. @throws the codes of {@link Client.call} */
export async function loadBatchScript(client: Client): Promise<void> {
  await client.call('SCRIPT', 'LOAD', BATCH_SCRIPT);
}

/** `FUNCTION LOAD [REPLACE] code`, `FUNCTION RESTORE payload [FLUSH|APPEND|REPLACE]`; others as they are. */
function repeatable(args: Arguments): readonly (string | Buffer)[] {
  if (optionAt(args, 0) !== 'FUNCTION') return args;
  const code = args.at(-1);
  if (optionAt(args, 1) === 'LOAD' && code !== undefined) return ['FUNCTION', 'LOAD', 'REPLACE', code];
  const payload = args[2];
  if (optionAt(args, 1) === 'RESTORE' && payload !== undefined) {
    return ['FUNCTION', 'RESTORE', payload, optionAt(args, 3) === 'FLUSH' ? 'FLUSH' : 'REPLACE'];
  }
  return args;
}

function isGoneAlready(args: Arguments, error: unknown): boolean {
  const isRemoval = optionAt(args, 0) === 'FUNCTION' && optionAt(args, 1) === 'DELETE';
  return isRemoval && isMigrationError(error) && /library not found/i.test(errorText(error));
}
