import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { encodeCommands } from '../redis/raw-connection.ts';
import { REPLY_KIND, ReplyBytes, ReplyCursor } from '../redis/reply-bytes.ts';
import { ErrorReply } from '../redis/reply-parser.ts';
import { isReservedKey, RESERVED_KEY } from '../redis/reserved-key.ts';
import { toServerError } from '../redis/server-error.ts';
import type { StringGuess } from './compare-strings.ts';
import { Request } from './request.ts';
import type { Session } from './session.ts';

/** How many keys a step of SCAN looks at: small enough not to hold up the server with it or what is then asked. */
const SCAN_COUNT = 400;
/** The same where they turn out to be small strings. */
const STRINGS_SCAN_COUNT = 500;
const SMALL_STRING_BYTES = 1024;
/** How many steps may return the same cursor before the server counts as going in circles. */
const SAME_CURSOR_MAX = 3;

/**
 * Every key of a database that is there for the whole scan, in batches; a key may come again while its server
 * rehashes. Our own keys are left out. A lost connection does not harm: cursors stay valid.
 *
 * `countNow` says, before each step, how many keys it looks at.
 *
 * @throws verification-incomplete, and the codes of {@link Session.exchange}
 */
export async function* scanKeys(
  session: Session,
  db: number,
  countNow: () => number = () => SCAN_COUNT,
): AsyncGenerator<readonly Buffer[]> {
  const { access } = session;
  const replies = new ReplyBytes();
  let cursor = '0';
  let sameCursors = 0;
  do {
    const request = new Request();
    request.addWhole(encodeCommands([['SCAN', cursor, 'COUNT', countNow()]]));
    await session.exchange(db, request, replies);
    request.release();
    const { next, keys } = readPage(replies, access);
    const foreign = db === 0 ? keys.filter((key) => !isOurs(key, access)) : keys;
    if (foreign.length > 0) yield foreign;
    sameCursors = next === cursor ? sameCursors + 1 : 0;
    if (sameCursors > SAME_CURSOR_MAX) {
      throw new MigrationError(
        'verification-incomplete',
        `The ${access.side} ${access.address} keeps answering SCAN of database ${db} with cursor ${cursor}.`,
      );
    }
    cursor = next;
  } while (cursor !== '0');
}

/** How many keys to scan at once after batches such as these. */
export function scanCount({ stringBatches, bytesPerString }: StringGuess): number {
  return stringBatches > 0 && bytesPerString <= SMALL_STRING_BYTES ? STRINGS_SCAN_COUNT : SCAN_COUNT;
}

/** The reply to SCAN: an array of the next cursor and an array of keys, which are views into a copy of it. */
function readPage(replies: ReplyBytes, access: Access): { next: string; keys: Buffer[] } {
  const page = new ReplyCursor({ bytes: Buffer.from(replies.bytes.subarray(0, replies.end)) });
  page.next();
  if (page.kind !== REPLY_KIND.array) {
    throw toServerError(access, 'scanning keys', new ErrorReply(page.text()));
  }
  page.next();
  const next = page.text();
  page.next();
  const keys = Array.from({ length: page.integer() }, () => {
    page.next();
    return page.view();
  });
  return { next, keys };
}

/** The claim is known at both sides, since a target of one migration may be the source of the next. */
function isOurs(key: Buffer, { side }: Access): boolean {
  return side === 'target' ? isReservedKey(key) : key.equals(RESERVED_KEY);
}
