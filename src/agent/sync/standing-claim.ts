import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { encodeCommands } from '../redis/raw-connection.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import type { Refusal } from './refusal.ts';
import type { WriteFailure } from './target-writer.ts';

/*
 * A batch ends with: RENAME claim claim, SET claim checkpoint XX
 *
 * RENAME of a key to itself changes nothing and fails when there is none, and SET with XX does not bring it back: a
 * target that somebody has emptied is found out with the next batch, and is not taken for one that stands at a
 * checkpoint. A batch in which the source itself flushes writes the claim anew, with a plain SET.
 */

/** The name under which the check is written. */
export const CLAIM_CHECK = 'RENAME (claim)';
/** The check, encoded. */
export const CLAIM_CHECK_COMMAND: Buffer = encodeCommands([['RENAME', RESERVED_KEY, RESERVED_KEY]]);

/** What a refusal of the check means; undefined for any other command. */
export function explainClaimCheck(access: Access, { command, text }: Refusal): WriteFailure | undefined {
  if (command !== CLAIM_CHECK || !text.startsWith('-ERR no such key')) return undefined;
  const error = new MigrationError(
    'claim-lost',
    `The target ${access.address} has lost the claim of this migration, and what else it held with it: somebody has emptied it or deleted ${RESERVED_KEY}.`,
  );
  return { error, isDivergence: false };
}
