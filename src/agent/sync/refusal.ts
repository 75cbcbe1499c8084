import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { toServerError } from '../redis/server-error.ts';
import { RENAME_IF_THERE } from './absent-keys.ts';

/** A refusal of the target; `isApplied`: the rest of its transaction was carried out all the same. */
export type Refusal = { readonly command: string; readonly text: string; readonly isApplied: boolean };

/** What a server in passing trouble answers, as after a failover: the connection is given up and made anew. */
const PASSING =
  /^-(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|BUSY |NOREPLICAS|MISCONF|UNBLOCKED)/;
const OF_THE_CONNECTION = /^-(NOAUTH|WRONGPASS|NOPERM)|^-ERR (max number of clients|operation not permitted)/;

/** Whether the command was written although it may fail in this way, which then is as it should be. */
export function isExpected({ command, text }: Pick<Refusal, 'command' | 'text'>): boolean {
  return command === RENAME_IF_THERE && text.startsWith('-ERR no such key');
}

/** Names what a refusal means. The text goes into the message without the arguments that some refusals repeat. */
export function refusalError(access: Access, { command, text, isApplied }: Refusal): MigrationError {
  const reply = text.replace(/,? with args beginning with.*$/, '').slice(0, 300);
  if (isApplied) return divergence(access, command, reply);
  if (PASSING.test(reply) || OF_THE_CONNECTION.test(reply) || command === 'AUTH') {
    return toServerError(access, `running ${command}`, new Error(reply));
  }
  if (reply.startsWith('-OOM')) {
    return new MigrationError(
      'target-memory-too-small',
      `The target ${access.address} is full: it refused ${command} with ${reply}`,
    );
  }
  if (command === 'SELECT') {
    return new MigrationError(
      'target-databases-too-few',
      `The target ${access.address} has not all databases that the source uses: ${reply}`,
    );
  }
  return new MigrationError(
    'target-refused-command',
    `The target ${access.address} refused ${command}: ${reply}`,
  );
}

/**
 * A command failed that had succeeded on the source: the two sides are different from here on, and since the
 * checkpoint has moved on with the rest of the transaction, only a full copy over the data makes them equal.
 */
function divergence(access: Access, command: string, reply: string): MigrationError {
  return new MigrationError(
    'target-refused-command',
    `The target ${access.address} failed to run ${command}, which had succeeded on the source: ${reply}`,
    {
      remedy:
        'Nothing else may write to the target. Run start-migration again: it reconciles the target with a full copy.',
    },
  );
}
