import type { Socket } from 'node:net';
import { errorText, MigrationError } from '../../core/errors.ts';
import type { Access } from './access.ts';
import type { ReplyBytes } from './reply-bytes.ts';
import { createReplyParser, ErrorReply, type Reply } from './reply-parser.ts';
import { toServerError } from './server-error.ts';
import { connectSocket } from './socket.ts';

/** One command: its name and arguments, as they go over the wire. */
export type Command = readonly (string | Buffer | number)[];

/** A connection of the data path: whole batches out, whole batches of replies back, nothing in between. */
export type RawConnection = AsyncDisposable & {
  readonly access: Access;
  /**
   * Writes the commands as one buffer and resolves with one reply for each, errors among them as values.
   * Batches may overlap: they are answered in the order in which they were sent.
   *
   * @throws {side}-unreachable, {side}-protocol-error; every later call throws the same
   */
  send(batch: readonly Command[]): Promise<readonly Reply[]>;
  /**
   * Writes commands that are encoded already, and resolves when `replies` holds the replies it expects. Nobody may
   * change the commands until then. Throws as `send`.
   */
  exchange(commands: Buffer, replies: ReplyBytes): Promise<void>;
  /** What has arrived so far, in bytes. */
  bytesRead(): number;
};

/** How to open a {@link RawConnection}. */
export type RawConnectionOptions = { readonly signal: AbortSignal; readonly db?: number };

/** How long a server may be silent while it owes replies, before the connection counts as lost. */
export const REPLY_TIMEOUT_MS = 60_000;

/**
 * Connects, authenticates and selects the database.
 *
 * @throws {side}-unreachable, {side}-auth-failed, {side}-tls-failed, {side}-not-ready, or the signal's reason
 */
export async function openRawConnection(
  access: Access,
  { db = 0, signal }: RawConnectionOptions,
): Promise<RawConnection> {
  let receive: ((piece: Buffer) => void) | undefined;
  const socket = await connectSocket(access, signal, { onRead: (piece) => receive?.(piece) });
  const connection = attachBatches(access, socket, {
    signal,
    receiveBy: (receiver) => {
      receive = receiver;
    },
  });
  try {
    const greeting: Command[] = [...authCommands(access), ['SELECT', db], ['PING']];
    for (const reply of await connection.send(greeting)) {
      if (reply instanceof ErrorReply) throw toServerError(access, 'connecting', reply);
    }
    return connection;
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

function authCommands({ username, password }: Access): Command[] {
  if (password === undefined) return [];
  return [username === undefined ? ['AUTH', password.reveal()] : ['AUTH', username, password.reveal()]];
}

type OpenBatch = { readonly reject: (error: unknown) => void } & (
  | {
      readonly size: number;
      readonly replies: Reply[];
      readonly resolve: (replies: readonly Reply[]) => void;
    }
  | { readonly bytes: ReplyBytes; readonly resolve: () => void }
);

type Incoming = {
  readonly signal: AbortSignal;
  /** Names who gets each piece that arrives, which holds only until it returns. */
  receiveBy(receiver: (piece: Buffer) => void): void;
};

function attachBatches(access: Access, socket: Socket, { signal, receiveBy }: Incoming): RawConnection {
  const open: OpenBatch[] = [];
  let failure: { readonly error: unknown } | undefined;

  const fail = (error: unknown) => {
    if (failure !== undefined) return;
    failure = { error };
    signal.removeEventListener('abort', onAbort);
    socket.destroy();
    for (const batch of open.splice(0)) batch.reject(error);
  };
  const onAbort = () => fail(signal.reason);
  const close = () => {
    open.shift();
    if (open.length === 0) socket.setTimeout(0);
  };
  const parser = createReplyParser((reply) => {
    const batch = open[0];
    if (batch === undefined || 'bytes' in batch) throw new Error('a reply came that nothing had asked for');
    batch.replies.push(reply);
    if (batch.replies.length < batch.size) return undefined;
    close();
    batch.resolve(batch.replies);
    return 'stop';
  });
  const receive = (piece: Buffer) => {
    for (let at = 0; at < piece.length; ) {
      const batch = open[0];
      if (batch !== undefined && 'bytes' in batch) {
        at = batch.bytes.take(piece, at);
        if (!batch.bytes.isComplete) continue;
        close();
        batch.resolve();
      } else {
        // A copy: replies are views into it, and the piece is only lent.
        at = piece.length - parser.push(Buffer.from(piece.subarray(at)));
      }
    }
  };
  const enqueue = (batch: OpenBatch, bytes: Buffer) => {
    if (failure !== undefined) return batch.reject(failure.error);
    open.push(batch);
    socket.setTimeout(REPLY_TIMEOUT_MS);
    gatherWrites();
    socket.write(bytes);
  };
  let isGathering = false;
  /** Many small batches that are sent in one turn of the event loop leave in one system call. */
  const gatherWrites = () => {
    if (isGathering) return;
    isGathering = true;
    socket.cork();
    setImmediate(() => {
      isGathering = false;
      socket.uncork();
    });
  };

  receiveBy((piece) => {
    if (failure !== undefined) return;
    try {
      receive(piece);
    } catch (error) {
      fail(
        new MigrationError(
          `${access.side}-protocol-error`,
          `The ${access.side} ${access.address} answered with something that is no reply: ${errorText(error)}.`,
          { cause: error },
        ),
      );
    }
  });
  const lose = (reason: unknown) => fail(toServerError(access, 'exchanging commands', reason));
  const loseClosed = () => lose(new Error('connection closed'));
  // A write after the server's farewell fails as ERR_STREAM_WRITE_AFTER_END: a closed connection like any other.
  socket.on('error', (error) => (socket.writableEnded ? loseClosed() : lose(error)));
  socket.on('end', loseClosed);
  socket.on('close', loseClosed);
  socket.on('timeout', () => lose(new Error(`no reply for ${REPLY_TIMEOUT_MS} ms, timed out`)));
  socket.setTimeout(0);
  signal.addEventListener('abort', onAbort, { once: true });

  return {
    access,
    send: (batch) =>
      new Promise((resolve, reject) => {
        if (failure !== undefined) return reject(failure.error);
        if (batch.length === 0) return resolve([]);
        enqueue({ size: batch.length, replies: [], resolve, reject }, encodeCommands(batch));
      }),
    exchange: (commands, replies) =>
      new Promise((resolve, reject) => {
        if (replies.isComplete) return resolve();
        enqueue({ bytes: replies, resolve, reject }, commands);
      }),
    bytesRead: () => socket.bytesRead,
    [Symbol.asyncDispose]: async () => {
      fail(toServerError(access, 'exchanging commands', new Error('connection closed by us')));
    },
  };
}

/** Encodes commands as one buffer: `"*" count CRLF 1*("$" length CRLF bytes CRLF)` for each. */
export function encodeCommands(batch: readonly Command[]): Buffer {
  const commands = batch.map((command) =>
    command.map((argument) => (typeof argument === 'number' ? String(argument) : argument)),
  );
  let size = 0;
  for (const command of commands) {
    size += HEADER_BYTES_MAX;
    for (const argument of command) size += HEADER_BYTES_MAX + Buffer.byteLength(argument);
  }
  const buffer = Buffer.allocUnsafe(size);
  let offset = 0;
  for (const command of commands) {
    offset += buffer.write(`*${command.length}\r\n`, offset, 'latin1');
    for (const argument of command) {
      offset += buffer.write(`$${Buffer.byteLength(argument)}\r\n`, offset, 'latin1');
      offset += typeof argument === 'string' ? buffer.write(argument, offset) : argument.copy(buffer, offset);
      buffer[offset++] = 13;
      buffer[offset++] = 10;
    }
  }
  return buffer.subarray(0, offset);
}

/** Encodes arguments of a command without its head: `1*("$" length CRLF bytes CRLF)`. */
export function encodeArguments(args: Command): Buffer {
  const command = encodeCommands([args]);
  return command.subarray(command.indexOf('\n') + 1);
}

/** A marker, up to ten digits and CRLF; with an argument also the CRLF behind it. */
const HEADER_BYTES_MAX = 16;
