import type { RoutedConnection } from '../redis/cluster/routed-connection.ts';
import { encodeCommands, type RawConnection } from '../redis/raw-connection.ts';
import { REPLY_KIND, ReplyBytes, ReplyCursor } from '../redis/reply-bytes.ts';
import { ErrorReply } from '../redis/reply-parser.ts';
import { isReservedKey } from '../redis/reserved-key.ts';
import { toServerError } from '../redis/server-error.ts';

/** What a database holds. */
export type DatabaseSize = { readonly db: number; readonly keys: number; readonly expires: number };

/** How many databases are looked at where the server does not say which it uses. */
const DATABASES_MAX = 16;
/** How many keys a step of SCAN looks at: names alone cost the server little. */
const SCAN_COUNT = 500;
/** How many steps may return the same cursor before the server counts as going in circles. */
const SAME_CURSOR_MAX = 3;

/**
 * The databases that hold keys; where INFO is refused, all that may be selected and are not empty.
 *
 * @throws the codes of {@link RawConnection.send}
 */
export async function readDatabases(connection: RawConnection): Promise<readonly DatabaseSize[]> {
  const [info] = await connection.send([['INFO', 'keyspace']]);
  if (!(info instanceof ErrorReply)) {
    const lines = String(info).matchAll(/^db(\d+):keys=(\d+)(?:,expires=(\d+))?/gm);
    return Array.from(lines, ([, db, keys, expires]) => ({
      db: Number(db),
      keys: Number(keys),
      expires: Number(expires ?? Number.POSITIVE_INFINITY),
    }));
  }
  const found: DatabaseSize[] = [];
  for (let db = 0; db < DATABASES_MAX; db++) {
    const [selected, size] = await connection.send([['SELECT', db], ['DBSIZE']]);
    if (selected instanceof ErrorReply) break;
    const keys = typeof size === 'number' ? size : Number.POSITIVE_INFINITY;
    if (keys > 0) found.push({ db, keys, expires: Number.POSITIVE_INFINITY });
  }
  await connection.send([['SELECT', 0]]);
  return found;
}

/** The same of all primaries of a cluster together. Throws as {@link readDatabases}. */
export async function readAllDatabases({ primaries }: RoutedConnection): Promise<readonly DatabaseSize[]> {
  const found = new Map<number, DatabaseSize>();
  for (const primary of primaries) {
    for (const { db, keys, expires } of await readDatabases(primary)) {
      const before = found.get(db);
      found.set(db, { db, keys: keys + (before?.keys ?? 0), expires: expires + (before?.expires ?? 0) });
    }
  }
  return [...found.values()];
}

/**
 * Every key of the connection's database that is there all the time, in pages, the next of which is on its way while
 * one is looked at; a key may come again. Our own are left out. When the connection fails, `reopen` may give another to
 * the same process, to which the cursor means the same, and the scan goes on where it was.
 *
 * @throws source-protocol-error, target-protocol-error, and the codes of {@link RawConnection.send}
 */
export async function* scanPages(
  first: RawConnection,
  db: number,
  reopen?: (failure: unknown) => Promise<RawConnection>,
): AsyncGenerator<readonly Buffer[]> {
  let connection = first;
  const replies = new ReplyBytes();
  const read = async (cursor: string) => {
    replies.expect(1);
    await connection.exchange(encodeCommands([['SCAN', cursor, 'COUNT', SCAN_COUNT]]), replies);
    return readPage(connection, replies);
  };
  const readAgain = async (cursor: string, failure: unknown) => {
    if (reopen === undefined) throw failure;
    connection = await reopen(failure);
    return read(cursor);
  };
  let cursor = '0';
  let sameCursors = 0;
  let page = read(cursor);
  for (;;) {
    const asked = cursor;
    const { next, keys } = await page.catch((failure: unknown) => readAgain(asked, failure));
    sameCursors = next === cursor ? sameCursors + 1 : 0;
    if (sameCursors > SAME_CURSOR_MAX) {
      throw toServerError(connection.access, 'scanning keys', new Error(`the cursor stays at ${cursor}`));
    }
    cursor = next;
    if (cursor !== '0') {
      page = read(cursor);
      // Awaited when its turn comes; a failure before that is not unhandled.
      page.catch(() => {});
    }
    const foreign = db === 0 ? keys.filter((key) => !isReservedKey(key)) : keys;
    if (foreign.length > 0) yield foreign;
    if (cursor === '0') return;
  }
}

/** The keys are parts of one buffer, since they are millions. */
function readPage(
  { access }: RawConnection,
  { bytes, end }: ReplyBytes,
): { next: string; keys: readonly Buffer[] } {
  const cursor = new ReplyCursor({ bytes: Buffer.from(bytes.subarray(0, end)) });
  const nextKind = (): number => {
    cursor.next();
    return cursor.kind;
  };
  const kind = nextKind();
  if (kind === REPLY_KIND.error) throw toServerError(access, 'scanning keys', new ErrorReply(cursor.text()));
  const isPair = kind === REPLY_KIND.array && cursor.integer() === 2;
  const isCursor = isPair && nextKind() === REPLY_KIND.bulk;
  const next = cursor.text();
  if (!isCursor || nextKind() !== REPLY_KIND.array) {
    throw toServerError(access, 'scanning keys', new Error('SCAN answered no page of keys'));
  }
  const keys: Buffer[] = [];
  for (let missing = cursor.integer(); missing > 0; missing--) {
    if (nextKind() === REPLY_KIND.bulk) keys.push(cursor.view());
  }
  return { next, keys };
}
