import { openRoutedConnection, type RoutedConnection } from '../redis/cluster/routed-connection.ts';
import { isPassing } from '../sync/patience.ts';
import type { ScanSession } from './session.ts';

/** So often in one database a lost connection is made anew; what is lost more often is no accident. */
const REOPENED_MAX = 20;

/**
 * The connection by which a pass scans one database. When it alone is lost the pass goes on: the subscription has told
 * of everything meanwhile, and to the same process a cursor means what it did.
 */
export class Scanner implements AsyncDisposable {
  readonly #session: ScanSession;
  readonly #db: number;
  #connection: RoutedConnection | undefined;
  #reopened = 0;

  constructor(session: ScanSession, db: number) {
    this.#session = session;
    this.#db = db;
  }

  /** Connects. Throws the codes of {@link openRoutedConnection}. */
  async open(): Promise<RoutedConnection> {
    const { source, signal } = this.#session;
    this.#connection = await openRoutedConnection(source, { db: this.#db, signal });
    return this.#connection;
  }

  /** Connects again to the processes that were scanned; throws the failure when it does not pass or they are others. */
  async reopen(failure: unknown): Promise<RoutedConnection> {
    const { signal, meter, context } = this.#session;
    signal.throwIfAborted();
    this.#reopened += 1;
    if (!isPassing(failure) || this.#reopened > REOPENED_MAX) throw failure;
    await this.#connection?.[Symbol.asyncDispose]();
    const connection = await this.open();
    if (!(await this.#isOfSameProcesses(connection))) throw failure;
    meter.reconnects += 1;
    meter.note(`the scan goes on where it was: ${failure.code}`);
    context.log(`the scan goes on where it was after ${failure.code}: ${failure.message}`);
    return connection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection?.[Symbol.asyncDispose]();
  }

  /** Where a server does not say which process it is, it may be another one. */
  async #isOfSameProcesses({ primaries, layout }: RoutedConnection): Promise<boolean> {
    const { nodes, layout: before } = this.#session;
    if (layout !== before || primaries.length !== nodes.length) return false;
    const same = await Promise.all(
      primaries.map(async (primary, index) => {
        const [info] = await primary.send([['INFO', 'server']]);
        const runId = /^run_id:(\w+)/m.exec(String(info))?.[1];
        return runId !== undefined && runId === nodes[index]?.info?.fields.get('run_id');
      }),
    );
    return same.every(Boolean);
  }
}
