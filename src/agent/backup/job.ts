import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { formatDuration } from '../../core/units.ts';
import { type Job, type JobContext, NO_PROGRESS } from '../job/context.ts';
import { resolveAccess } from '../redis/access.ts';
import type { Client } from '../redis/client.ts';
import { openPrimaries } from '../redis/cluster/primaries.ts';
import { countKeys, readServerInfo, type ServerInfo } from '../redis/server-info.ts';
import { readSetting } from '../redis/server-setting.ts';

const POLL_MS = 200;

/** What BGSAVE answers while another child of the server is at work; texts of redis 5.0-8.0 and valkey 7.2-9.1. */
const ANOTHER_CHILD =
  /save already in progress|Another child process is active|AOF log rewriting is in progress/i;

/**
 * Has the source write its RDB file, and proves that it did: LASTSAVE moved and the last status is ok. Of one in cluster
 * mode the primaries do so one after the other, and the times are those of the first.
 *
 * A save that is already running is waited for, because it may have begun before the data of now.
 *
 * @throws backup-failed, source-permission-denied, and the codes of a connection to the source
 */
export const runBackup: Job<'backup'> = async (request, context) => {
  const access = await resolveAccess('source', request.source, context.resolveSecret);
  await using primaries = await openPrimaries(access);
  const startedAtMs = context.clock.nowMs();
  const endsAtMs = startedAtMs + request.timeoutMs;
  const saved: Saved[] = [];
  for (const client of primaries.all) saved.push(await save({ client, context, endsAtMs, ...request }));
  const paths = saved.map(({ rdbPath }) => rdbPath).filter((rdbPath) => rdbPath !== undefined);
  return {
    kind: 'backup',
    ...(paths.length < saved.length ? {} : { rdbPath: paths.join(', ') }),
    lastSaveBeforeMs: Math.min(...saved.map(({ lastSaveBeforeMs }) => lastSaveBeforeMs)),
    lastSaveAfterMs: Math.min(...saved.map(({ lastSaveAfterMs }) => lastSaveAfterMs)),
    durationMs: context.clock.nowMs() - startedAtMs,
    keys: saved.reduce((sum, { keys }) => sum + keys, 0),
  };
};

type Saved = {
  /** With the address before it where there are several primaries. */
  readonly rdbPath: string | undefined;
  readonly lastSaveBeforeMs: number;
  readonly lastSaveAfterMs: number;
  readonly keys: number;
};

async function save(deadline: Deadline): Promise<Saved> {
  const { client, context } = deadline;
  context.report({ ...NO_PROGRESS, stage: 'waiting' });
  const lastSaveBeforeMs = await waitForTheNextSecond(deadline);
  await startSave(deadline);
  context.log(`The source ${client.access.address} began to save.`);
  context.report({ ...NO_PROGRESS, stage: 'saving' });
  const info = await waitForTheSave(deadline);
  const lastSaveAfterMs = await readLastSaveMs(client);
  assertSaved({ client, info, lastSaveBeforeMs, lastSaveAfterMs });
  const path = await readRdbPath(client);
  const isOfCluster = info.fields.get('cluster_enabled') === '1';
  const rdbPath = path === undefined || !isOfCluster ? path : `${client.access.address} ${path}`;
  return { rdbPath, lastSaveBeforeMs, lastSaveAfterMs, keys: countKeys(info.fields) };
}

type Deadline = { client: Client; context: JobContext; endsAtMs: number; timeoutMs: number };

/**
 * Waits until the source's clock has left the second of LASTSAVE, and returns that LASTSAVE.
 *
 * LASTSAVE counts seconds: a save that is done within the second of the one before would leave no trace in it.
 */
async function waitForTheNextSecond(deadline: Deadline): Promise<number> {
  for (;;) {
    const lastSaveMs = await readLastSaveMs(deadline.client);
    const time = await deadline.client.call('TIME');
    const nowSeconds = Array.isArray(time) ? Number(time[0]) : Number.NaN;
    if (nowSeconds * 1000 > lastSaveMs) return lastSaveMs;
    await pause(deadline, 'the second of its last save did not pass');
  }
}

async function startSave(deadline: Deadline): Promise<void> {
  for (;;) {
    try {
      await deadline.client.call('BGSAVE');
      return;
    } catch (error) {
      if (isMigrationError(error) && error.code !== 'source-protocol-error') throw error;
      if (!ANOTHER_CHILD.test(errorText(error))) throw backupFailed(deadline.client, errorText(error), error);
    }
    await pause(deadline, 'another save or rewrite of its file did not end');
  }
}

async function waitForTheSave(deadline: Deadline): Promise<ServerInfo> {
  for (;;) {
    const info = await readServerInfo(deadline.client);
    if (info.fields.get('rdb_bgsave_in_progress') === '0') return info;
    await pause(deadline, 'its save did not end');
  }
}

function assertSaved(saved: {
  client: Client;
  info: ServerInfo;
  lastSaveBeforeMs: number;
  lastSaveAfterMs: number;
}): void {
  const status = saved.info.fields.get('rdb_last_bgsave_status');
  if (status !== 'ok')
    throw backupFailed(saved.client, `the status of its last save is ${status ?? 'unknown'}`);
  if (saved.lastSaveAfterMs <= saved.lastSaveBeforeMs) {
    throw backupFailed(saved.client, 'LASTSAVE did not move, so nothing proves that it saved');
  }
}

async function pause({ client, context, endsAtMs, timeoutMs }: Deadline, reason: string): Promise<void> {
  const { clock, signal } = context;
  if (clock.nowMs() >= endsAtMs) throw backupFailed(client, `${reason} within ${formatDuration(timeoutMs)}`);
  await clock.sleep(POLL_MS, signal);
}

async function readLastSaveMs(client: Client): Promise<number> {
  return Number(await client.call('LASTSAVE')) * 1000;
}

/** Where the file lies on the source's disk; undefined where CONFIG is denied or renamed away. */
async function readRdbPath(client: Client): Promise<string | undefined> {
  try {
    const directory = await readSetting(client, 'dir');
    const name = await readSetting(client, 'dbfilename');
    return directory === undefined || name === undefined ? undefined : `${directory}/${name}`;
  } catch (error) {
    if (isMigrationError(error) && error.code === 'source-permission-denied') return undefined;
    throw error;
  }
}

function backupFailed(client: Client, reason: string, cause?: unknown): MigrationError {
  return new MigrationError(
    'backup-failed',
    `The source ${client.access.address} made no backup: ${reason}.`,
    {
      cause,
    },
  );
}
