import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A port that leads to another one, which can be changed, and whose connections can be broken. */
export type SwitchingProxy = AsyncDisposable & {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** New connections lead here from now on, and the ones that there are break. */
  pointTo(port: number): void;
  /** Breaks every connection. */
  cut(): void;
  /** Breaks each new connection as soon as so many bytes have come from the server. */
  cutAfter(bytes: number): void;
};

/** Starts a proxy on a port of its own, in front of a port on this host. */
export async function startProxy(firstPort: number): Promise<SwitchingProxy> {
  let goal = firstPort;
  let bytesMax = Number.POSITIVE_INFINITY;
  const sockets = new Set<Socket>();
  const keep = (socket: Socket, other: Socket) => {
    sockets.add(socket);
    // Why it broke is told by the close that follows.
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      other.destroy();
    });
  };
  const server = createServer((accepted) => {
    const leading = connect(goal, '127.0.0.1');
    keep(accepted, leading);
    keep(leading, accepted);
    accepted.pipe(leading);
    leading.pipe(accepted);
    const limit = bytesMax;
    leading.on('data', () => {
      if (leading.bytesRead > limit) leading.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    host: '127.0.0.1',
    port,
    pointTo: (next) => {
      goal = next;
      cut();
    },
    cut,
    cutAfter: (bytes) => {
      bytesMax = bytes;
    },
    [Symbol.asyncDispose]: async () => {
      server.close();
      cut();
    },
  };
}
