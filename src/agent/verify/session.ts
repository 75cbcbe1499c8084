import type { Clock } from '../../core/clock.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import { backoffDelaysMs, retry } from '../../core/retry.ts';
import type { Access } from '../redis/access.ts';
import { isPaddingClaim, isScanClaim } from '../redis/checkpoint.ts';
import { openRoutedConnection, type RoutedConnection } from '../redis/cluster/routed-connection.ts';
import type { Command, RawConnection } from '../redis/raw-connection.ts';
import type { ReplyBytes } from '../redis/reply-bytes.ts';
import { ErrorReply, type Reply } from '../redis/reply-parser.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { toServerError } from '../redis/server-error.ts';
import type { Request } from './request.ts';

/** Which of the commands that not every version has a server knows and lets us run, and how to take its answers. */
export type Capabilities = {
  /** PEXPIRETIME: Redis 7.0, Valkey. */
  readonly absoluteExpiry: boolean;
  /** HPEXPIRETIME: Redis 7.4, Valkey 9. */
  readonly fieldExpiry: boolean;
  /** SMISMEMBER and ZMSCORE: Redis 6.2, Valkey. */
  readonly multiLookup: boolean;
  /** MEMORY USAGE: known to all, but denied to some users; it only helps to keep what is read at once small. */
  readonly memoryUsage: boolean;
  /** OBJECT ENCODING: known to all, but denied to some users. */
  readonly encoding: boolean;
  /** Whether its expiry times have the pad of a sync: then they are read without it. */
  readonly paddedExpiry: boolean;
  /** Whether it is the target of a sync by scanning, whose checkpoints are times. */
  readonly scanned: boolean;
};

/**
 * One side of a comparison, a server or a whole cluster: asks, and when a connection is lost connects again and asks
 * once more.
 */
export type Session = AsyncDisposable & {
  readonly access: Access;
  readonly capabilities: Capabilities;
  /** How many primaries there are: 1 for a standalone server. */
  readonly primaries: number;
  /** Whether it is in cluster mode, where one command has keys of one slot only. */
  readonly isCluster: boolean;
  /**
   * Sends reading commands to one database. Errors that the server answers are values, since a key may have changed
   * its type meanwhile; those that say that the server does not serve us at all are thrown.
   *
   * @throws {side}-unreachable after the retries, {side}-not-ready, {side}-permission-denied,
   * target-databases-too-few, {side}-slots-moved, verification-incomplete, or the signal's reason
   */
  ask(db: number, commands: readonly Command[]): Promise<readonly Reply[]>;
  /**
   * The same for commands that are encoded already and whose replies are left as bytes. The request must not be
   * changed, and the replies not be looked at, until then. Throws as `ask`.
   */
  exchange(db: number, request: Pick<Request, 'bytes' | 'count'>, replies: ReplyBytes): Promise<void>;
  /** Sends a command that is about no key and no database to every primary; throws as `ask`. */
  askEvery(command: Command): Promise<readonly Reply[]>;
  /** What the server has answered so far, in bytes. */
  bytesRead(): number;
  /** The databases that hold keys, as INFO keyspace says: expired ones included. */
  databases(): Promise<ReadonlyMap<number, DatabaseKeys>>;
};

/** How many keys a database holds, and how many of them expire; infinite where the server does not tell. */
export type DatabaseKeys = { readonly keys: number; readonly expires: number };

/** What a session needs besides its server. */
export type SessionOptions = { readonly clock: Clock; readonly signal: AbortSignal };

/** The pauses between attempts to reach a server again: about a minute, so that a failover or restart passes. */
const RECONNECT_DELAYS_MS = backoffDelaysMs({ firstMs: 100, maximumMs: 10_000, count: 12 });

/**
 * Opens a session; the server must answer now.
 *
 * @throws the codes of {@link openRoutedConnection}
 */
export async function openSession(access: Access, { clock, signal }: SessionOptions): Promise<Session> {
  const first = await connect(access, signal);
  let line: Promise<Line> | undefined = Promise.resolve(first);
  let bytesReadBefore = 0;
  let latest = first;

  const useLine = async <Result>(use: (line: Line) => Promise<Result>): Promise<Result> => {
    line ??= connect(access, signal, first.identity);
    const pending = line;
    // Several batches are lost together: only the first of them makes way for a new connection.
    const giveUp = () => {
      if (line === pending) line = undefined;
    };
    const current = await pending.catch((error: unknown) => {
      if (isLost(error)) giveUp();
      throw error;
    });
    latest = current;
    try {
      return await use(current);
    } catch (error) {
      if (isLost(error) && line === pending) {
        giveUp();
        bytesReadBefore += current.connection.bytesRead();
        await current.connection[Symbol.asyncDispose]();
      }
      throw error;
    }
  };
  const policy = { delaysMs: RECONNECT_DELAYS_MS, shouldRetry: isLost };
  const persist = <Result>(use: (line: Line) => Promise<Result>) =>
    retry(() => useLine(use), { policy, clock, signal });
  const askEvery: Session['askEvery'] = (command) => persist((current) => exchangeEvery(current, command));
  const ask: Session['ask'] = (db, commands) => persist((current) => exchange(current, db, commands));
  const exchangeBytes: Session['exchange'] = (db, { bytes, count }, replies) =>
    persist((current) => {
      replies.expect(count);
      return exchangeRaw(current, db, { bytes, replies });
    });
  return {
    access,
    capabilities: await readCapabilities(first.connection),
    primaries: first.connection.primaries.length,
    isCluster: first.connection.layout !== '',
    ask,
    exchange: exchangeBytes,
    askEvery,
    bytesRead: () => bytesReadBefore + latest.connection.bytesRead(),
    databases: async () => readKeyspace(access, await askEvery(['INFO', 'keyspace'])),
    [Symbol.asyncDispose]: async () => {
      await latest.connection[Symbol.asyncDispose]();
    },
  };
}

/** A connection, the lives of the servers it leads to, and the database it will be in when all is answered. */
type Line = { readonly connection: RoutedConnection; readonly identity: string; db: number };

async function connect(access: Access, signal: AbortSignal, expectedIdentity?: string): Promise<Line> {
  const connection = await openRoutedConnection(access, { signal });
  try {
    const runIds = await Promise.all(connection.primaries.map(greet));
    const identity = [connection.layout, ...runIds].join('\n');
    // Another process hashes keys with another seed: the cursors of a scan would leave out keys without a word.
    if (expectedIdentity !== undefined && identity !== expectedIdentity) {
      throw new MigrationError(
        'verification-incomplete',
        `The ${access.side} ${access.address} was restarted, failed over or was resharded during the verification.`,
      );
    }
    return { connection, identity, db: 0 };
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

/** Returns what tells this life of the server from the next one. */
async function greet(server: RawConnection): Promise<string> {
  // Keeps our reads out of the LRU and LFU of the server; before Redis 7.2 there is no such thing, so any refusal is fine.
  const [, info] = await server.send([
    ['CLIENT', 'NO-TOUCH', 'ON'],
    ['INFO', 'server'],
  ]);
  return /^run_id:(\w+)/m.exec(String(info))?.[1] ?? '';
}

async function exchangeEvery({ connection }: Line, command: Command): Promise<readonly Reply[]> {
  const replies = await Promise.all(
    connection.primaries.map(async (primary) => (await primary.send([command]))[0] ?? null),
  );
  for (const reply of replies) throwRefusal(connection, reply);
  return replies;
}

async function exchange(line: Line, db: number, commands: readonly Command[]): Promise<readonly Reply[]> {
  const { connection } = line;
  const isSelecting = line.db !== db;
  line.db = db;
  const replies = await connection.send(isSelecting ? [['SELECT', db], ...commands] : commands);
  const selected = isSelecting ? replies[0] : undefined;
  if (selected instanceof ErrorReply) throw noSuchDatabase(connection.access, db, selected);
  const answers = isSelecting ? replies.slice(1) : replies;
  for (const answer of answers) throwRefusal(connection, answer);
  return answers;
}

async function exchangeRaw(
  line: Line,
  db: number,
  { bytes, replies }: { bytes: Buffer; replies: ReplyBytes },
): Promise<void> {
  const { connection } = line;
  // Both are on their way before anything is waited for: the commands are meant for the database selected before them.
  const selected = line.db === db ? undefined : exchange(line, db, []);
  await Promise.all([selected, connection.exchange(bytes, replies)]);
  if (replies.refusal !== undefined) throwRefusal(connection, replies.refusal);
}

function throwRefusal({ access }: RawConnection, reply: Reply): void {
  if (reply instanceof ErrorReply && REFUSAL.test(reply.message)) {
    throw toServerError(access, 'reading keys', reply);
  }
}

/** Error replies that are about the server or our rights, not about the key that was asked for. */
const REFUSAL =
  /^(NOAUTH|NOPERM|LOADING|BUSY|MASTERDOWN|NOMASTERLINK|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|DENIED)\b/;

function isLost(error: unknown): boolean {
  return isMigrationError(error) && /-(unreachable|not-ready)$/.test(error.code);
}

function noSuchDatabase(access: Access, db: number, cause: ErrorReply): MigrationError {
  if (!/index|range|cluster/i.test(cause.message))
    return toServerError(access, `selecting database ${db}`, cause);
  const message = `The ${access.side} ${access.address} has no database ${db}, in which the other side holds keys.`;
  return new MigrationError(
    access.side === 'target' ? 'target-databases-too-few' : 'verification-incomplete',
    message,
    { cause, retryable: false },
  );
}

async function readCapabilities(connection: RawConnection): Promise<Capabilities> {
  const [absoluteExpiry, fieldExpiry, multiLookup, memoryUsage, encoding, claim] = await connection.send([
    ['PEXPIRETIME', RESERVED_KEY],
    ['HPEXPIRETIME', RESERVED_KEY, 'FIELDS', 1, 'field'],
    ['SMISMEMBER', RESERVED_KEY, 'member'],
    ['MEMORY', 'USAGE', RESERVED_KEY],
    ['OBJECT', 'ENCODING', RESERVED_KEY],
    ['GET', RESERVED_KEY],
  ]);
  const isOfTarget = connection.access.side === 'target' && Buffer.isBuffer(claim);
  return {
    absoluteExpiry: isKnown(absoluteExpiry) && isAllowed(absoluteExpiry),
    // There is nothing to do without it: where it is known but denied, asking for it says so.
    fieldExpiry: isKnown(fieldExpiry),
    multiLookup: isKnown(multiLookup) && isAllowed(multiLookup),
    memoryUsage: isKnown(memoryUsage) && isAllowed(memoryUsage),
    encoding: isKnown(encoding) && isAllowed(encoding),
    paddedExpiry: isOfTarget && isPaddingClaim(claim),
    scanned: isOfTarget && isScanClaim(claim),
  };
}

function isKnown(reply: Reply | undefined): boolean {
  return !(reply instanceof ErrorReply && /^ERR unknown (sub)?command/i.test(reply.message));
}

function isAllowed(reply: Reply | undefined): boolean {
  return !(reply instanceof ErrorReply && reply.message.startsWith('NOPERM'));
}

/** `db0:keys=12,expires=3,...` line by line, of every primary. */
function readKeyspace(access: Access, replies: readonly Reply[]): ReadonlyMap<number, DatabaseKeys> {
  const databases = new Map<number, DatabaseKeys>();
  for (const reply of replies) {
    if (!Buffer.isBuffer(reply)) throw toServerError(access, 'reading INFO keyspace', reply);
    const lines = reply.toString('latin1').matchAll(/^db(\d+):keys=(\d+)(?:,expires=(\d+))?/gm);
    for (const [, db, keys, expires] of lines) {
      const sum = databases.get(Number(db)) ?? { keys: 0, expires: 0 };
      databases.set(Number(db), {
        keys: sum.keys + Number(keys),
        expires: sum.expires + Number(expires ?? Number.POSITIVE_INFINITY),
      });
    }
  }
  return databases;
}
