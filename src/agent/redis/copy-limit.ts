import type { Socket } from 'node:net';
import type { RateLimit } from '../../core/rate-limit.ts';
import type { IncomingBytes } from './incoming-bytes.ts';
import type { RdbFraming } from './replication.ts';

/** A connection on which an RDB comes, of which what is pending has been taken already. */
export type CopyLimit = {
  readonly socket: Socket;
  readonly incoming: IncomingBytes;
  readonly framing: RdbFraming;
  readonly limit: RateLimit;
  readonly signal: AbortSignal;
};

/**
 * Takes an RDB from the source no faster than the limit allows, until its end or until this is disposed.
 *
 * The source writes on as the connection takes more, many times a second: it drops a replica only that takes nothing
 * for repl-timeout. What it writes for the stream meanwhile waits in its output buffer, as during any copy.
 */
export function limitCopy({ socket, incoming, framing, limit, signal }: CopyLimit): Disposable {
  const isOver = watchForEnd(framing, incoming.pendingBytes);
  const go = () => {
    socket.resume();
  };
  const take = (chunk: Buffer) => {
    if (isOver(chunk)) return release();
    limit.take(chunk.length);
    if (!limit.isExhausted || socket.isPaused()) return;
    socket.pause();
    limit.ready(signal).then(go, go);
  };
  const release = () => {
    incoming.watcher = undefined;
    go();
  };
  incoming.watcher = take;
  return { [Symbol.dispose]: release };
}

/**
 * Tells whether the end of the RDB has come with a chunk.
 *
 * The mark is only searched here, where finding one in the data means no more than that the limit ends early; the
 * reader of the RDB compares it in its place.
 */
function watchForEnd(framing: RdbFraming, arrivedBytes: number): (chunk: Buffer) => boolean {
  if (framing.kind === 'length') {
    let missingBytes = framing.bytes - arrivedBytes;
    return (chunk) => {
      missingBytes -= chunk.length;
      return missingBytes <= 0;
    };
  }
  const { mark } = framing;
  let tail = Buffer.alloc(0);
  return (chunk) => {
    const seam = Buffer.concat([tail, chunk.subarray(0, mark.length - 1)]);
    if (chunk.includes(mark) || seam.includes(mark)) return true;
    const last = chunk.length >= mark.length ? chunk : Buffer.concat([tail, chunk]);
    tail = Buffer.from(last.subarray(Math.max(0, last.length - mark.length + 1)));
    return false;
  };
}
