import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Clock } from '../../core/clock.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { readJsonIfThere, removeIfThere, writeFileAtomically } from '../job/files.ts';
import type { Access } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { isVersionAtLeast, readServerInfo, type ServerInfo } from '../redis/server-info.ts';
import {
  type AclFence,
  describeAclFence,
  isAclFenceSet,
  readAclFence,
  restoreAclFence,
  setAclFence,
} from './fence-by-acl.ts';
import {
  areScriptsUsed,
  assertScriptsAreFenced,
  isReplicasFenceSet,
  REPLICAS_FENCE,
  readReplicasFence,
  restoreReplicasFence,
  setReplicasFence,
  unpause,
} from './fence-by-replicas.ts';

/** How long a fence that is a pause lasts once the target has taken over: time enough to move every application. */
const LASTING_PAUSE_MS = 24 * 3_600_000;

const found = { sourceAddress: z.string(), recordedAtMs: z.number(), runId: z.string() };
const userSchema = z.strictObject({
  name: z.string(),
  commands: z.string(),
  selectors: z.array(z.string()),
});
const recordSchema = z.discriminatedUnion('method', [
  z.strictObject({
    method: z.literal('replicas'),
    ...found,
    paused: z.boolean(),
    settings: z.array(z.strictObject({ name: z.string(), value: z.string() })),
  }),
  z.strictObject({
    method: z.literal('acl'),
    ...found,
    users: z.array(userSchema),
    /** What the users have behind the fence; not there until it is set. */
    fenced: z.array(userSchema).optional(),
  }),
  z.strictObject({ method: z.literal('pause'), ...found, untilMs: z.number() }),
]);
type FenceRecord = z.infer<typeof recordSchema>;

/** Where the record of a fence is kept. */
export type FenceStore = {
  readonly directory: string;
  readonly clock: Clock;
  /** How long a fence that can only be a pause lasts, until {@link makeFenceLast}; without it, it is no fence. */
  readonly pauseMs?: number;
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
  const recorded = readRecord(store.directory);
  if (recorded !== undefined) assertSameSource(client, recorded);
  if (info.fields.get('role') !== 'master') {
    throw fenceDenied(client, 'it is a replica, and writes reach it from its own master.');
  }
  const reasons: string[] = [];
  for (const method of recorded === undefined ? METHODS : [recorded.method]) {
    try {
      const record = recorded ?? (await readFound(method, client, { info, store }));
      writeRecord(store.directory, record);
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

const METHODS = ['replicas', 'acl', 'pause'] as const;
type Method = (typeof METHODS)[number];
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
      return { method, ...common, users: copyOf(await readAclFence(client)) };
    case 'pause':
      if (!isVersionAtLeast(info.version, 6, 2)) throw new Error('it cannot pause writes alone before 6.2.');
      if (store.pauseMs === undefined) throw new Error('it would not last until the promotion.');
      return { method, ...common, untilMs: nowMs + store.pauseMs };
  }
}

async function apply(client: Client, record: FenceRecord, store: FenceStore): Promise<void> {
  const { directory, clock } = store;
  switch (record.method) {
    case 'replicas':
      return setReplicasFence(client, { ...record, slot: store.slot });
    case 'acl':
      return writeRecord(directory, { ...record, fenced: copyOf(await setAclFence(client, record)) });
    case 'pause':
      await client.call('CLIENT', 'PAUSE', Math.max(1, record.untilMs - clock.nowMs()), 'WRITE');
  }
}

function copyOf({ users }: AclFence) {
  return users.map((user) => ({ ...user, selectors: [...user.selectors] }));
}

function describe(record: FenceRecord): string {
  switch (record.method) {
    case 'replicas':
      return REPLICAS_FENCE;
    case 'acl':
      return describeAclFence(record);
    case 'pause':
      return 'CLIENT PAUSE WRITE';
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
    const record = readRecord(directory);
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

/** Keeps a fence that would end by itself; another one is left as it is. Throws the codes of {@link openClient}. */
export async function makeFenceLast(source: Access, { directory, clock }: FenceStore): Promise<void> {
  const record = readRecord(directory);
  if (record?.method !== 'pause') return;
  await using client = await openClient(source);
  const untilMs = clock.nowMs() + LASTING_PAUSE_MS;
  await client.call('CLIENT', 'PAUSE', LASTING_PAUSE_MS, 'WRITE');
  writeRecord(directory, { ...record, untilMs });
}

/**
 * Restores what the fence changed and forgets its record; false where none is recorded.
 *
 * @throws fence-denied when the record is another source's; the codes of {@link Client.call}, and the record stays
 */
export async function liftFence(client: Client, directory: string): Promise<boolean> {
  const record = readRecord(directory);
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
      await unpause(client);
  }
  removeIfThere(recordPath(directory));
  return true;
}

/** Whether the recorded fence still stands; a source that was restarted has lost it. */
export async function isFenceStanding(client: Client, { directory, clock }: FenceStore): Promise<boolean> {
  const record = readRecord(directory);
  switch (record?.method) {
    case undefined:
      return false;
    case 'replicas':
      return isReplicasFenceSet(client);
    case 'acl':
      return record.fenced !== undefined && (await isAclFenceSet(client, { users: record.fenced }));
    case 'pause': {
      const { fields } = await readServerInfo(client);
      return fields.get('run_id') === record.runId && clock.nowMs() < record.untilMs;
    }
  }
}

/** Where and since when a fence is recorded in a folder that has not been lifted; undefined for none. */
export function fenceRecord(
  directory: string,
): Pick<FenceRecord, 'sourceAddress' | 'recordedAtMs'> | undefined {
  return readRecord(directory);
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

function readRecord(directory: string): FenceRecord | undefined {
  const content = readJsonIfThere(recordPath(directory));
  if (content === undefined) return undefined;
  const record = recordSchema.safeParse(content);
  if (record.success) return record.data;
  throw new MigrationError('contract-mismatch', `${recordPath(directory)} is not the record of a fence.`);
}

function writeRecord(directory: string, record: FenceRecord): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileAtomically(recordPath(directory), `${JSON.stringify(record)}\n`);
}

function recordPath(directory: string): string {
  return join(directory, 'fence.json');
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
