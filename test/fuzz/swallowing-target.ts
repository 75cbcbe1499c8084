import net from 'node:net';
import { TargetWriter } from '../../src/agent/sync/target-writer.ts';

/** A target that answers +OK to whatever it is sent, and keeps nothing of it. */
export type SwallowingTarget = AsyncDisposable & {
  /** Opens a writer to it. */
  open(): Promise<TargetWriter>;
  /** Commands that it has taken. */
  readonly commands: number;
  /** What it was sent that is no command; undefined as long as all were. */
  readonly complaint: string | undefined;
};

/** Starts one on the loopback; `onBytes` is shown what it is sent. */
export async function startSwallowingTarget(onBytes?: (chunk: Buffer) => void): Promise<SwallowingTarget> {
  const swallowed = { commands: 0, complaint: undefined as string | undefined };
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    const counter = new CommandCounter();
    socket.on('close', () => sockets.delete(socket)).on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      onBytes?.(chunk);
      try {
        const count = counter.push(chunk);
        swallowed.commands += count;
        if (count > 0) socket.write('+OK\r\n'.repeat(count));
      } catch (error) {
        swallowed.complaint ??= String(error);
        socket.destroy();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const access = { side: 'target', host: '127.0.0.1', port, address: 'swallowing target' } as const;
  return {
    get commands() {
      return swallowed.commands;
    },
    get complaint() {
      return swallowed.complaint;
    },
    open: () =>
      TargetWriter.open({
        access: { ...access, username: undefined, password: undefined, tls: undefined },
        clientName: 'fuzz',
        onFailure: () => {},
        onAnswers: () => {},
        signal: new AbortController().signal,
      }),
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Counts commands, written apart from the product's own readers, so as to be a judge of what the product writes. */
class CommandCounter {
  #line = '';
  #bytesLeft = 0;
  #argumentsLeft = 0;

  /** How many commands the chunk completes. */
  push(chunk: Buffer): number {
    let commands = 0;
    for (let at = 0; at < chunk.length; ) {
      if (this.#bytesLeft > 0) {
        const taken = Math.min(this.#bytesLeft, chunk.length - at);
        this.#bytesLeft -= taken;
        at += taken;
        if (this.#bytesLeft === 0 && chunk[at - 1] !== 10) throw new Error('an argument without a line end');
        if (this.#bytesLeft === 0 && --this.#argumentsLeft === 0) commands += 1;
        continue;
      }
      const end = chunk.indexOf('\n', at);
      this.#line += chunk.toString('latin1', at, end === -1 ? undefined : end);
      if (end === -1) break;
      at = end + 1;
      this.#takeLine();
      this.#line = '';
    }
    return commands;
  }

  #takeLine(): void {
    const [, mark, digits] = /^([*$])(\d+)\r$/.exec(this.#line) ?? [];
    if (mark !== (this.#argumentsLeft === 0 ? '*' : '$')) {
      throw new Error(`unexpected line ${JSON.stringify(this.#line.slice(0, 40))}`);
    }
    if (mark === '*') this.#argumentsLeft = Number(digits);
    else this.#bytesLeft = Number(digits) + 2;
  }
}
