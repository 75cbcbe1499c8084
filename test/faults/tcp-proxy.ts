import net from 'node:net';

/** Passes connections on to a port of the loopback, and breaks them when it is told. */
export type TcpProxy = AsyncDisposable & {
  readonly port: number;
  /** Breaks all connections by a reset. */
  reset(): void;
  /** From now on connections go to another port; those there are are reset. */
  leadTo(port: number): void;
  /** Resets all connections and refuses new ones until `leadTo`. */
  refuse(): void;
};

/** Starts a proxy to the port. */
export async function startTcpProxy(port: number): Promise<TcpProxy> {
  const sockets = new Set<net.Socket>();
  let destination: number | undefined = port;
  const server = net.createServer((client) => {
    sockets.add(client);
    client.once('close', () => sockets.delete(client));
    if (destination === undefined) {
      client.resetAndDestroy();
      return;
    }
    const upstream = net.connect({ host: '127.0.0.1', port: destination });
    sockets.add(upstream);
    upstream.once('close', () => sockets.delete(upstream));
    for (const [from, to] of [[client, upstream] as const, [upstream, client] as const]) {
      from.pipe(to);
      // A side that breaks breaks the other: that is what it is for.
      from.once('error', () => to.resetAndDestroy()).once('close', () => to.destroy());
    }
  });
  const reset = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return {
    port: address.port,
    reset,
    leadTo: (other) => {
      destination = other;
      reset();
    },
    refuse: () => {
      destination = undefined;
      reset();
    },
    [Symbol.asyncDispose]: async () => {
      reset();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
