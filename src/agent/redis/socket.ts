import net from 'node:net';
import tls from 'node:tls';
import { errorText, type MigrationError } from '../../core/errors.ts';
import type { Access } from './access.ts';
import { CONNECT_TIMEOUT_MS } from './client.ts';
import { toServerError } from './server-error.ts';

/** What is read from a socket at once. */
const READ_BYTES = 64 * 1024;
/**
 * What is read from one in a turn of the event loop. Libuv would take 32 times as much as is read at once, and a source
 * that has much to say would leave the target waiting for milliseconds.
 */
const TURN_BYTES_MAX = 128 * 1024;
/**
 * What is read in so many milliseconds from a socket that is paced: 250 to 500 MB in a second, several times what a
 * server writes that runs commands. More comes from one only when it has waited. To take that in without a pause costs
 * a core here and half of one there, on a small host the very ones that the source and the target run on.
 */
const PACE_BYTES_MAX = 512 * 1024;
const PACE_MS = 1;

/** Who takes what is read from a socket. */
export type Reading = {
  /** Takes each piece, which holds only until it returns. */
  readonly onRead: (piece: Buffer) => void;
  /** Whether much that has waited on the other side is read with pauses; never by default. */
  readonly isPaced?: () => boolean;
};

/**
 * Opens a bare TCP or TLS connection for the data path; who opens it closes it.
 *
 * With a reading the socket emits no data. It saves a buffer for every read, which together are the most that the
 * garbage collector has to do.
 *
 * @throws {side}-unreachable, {side}-tls-failed, or the signal's reason
 */
export function connectSocket(access: Access, signal: AbortSignal, reading?: Reading): Promise<net.Socket> {
  const { host, port } = access;
  const onread = reading === undefined ? {} : { onread: readingWith(reading, () => opened) };
  let opened: net.Socket | undefined;
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const socket =
      access.tls === undefined
        ? net.connect({ host, port, ...onread })
        : tls.connect({
            ...access.tls,
            ...onread,
            host,
            port,
            ...(net.isIP(host) === 0 ? { servername: host } : {}),
          });
    opened = socket;
    const onAbort = () => fail(signal.reason);
    const onError = (error: unknown) => fail(toServerError(access, 'connecting', error));
    const settle = () => {
      signal.removeEventListener('abort', onAbort);
      socket.removeAllListeners();
      socket.setTimeout(0);
    };
    const fail = (error: unknown) => {
      settle();
      // A late error of a socket that was given up must not end the process.
      socket.on('error', () => {});
      socket.destroy();
      reject(error);
    };
    socket.once('error', onError);
    socket.once('close', () => onError(new Error('connection closed')));
    socket.setTimeout(CONNECT_TIMEOUT_MS, () =>
      onError(new Error(`timed out after ${CONNECT_TIMEOUT_MS} ms`)),
    );
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once(access.tls === undefined ? 'connect' : 'secureConnect', () => {
      settle();
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
      resolve(socket);
    });
  });
}

const KEEP_ALIVE_DELAY_MS = 30_000;

function readingWith(
  { onRead, isPaced = () => false }: Reading,
  socket: () => net.Socket | undefined,
): net.OnReadOpts {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  let turnBytes = 0;
  let paceBytes = 0;
  const goOn = () => {
    const opened = socket();
    // Who holds it back for a reason of his own lets it go on himself.
    if (opened !== undefined && !opened.destroyed && !opened.isPaused()) opened.resume();
  };
  const nextTurn = () => {
    turnBytes = 0;
    if (paceBytes < PACE_BYTES_MAX) goOn();
  };
  const nextPace = () => {
    paceBytes = 0;
    goOn();
  };
  return {
    buffer,
    callback: (count) => {
      onRead(buffer.subarray(0, count));
      if (turnBytes === 0) setImmediate(nextTurn);
      turnBytes += count;
      if (isPaced()) {
        if (paceBytes === 0) setTimeout(nextPace, PACE_MS);
        paceBytes += count;
      }
      return turnBytes < TURN_BYTES_MAX && paceBytes < PACE_BYTES_MAX;
    },
  };
}

/**
 * Calls `onLost` when the other side closes or the connection breaks; possibly more than once.
 *
 * The end of what comes in counts: a server that has closed takes no more, and writing on would fail with an error of
 * Node's streams that says nothing about the server.
 */
export function watchConnection(
  socket: net.Socket,
  access: Access,
  onLost: (error: MigrationError) => void,
): void {
  const lose = (reason: string) => onLost(toServerError(access, 'talking to it', new Error(reason)));
  socket.on('error', (error) => lose(`connection closed: ${errorText(error)}`));
  socket.on('end', () => lose('connection closed'));
  socket.on('close', () => lose('connection closed'));
}
