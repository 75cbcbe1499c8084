import type { Clock } from '../../core/clock.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { readServerInfo, type ServerInfo } from '../redis/server-info.ts';
import {
  type AclFence,
  describeAclFence,
  type FenceWriter,
  isAclFenceSet,
  readAclFence,
  readAclUsers,
  removeWriter,
  restoreAclFence,
  setAclFence,
} from './fence-by-acl.ts';
import {
  assertMayPause,
  extendPause,
  isPauseStanding,
  PAUSE_FENCE,
  pauseWrites,
  readSourceTimeMs,
  unpauseWrites,
} from './fence-by-pause.ts';
import {
  areScriptsUsed,
  assertScriptsAreFenced,
  isReplicasFenceSet,
  REPLICAS_FENCE,
  readReplicasFence,
  restoreReplicasFence,
  setReplicasFence,
} from './fence-by-replicas.ts';
import { type FenceRecord, readFenceRecord, removeFenceRecord, writeFenceRecord } from './fence-record.ts';

/** How long a fence that is a pause lasts once the target has taken over: time enough to move every application. */
const LASTING_PAUSE_MS = 24 * 3_600_000;

/** Where the record of a fence is kept. */
export type FenceStore = {
  readonly directory: string;
  readonly clock: Clock;
  /** How long a fence that can only be a pause lasts, until {@link extendFence}; without it, it is no fence. */
  readonly pauseMs?: number;
  /** A user to make that alone may write behind the fence: then it is one by ACL, or none. */
  readonly writer?: FenceWriter;
  /** One of the slots of a primary, in which a key may be named; undefined for a server without slots. */
  readonly slot?: number;
};

/**
 * Fences writes at the source, in the best of the ways that it allows, and returns the way in words:
 *
 *   min-replicas-to-write   needs CONFIG; every write is refused, whoever sends it
 *   ACL                     needs ACL SETUSER, Redis 6.0 and later; every write of every user is refused
 *   CLIENT PAUSE            needs CLIENT PAUSE and 6.2; writes wait, for a time
 *
 * What was set before is recorded in the folder of the migration first, so that {@link liftFence} restores exactly
 * that, after a crash too; a fence that is already recorded is renewed and its record kept.
 *
 * @throws fence-denied, with the source as it was
 */
export async function setFence(client: Client, store: FenceStore): Promise<string> {
  const info = await readServerInfo(client);
  const recorded = readFenceRecord(store.directory);
  if (recorded !== undefined) assertSameSource(client, recorded);
  if (info.fields.get('role') !== 'master') {
    throw fenceDenied(client, 'it is a replica, and writes reach it from its own master.');
  }
  const reasons: string[] = [];
  for (const method of recorded === undefined ? methodsOf(store) : [recorded.method]) {
    try {
      const record = recorded ?? (await readFound(method, client, { info, store }));
      writeFenceRecord(store.directory, record);
      await apply(client, record, store);
      return describe(record);
    } catch (error) {
      await liftFence(client, store.directory);
      if (isMigrationError(error) && error.retryable) throw error;
      reasons.push(`${METHOD_NAMES[method]}: ${errorText(error)}`);
    }
  }
  throw fenceDenied(client, reasons.join('; '), areScriptsUsed(info));
}

type Method = FenceRecord['method'];

/** Only ACL tells users apart. */
function methodsOf({ writer }: FenceStore): readonly Method[] {
  return writer === undefined ? ['replicas', 'acl', 'pause'] : ['acl'];
}

const METHOD_NAMES: Readonly<Record<Method, string>> = {
  replicas: 'by min-replicas-to-write',
  acl: 'by ACL',
  pause: 'by CLIENT PAUSE',
};

/** What the method would change, as it is now. @throws what shows that the source does not allow the method */
async function readFound(
  method: Method,
  client: Client,
  { info, store }: { readonly info: ServerInfo; readonly store: FenceStore },
): Promise<FenceRecord> {
  const nowMs = store.clock.nowMs();
  const common = {
    sourceAddress: client.access.address,
    recordedAtMs: nowMs,
    runId: info.fields.get('run_id') ?? '',
  };
  switch (method) {
    case 'replicas': {
      const { paused, settings } = await readReplicasFence(client, info);
      return { method, ...common, paused, settings: [...settings] };
    }
    case 'acl':
      return { method, ...common, ...recordOf(await readAclFence(client, store.writer)) };
    case 'pause':
      if (store.pauseMs === undefined) throw new Error('it would not last until the promotion.');
      await assertMayPause(client, info);
      return { method, ...common, untilMs: (await readSourceTimeMs(client, store.clock)) + store.pauseMs };
  }
}

async function apply(client: Client, record: FenceRecord, store: FenceStore): Promise<void> {
  const { directory, clock } = store;
  switch (record.method) {
    case 'replicas':
      return setReplicasFence(client, { ...record, slot: store.slot });
    case 'acl':
      return writeFenceRecord(directory, {
        ...record,
        fenced: copyOf((await setAclFence(client, record)).users),
      });
    case 'pause':
      await pauseWrites(client, record.untilMs - (await readSourceTimeMs(client, clock)));
  }
}

function recordOf({ users, writer }: AclFence) {
  return { users: copyOf(users), ...(writer === undefined ? {} : { writer }) };
}

function copyOf(users: AclFence['users']) {
  return users.map((user) => ({ ...user, selectors: [...user.selectors] }));
}

function describe(record: FenceRecord): string {
  switch (record.method) {
    case 'replicas':
      return REPLICAS_FENCE;
    case 'acl':
      return describeAclFence(record);
    case 'pause':
      return PAUSE_FENCE;
  }
}

/**
 * Looks whether the fence has held until now: the source has not been restarted, nobody has changed it, and on a source
 * that lets scripts pass none was run.
 *
 * @throws fence-denied
 */
export async function assertFenceHeld(client: Client, store: FenceStore): Promise<void> {
  const { directory } = store;
  try {
    const record = readFenceRecord(directory);
    const runId = (await readServerInfo(client)).fields.get('run_id');
    if (runId !== record?.runId) {
      throw new Error('the source was restarted behind the fence, which did not survive that.');
    }
    if (!(await isFenceStanding(client, store))) {
      throw new Error('somebody has lifted the fence, or changed what it had set.');
    }
    if (record?.method === 'replicas') await assertScriptsAreFenced(client, store.slot);
  } catch (error) {
    throw fenceDenied(client, error, /scripts/.test(errorText(error)));
  }
}

/**
 * Makes a fence that would end by itself last longer; another one is left as it is.
 *
 * @throws fence-lost when it has ended, the codes of {@link openClient}
 */
export async function extendFence(
  source: Access,
  { directory, clock }: FenceStore,
  durationMs: number = LASTING_PAUSE_MS,
): Promise<void> {
  const record = readFenceRecord(directory);
  if (record?.method !== 'pause') return;
  await using client = await openClient(source);
  const { untilMs } = await extendPause(client, record, { clock, durationMs });
  writeFenceRecord(directory, { ...record, untilMs });
}

/**
 * Restores what the fence changed and forgets its record; false where none is recorded.
 *
 * @throws fence-denied when the record is another source's; the codes of {@link Client.call}, and the record stays
 */
export async function liftFence(client: Client, directory: string): Promise<boolean> {
  const record = readFenceRecord(directory);
  if (record === undefined) return false;
  assertSameSource(client, record);
  switch (record.method) {
    case 'replicas':
      await restoreReplicasFence(client, record);
      break;
    case 'acl':
      // A source that was restarted has read its users anew.
      await restoreAclFence(client, record);
      break;
    case 'pause':
      await unpauseWrites(client);
  }
  removeFenceRecord(directory);
  return true;
}

/**
 * Sets a fence by ACL again that does not stand any more, since the source was restarted or somebody has changed it;
 * false where it stands. What users have that the record does not know is what they are given back.
 *
 * @throws fence-lost without a recorded fence by ACL, and what the source refused
 */
export async function renewFence(client: Client, store: FenceStore): Promise<boolean> {
  const record = readFenceRecord(store.directory);
  if (record?.method !== 'acl') {
    throw new MigrationError(
      'fence-lost',
      `No fence is recorded that lets one user of ${client.access.address} write.`,
    );
  }
  assertSameSource(client, record);
  const runId = (await readServerInfo(client)).fields.get('run_id') ?? '';
  const isRestarted = runId !== record.runId;
  if (!isRestarted && (await isFenceStanding(client, store))) return false;
  const found = (await readAclUsers(client)).filter(({ name }) => name !== record.writer?.name);
  const isNew = ({ name }: { name: string }) => record.users.every((user) => user.name !== name);
  const users = isRestarted ? found : [...record.users, ...found.filter(isNew)];
  const renewed: FenceRecord = { ...record, runId, users: copyOf(users) };
  writeFenceRecord(store.directory, renewed);
  await apply(client, renewed, store);
  return true;
}

/** Takes the permission to write from the writer as well; false where there is none. @throws what the source refused */
export async function dropWriter(client: Client, directory: string): Promise<boolean> {
  const record = readFenceRecord(directory);
  if (record?.method !== 'acl' || record.writer === undefined) return false;
  assertSameSource(client, record);
  const { writer, fenced, ...rest } = record;
  await removeWriter(client, writer);
  const others = fenced?.filter(({ name }) => name !== writer.name);
  writeFenceRecord(directory, { ...rest, ...(others === undefined ? {} : { fenced: others }) });
  return true;
}

/** Whether the recorded fence still stands; a source that was restarted has lost it. */
export async function isFenceStanding(
  client: Client,
  { directory, clock, slot }: FenceStore,
): Promise<boolean> {
  const record = readFenceRecord(directory);
  switch (record?.method) {
    case undefined:
      return false;
    case 'replicas':
      return isReplicasFenceSet(client);
    case 'acl':
      return record.fenced !== undefined && (await isAclFenceSet(client, { users: record.fenced }));
    case 'pause': {
      return isPauseStanding(client, record, { clock, slot, info: await readServerInfo(client) });
    }
  }
}

/**
 * Says so when a fence of ours stands of which nothing is recorded: a rollback must not call such a source restored.
 *
 * @throws fence-denied
 */
export async function refuseUnrecordedFence(client: Client): Promise<void> {
  if (!(await isReplicasFenceSet(client))) return;
  throw new MigrationError(
    'fence-denied',
    `The source ${client.access.address} still refuses writes (${REPLICAS_FENCE}), and what was set before is not recorded on this host.`,
    { remedy: 'Set it by hand: CONFIG SET min-replicas-to-write 0 is the default.' },
  );
}

function assertSameSource(client: Client, record: FenceRecord): void {
  if (record.sourceAddress === client.access.address) return;
  throw new MigrationError(
    'fence-denied',
    `The recorded fence stands at ${record.sourceAddress}, not at the source ${client.access.address}.`,
    { remedy: `Give ${record.sourceAddress} as the source again, and run rollback.` },
  );
}

/** A source that cannot be reached has not denied anything: that error keeps its name. */
function fenceDenied(client: Client, cause: unknown, areScripts = false): MigrationError {
  if (isMigrationError(cause) && (cause.retryable || cause.code === 'fence-denied')) return cause;
  const message = `Writes at the source ${client.access.address} could not be fenced: ${errorText(cause)}`;
  return new MigrationError('fence-denied', message, {
    cause,
    ...(areScripts ? { remedy: SCRIPTS_REMEDY } : {}),
  });
}

const SCRIPTS_REMEDY =
  'Scripts of a source before Redis 6.2 write in spite of min-replicas-to-write, and one has run since its statistics began. Allow the user at the source `+acl|users +acl|getuser +acl|setuser` (Redis 6.0 and later); or stop the applications that run scripts, reset the statistics with CONFIG RESETSTAT, and run the phase again.';
