import type { Socket } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { isMigrationError, MigrationError } from '../../core/errors.ts';
import type { RateLimit } from '../../core/rate-limit.ts';
import { backoffDelaysMs, type RetryPolicy, retry } from '../../core/retry.ts';
import type { Access } from './access.ts';
import { limitCopy } from './copy-limit.ts';
import { IncomingBytes, type Receiver } from './incoming-bytes.ts';
import type { HistoryPlace } from './journal.ts';
import { encodeCommands } from './raw-connection.ts';
import { toServerError } from './server-error.ts';
import { connectSocket, watchConnection } from './socket.ts';

/*
 * > PING                             < +PONG | -NOAUTH ... | -LOADING ...
 * > AUTH [user] password             < +OK | -WRONGPASS ...
 * > REPLCONF capa eof capa psync2    < +OK
 * > REPLCONF version 9.0.0           < +OK | -ERR Unrecognized REPLCONF option
 * > PSYNC replid offset | ? -1       < LF* ( +FULLRESYNC replid offset | +CONTINUE [replid] | -... )
 * after +FULLRESYNC:                 < LF* ( $length CRLF RDB | $EOF:mark CRLF RDB mark ) stream
 * after +CONTINUE:                   < stream
 *
 * A single LF comes every second while the source prepares, so that neither side takes the other for dead.
 * Neither `capa rdb-channel-repl` (Redis 8) nor `capa dual-channel` (Valkey 8) is announced: they would bring the RDB
 * over a second connection. `version` is what makes a Valkey 9 send hashes with expiring fields.
 * Source: replication.c of redis 5.0-8.0 and valkey 7.2-9.1.
 */

/** How the source answered PSYNC: with everything, or with the rest of its stream (and a replid, if it has a new one). */
export type ReplicationStart =
  | { readonly kind: 'full'; readonly replid: string; readonly offset: number }
  | { readonly kind: 'continue'; readonly replid: string | undefined };

/** How the RDB of a full resync is framed: by its length, or by a mark behind it. */
export type RdbFraming =
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'mark'; readonly mark: Buffer };

/** A connection on which the source takes us for a replica. Disposing closes it at once. */
export type ReplicationLink = AsyncDisposable & {
  readonly start: ReplicationStart;
  /** Reads how the RDB is framed: once, after a full start, before `pipeTo`. */
  readRdbFraming(signal: AbortSignal): Promise<RdbFraming>;
  /**
   * Takes no more bytes of the RDB per second than this until it is disposed; the stream is not held back. To be called
   * between `readRdbFraming` and `pipeTo`.
   */
  limitCopy(options: { limit: RateLimit; framing: RdbFraming; signal: AbortSignal }): Disposable;
  /** Hands over what comes: the stream after a start in its middle, the RDB and the stream after a full one. */
  pipeTo(receiver: Receiver): void;
  /** After a full start, when the RDB stands in the target: what has gathered of the stream since may be taken in turns. */
  beginStream(): void;
  /** Tells the source which offset the target has committed; it is not answered. */
  acknowledge(offset: number): void;
};

/** Where and from where on to replicate. */
export type ReplicationOptions = {
  readonly access: Access;
  /** The last place that was received; undefined asks for everything. */
  readonly from: HistoryPlace | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** How often a source that loads or has lost its own master is asked again: a minute altogether. */
export const SOURCE_NOT_READY_POLICY: RetryPolicy = {
  delaysMs: backoffDelaysMs({ firstMs: 500, maximumMs: 10_000, count: 10 }),
  shouldRetry: (error) => isMigrationError(error) && error.code === 'source-not-ready',
};
/** The silence after which a source counts as lost: the default of repl-timeout; it says something every 10 s. */
export const SOURCE_SILENCE_MAX_MS = 60_000;
const SILENCE_CHECK_MS = 5_000;

/**
 * Becomes a replica of the source, up to its answer to PSYNC.
 *
 * @throws route-replica-denied, source-not-ready after a minute of asking, source-unreachable, source-auth-failed,
 *   source-tls-failed, source-protocol-error, or the signal's reason
 */
export function openReplication(options: ReplicationOptions): Promise<ReplicationLink> {
  const { clock, signal } = options;
  return retry(() => openOnce(options), { policy: SOURCE_NOT_READY_POLICY, clock, signal });
}

async function openOnce(options: ReplicationOptions): Promise<ReplicationLink> {
  const { access, from, clock, signal } = options;
  const incoming = new IncomingBytes();
  let isStream = false;
  const socket = await connectSocket(access, signal, {
    onRead: (piece) => incoming.push(piece),
    isPaced: () => isStream,
  });
  watchConnection(socket, access, (error) => incoming.fail(error));
  watchSilence({ access, socket, incoming, clock });
  try {
    const start = await handshake({ access, from, socket, incoming, signal });
    isStream = start.kind === 'continue';
    const beginStream = () => {
      isStream = true;
    };
    return makeLink({ socket, incoming, start, access, beginStream });
  } catch (error) {
    socket.destroy();
    throw signal.aborted ? signal.reason : toServerError(access, 'replicating', error);
  }
}

type Watched = { access: Access; socket: Socket; incoming: IncomingBytes; clock: Clock };

/**
 * Ends a connection on which nothing comes although something must: half-open ones never report an error.
 *
 * What counts are looks in a row without an arrival in between, not the time that has passed: a host that was
 * suspended would otherwise find every connection silent.
 */
function watchSilence({ access, socket, incoming, clock }: Watched): void {
  const closed = new AbortController();
  socket.once('close', () => closed.abort());
  const watch = async () => {
    let seen = incoming.arrivals;
    for (let silentMs = 0; silentMs < SOURCE_SILENCE_MAX_MS; ) {
      await clock.sleep(SILENCE_CHECK_MS, closed.signal);
      silentMs = incoming.arrivals === seen ? silentMs + SILENCE_CHECK_MS : 0;
      seen = incoming.arrivals;
    }
    const silent = new Error(`timed out after ${SOURCE_SILENCE_MAX_MS} ms of silence`);
    incoming.fail(toServerError(access, 'replicating', silent));
    socket.destroy();
  };
  watch().catch(() => {
    // The sleep was ended because the socket is closed: there is nothing left to watch.
  });
}

type Handshake = {
  access: Access;
  from: HistoryPlace | undefined;
  socket: Socket;
  incoming: IncomingBytes;
  signal: AbortSignal;
};

async function handshake({ access, from, socket, incoming, signal }: Handshake): Promise<ReplicationStart> {
  const ask = (...command: string[]) => {
    socket.write(encodeCommands([command]));
    return incoming.readLine(signal);
  };
  const { username, password } = access;
  if (password !== undefined) {
    const reply = await ask('AUTH', ...(username === undefined ? [] : [username]), password.reveal());
    if (reply.startsWith('-')) throw toServerError(access, 'AUTH', new Error(reply));
  }
  const pong = await ask('PING');
  if (pong.startsWith('-')) throw refusal(access, 'PING', pong);
  const capabilities = await ask('REPLCONF', 'capa', 'eof', 'capa', 'psync2');
  if (capabilities.startsWith('-')) throw refusal(access, 'REPLCONF', capabilities);
  // Only Valkey 8 and later know it; the others answer with an error that means nothing.
  await ask('REPLCONF', 'version', '9.0.0');
  const answer = from
    ? await ask('PSYNC', from.replid, String(from.offset + 1))
    : await ask('PSYNC', '?', '-1');
  return parseStart(access, answer);
}

function parseStart(access: Access, answer: string): ReplicationStart {
  const full = /^\+FULLRESYNC ([0-9a-f]{40}) (\d+)$/i.exec(answer);
  if (full?.[1] !== undefined) return { kind: 'full', replid: full[1], offset: Number(full[2]) };
  const rest = /^\+CONTINUE(?: ([0-9a-f]{40}))?$/i.exec(answer);
  if (rest !== null) return { kind: 'continue', replid: rest[1] };
  throw refusal(access, 'PSYNC', answer);
}

/** A refusal to replicate is a matter of the route; anything else means here what it means everywhere. */
function refusal(access: Access, command: string, reply: string): MigrationError {
  if (/^-(NOPERM|ERR unknown command)/i.test(reply)) {
    return new MigrationError(
      'route-replica-denied',
      `The source ${access.address} refused ${command}: ${withoutArguments(reply)}.`,
    );
  }
  return toServerError(access, command, new Error(withoutArguments(reply).slice(0, 200)));
}

function withoutArguments(reply: string): string {
  return reply.replace(/,? with args beginning with.*$/, '');
}

type LinkParts = {
  access: Access;
  socket: Socket;
  incoming: IncomingBytes;
  start: ReplicationStart;
  beginStream: () => void;
};

function makeLink({ access, socket, incoming, start, beginStream }: LinkParts): ReplicationLink {
  return {
    start,
    readRdbFraming: async (signal) => parseFraming(access, await incoming.readLine(signal)),
    limitCopy: (options) => limitCopy({ ...options, socket, incoming }),
    pipeTo: (receiver) => incoming.pipeTo(receiver),
    beginStream,
    acknowledge: (offset) => {
      if (socket.writable) socket.write(encodeCommands([['REPLCONF', 'ACK', String(offset)]]));
    },
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
    },
  };
}

function parseFraming(access: Access, line: string): RdbFraming {
  const mark = /^\$EOF:(.{40})$/.exec(line)?.[1];
  if (mark !== undefined) return { kind: 'mark', mark: Buffer.from(mark, 'latin1') };
  const length = /^\$(\d{1,15})$/.exec(line)?.[1];
  if (length !== undefined) return { kind: 'length', bytes: Number(length) };
  throw toServerError(
    access,
    'sending its RDB',
    new Error(`unexpected line ${JSON.stringify(line.slice(0, 100))}`),
  );
}
