import net from 'node:net';
import { CommandReader } from '../../../src/agent/redis/command-reader.ts';
import { type Command, encodeCommands } from '../../../src/agent/redis/raw-connection.ts';

/** A source that has but an RDB and a stream: for data that no server at hand can make. */
export type ScriptedSource = AsyncDisposable & {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** Adds to the stream. */
  send(commands: readonly Command[]): void;
};

const REPLID = 'a'.repeat(40);
const START_OFFSET = 1000;

/**
 * Serves the RDB to whoever asks for a full resync, then what is sent; everything else is denied.
 *
 * `transfer` says instead what follows `+FULLRESYNC` at the attempt of that number, the first being 1: pieces that arrive
 * one by one.
 */
export async function startScriptedSource(
  rdb: Buffer,
  { transfer = () => [lengthFrame(rdb), rdb] }: { transfer?: (attempt: number) => readonly Buffer[] } = {},
): Promise<ScriptedSource> {
  let attempt = 0;
  const sockets = new Set<net.Socket>();
  const replicas = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    const reader = new CommandReader({
      hold: () => {
        throw new Error('a scripted source is asked for nothing large');
      },
      isTranslated: () => true,
    });
    socket.on('error', () => {
      // The sync ends its connections as it likes.
    });
    socket.on('close', () => {
      sockets.delete(socket);
      replicas.delete(socket);
    });
    socket.on('data', (chunk) => {
      reader.push(chunk);
      while (reader.next()) {
        if (reader.argumentCount === 0) continue;
        const name = reader.text(0).toUpperCase();
        if (name === 'PSYNC') {
          attempt += 1;
          replicas.add(socket);
          const start = Buffer.from(`+FULLRESYNC ${REPLID} ${START_OFFSET}\r\n`);
          void writePieces(socket, [start, ...transfer(attempt)]);
        } else if (name === 'PING') socket.write('+PONG\r\n');
        else if (name !== 'REPLCONF') socket.write(`-NOPERM no permission to run ${name}\r\n`);
        else if (!/^ack$/i.test(reader.text(1))) socket.write('+OK\r\n');
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the scripted source has no port');
  return {
    host: '127.0.0.1',
    port: address.port,
    send: (commands) => {
      for (const replica of replicas) replica.write(encodeCommands(commands));
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function lengthFrame(rdb: Buffer): Buffer {
  return Buffer.from(`$${rdb.length}\r\n`);
}

/** Leaves the other side time to take each piece before the next one is there. */
async function writePieces(socket: net.Socket, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    socket.write(piece);
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}
