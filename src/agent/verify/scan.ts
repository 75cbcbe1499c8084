import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import type { Reply } from '../redis/reply-parser.ts';
import { isReservedKey, RESERVED_KEY } from '../redis/reserved-key.ts';
import { toServerError } from '../redis/server-error.ts';
import { toBytes } from './aspect.ts';
import type { Session } from './session.ts';

/** How many keys a step of SCAN looks at: small enough not to hold up the server. */
const SCAN_COUNT = 200;
/** How many steps may return the same cursor before the server counts as going in circles. */
const SAME_CURSOR_MAX = 3;

/**
 * Every key of a database that is there for the whole scan, in batches without duplicates of their own; a key may
 * come again in a later batch. Our own keys are left out. A lost connection does not harm: cursors stay valid.
 *
 * @throws verification-incomplete, and the codes of {@link Session.ask}
 */
export async function* scanKeys(session: Session, db: number): AsyncGenerator<readonly Buffer[]> {
  const { access } = session;
  let cursor = '0';
  let sameCursors = 0;
  do {
    const [reply]: readonly (Reply | undefined)[] = await session.ask(db, [
      ['SCAN', cursor, 'COUNT', SCAN_COUNT],
    ]);
    const [next, found] = Array.isArray(reply) ? reply : [];
    if (!Buffer.isBuffer(next) || !Array.isArray(found)) {
      throw toServerError(access, 'scanning keys', reply ?? new Error('no reply'));
    }
    const foreign = found.map(toBytes).filter((key) => db !== 0 || !isOurs(key, access));
    const keys = new Map(foreign.map((key) => [key.toString('latin1'), key]));
    if (keys.size > 0) yield [...keys.values()];
    const following = next.toString('latin1');
    sameCursors = following === cursor ? sameCursors + 1 : 0;
    if (sameCursors > SAME_CURSOR_MAX) {
      throw new MigrationError(
        'verification-incomplete',
        `The ${access.side} ${access.address} keeps answering SCAN of database ${db} with cursor ${cursor}.`,
      );
    }
    cursor = following;
  } while (cursor !== '0');
}

/** The claim is known at both sides, since a target of one migration may be the source of the next. */
function isOurs(key: Buffer, { side }: Access): boolean {
  return side === 'target' ? isReservedKey(key) : key.equals(RESERVED_KEY);
}
