import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { JobContext } from '../../../src/agent/job/context.ts';
import { runScanSync } from '../../../src/agent/scan/job.ts';
import { runSync } from '../../../src/agent/sync/job.ts';
import type { Progress } from '../../../src/contract/job-state.ts';
import type { SyncReport } from '../../../src/contract/reports.ts';
import type { HashFieldTtl } from '../../../src/contract/skipped.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { Secret } from '../../../src/core/secret.ts';
import type { RunningServer } from '../../servers/start.ts';
import { NO_SIBLINGS } from '../cutover/job-context.ts';

/** What a sync and its observer need of a server. */
export type ServerPlace = Pick<RunningServer, 'host' | 'port' | 'client'>;

/** A server or a cluster that a sync in a test writes to. */
export type TargetPlace = Pick<ServerPlace, 'host' | 'port'> & {
  client(): { get(key: string): Promise<string | null>; disconnect(): void };
};

type User = { readonly username: string; readonly password: string };

/** How to start a sync in a test. */
export type SyncRunOptions = {
  readonly source: ServerPlace;
  readonly target: TargetPlace;
  readonly flushTarget?: boolean;
  /** Default `replica`. */
  readonly route?: 'scan';
  readonly hashFieldTtl?: HashFieldTtl;
  readonly spoolBytesMax?: number;
  readonly tuneSource?: boolean;
  readonly sourceBytesPerSecondMax?: number;
  readonly targetCommandsPerSecondMax?: number;
  /** The folder of the migration, which stays; without it the sync has one of its own. */
  readonly directory?: string;
  readonly migrationId?: string;
  readonly repository?: string;
  readonly hostId?: string;
  /** The clock of the machine by default. */
  readonly clock?: Clock;
  /** Connects both sides by TLS on these ports, trusting this file. */
  readonly tls?: { readonly caFile: string; readonly sourcePort: number; readonly targetPort: number };
  readonly sourceUser?: User;
  readonly targetUser?: User;
};

/** A sync under way in this process, as the job store would run it. */
export type SyncRun = AsyncDisposable & {
  /** Resolves with the progress that first satisfies the condition; rejects when the sync fails before. */
  until(condition: (progress: Progress) => boolean): Promise<Progress>;
  /** Resolves when the target has committed everything that the source has written until now. */
  caughtUp(): Promise<void>;
  /** Asks the job to stop and waits for its report. */
  stop(): Promise<SyncReport>;
  /** How the job ends by itself. */
  readonly ended: Promise<SyncReport>;
  readonly log: readonly string[];
  /** The folder of the migration. */
  readonly directory: string;
  progress(): Progress | undefined;
};

/** Starts the job on two servers of a test. */
export async function startSync(options: SyncRunOptions): Promise<SyncRun> {
  const { source, target } = options;
  const directory = options.directory ?? (await mkdtemp(path.join(os.tmpdir(), 'valkey-migrate-sync-')));
  const stopping = new AbortController();
  const log: string[] = [];
  const watchers = new Set<(progress: Progress) => void>();
  let latest: Progress | undefined;
  const context: JobContext = {
    migrationId: options.migrationId ?? 'sessions',
    repository: options.repository ?? 'acme/shop',
    hostId: options.hostId ?? 'host-1',
    directory,
    clock: options.clock ?? systemClock,
    signal: stopping.signal,
    siblings: NO_SIBLINGS,
    resolveSecret: async (reference) => {
      const isTarget = 'name' in reference && reference.name === 'TARGET_PASSWORD';
      return new Secret((isTarget ? options.targetUser : options.sourceUser)?.password ?? '');
    },
    report: (progress) => {
      latest = progress;
      for (const watcher of watchers) watcher(progress);
    },
    leaveReport: () => {},
    log: (line) => log.push(line),
  };
  const { tls } = options;
  const endpoint = (server: TargetPlace, tlsPort: number | undefined) =>
    tls === undefined || tlsPort === undefined
      ? { host: server.host, port: server.port, tls: false }
      : { host: server.host, port: tlsPort, tls: true, caFile: tls.caFile };
  const run = options.route === 'scan' ? runScanSync : runSync;
  const ended = run(
    {
      kind: 'sync',
      ...(options.route === undefined ? {} : { route: options.route }),
      source: {
        ...endpoint(source, tls?.sourcePort),
        ...(options.sourceUser === undefined
          ? {}
          : { username: options.sourceUser.username, password: { from: 'env', name: 'SOURCE_PASSWORD' } }),
      },
      target: {
        ...endpoint(target, tls?.targetPort),
        ...(options.targetUser === undefined
          ? {}
          : { username: options.targetUser.username, password: { from: 'env', name: 'TARGET_PASSWORD' } }),
      },
      flushTarget: options.flushTarget ?? false,
      ...chosen(options),
      keyDisplay: 'shown',
      hashFieldTtl: options.hashFieldTtl ?? 'refuse',
    },
    context,
  );
  // Every caller looks at it in its own time; until then a failure is nobody's unhandled rejection.
  ended.catch(() => {});
  const until = (condition: (progress: Progress) => boolean) =>
    new Promise<Progress>((resolve, reject) => {
      const watcher = (progress: Progress) => {
        if (!condition(progress)) return;
        watchers.delete(watcher);
        resolve(progress);
      };
      watchers.add(watcher);
      ended.then(() => reject(new Error('the sync has ended')), reject);
    });
  const caughtUp = async () => {
    const client = source.client();
    const info = await client.info('replication');
    client.disconnect();
    const isScan = options.route === 'scan';
    const offset = isScan ? Date.now() : Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1]);
    const reader = target.client();
    for (;;) {
      const claim = await reader.get('__valkey-migrate__');
      const committed = Number(/"offset":(\d+)/.exec(claim ?? '')?.[1] ?? 0);
      if (committed >= offset) break;
      await until(() => true);
    }
    reader.disconnect();
  };
  const stop = () => {
    stopping.abort(new Error('stopped by the test'));
    return ended;
  };
  return {
    until,
    caughtUp,
    stop,
    ended,
    log,
    directory,
    progress: () => latest,
    [Symbol.asyncDispose]: async () => {
      await stop().catch(() => {});
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}

/** What the request says only when it is given. */
function chosen(options: SyncRunOptions) {
  const { spoolBytesMax, tuneSource, sourceBytesPerSecondMax, targetCommandsPerSecondMax } = options;
  return {
    ...(spoolBytesMax === undefined ? {} : { spoolBytesMax }),
    ...(tuneSource === undefined ? {} : { tuneSource }),
    ...(sourceBytesPerSecondMax === undefined ? {} : { sourceBytesPerSecondMax }),
    ...(targetCommandsPerSecondMax === undefined ? {} : { targetCommandsPerSecondMax }),
  };
}
