import { compareVersions, type ServerBinary } from '../servers/server-binary.ts';
import { type RunningServer, startServer } from '../servers/start.ts';

/** A fresh source and a fresh target. */
export type ServerPair = AsyncDisposable & { readonly source: RunningServer; readonly target: RunningServer };

/** The programs of both. */
export type PairBinaries = { readonly source: ServerBinary; readonly target: ServerBinary };

/**
 * Starts both: no persistence, the source answers PSYNC at once by a fork that writes to the socket, and no replica is
 * dropped for being slow, whoever it is. Everything else is the default of the server.
 */
export async function startPair(
  { source, target }: PairBinaries,
  options: {
    /** The source loads `dump.rdb` from here. */
    readonly dataDirectory?: string;
    readonly targetConfig?: Readonly<Record<string, string>>;
  },
): Promise<ServerPair> {
  await using stack = new AsyncDisposableStack();
  const running = stack.use(
    await startServer({
      server: source,
      config: {
        ...debugConfig(source),
        'repl-diskless-sync': 'yes',
        'repl-diskless-sync-delay': '0',
        'client-output-buffer-limit': 'replica 0 0 0',
        ...(options.dataDirectory === undefined ? {} : { dir: options.dataDirectory }),
      },
    }),
  );
  const config = { ...debugConfig(target), ...options.targetConfig };
  const receiving = stack.use(await startServer({ server: target, config }));
  const owned = stack.move();
  return {
    source: running,
    target: receiving,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Redis 7 and Valkey allow DEBUG only when told to; older ones do not know the directive. */
export function debugConfig({ version }: ServerBinary): Readonly<Record<string, string>> {
  return compareVersions(version, '7.0.0') < 0 ? {} : { 'enable-debug-command': 'local' };
}
