import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Clock } from '../../core/clock.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { readJsonIfThere, writeFileAtomically } from '../job/files.ts';
import type { Client } from '../redis/client.ts';
import { isVersionAtLeast, readServerInfo, type ServerInfo } from '../redis/server-info.ts';
import { readSetting } from '../redis/server-setting.ts';

/** No source has as many replicas, so it refuses every write. */
const FENCE_REPLICAS = '1000000';
/** The fence in words, for the report. */
export const FENCE_NAME = `min-replicas-to-write ${FENCE_REPLICAS}`;

const REPLICAS = 'min-replicas-to-write';
const MAX_LAG = 'min-replicas-max-lag';
/** A max-lag of 0 switches the check of min-replicas-to-write off, so the fence sets the default of the servers. */
const FENCE_MAX_LAG = '10';
/** Longer than two settings take to set; if this process dies in between, the source goes on by itself after it. */
const PAUSE_MS = 5000;

const recordSchema = z.strictObject({
  sourceAddress: z.string(),
  recordedAtMs: z.number(),
  /** Whether writers were paused as well, which servers below 6.2 cannot do for writes alone. */
  paused: z.boolean(),
  /** The settings as they were found, in the order in which they are restored. */
  settings: z.array(z.strictObject({ name: z.string(), value: z.string() })),
});
type FenceRecord = z.infer<typeof recordSchema>;

/**
 * Fences writes at the source: once it returns, the source refuses every write with NOREPLICAS.
 *
 * What was set before is recorded in the folder of the migration first, so that {@link liftFence} restores exactly
 * that, after a crash too; a fence that is already recorded is renewed and its record kept. Writers are paused while
 * the settings change, and unpaused into the fence, so that a blocked write fails instead of being done later.
 *
 * A source below 6.2 is not paused: its CLIENT PAUSE would hold this connection too. A source that lets scripts pass
 * the fence, and on which scripts are used, is refused.
 *
 * @throws fence-denied, with the source as it was
 */
export async function setFence(client: Client, { directory, clock }: FenceStore): Promise<void> {
  const info = await readServerInfo(client);
  const recorded = readRecord(directory);
  if (recorded !== undefined) assertSameSource(client, recorded);
  if (info.fields.get('role') !== 'master') {
    throw fenceDenied(client, 'it is a replica, and writes reach it from its own master.');
  }
  const paused = recorded?.paused ?? isVersionAtLeast(info.version, 6, 2);
  const record = recorded ?? (await recordSettings(client, { directory, clock, paused }));
  try {
    if (record.paused) await client.call('CLIENT', 'PAUSE', PAUSE_MS, 'WRITE');
    const lag = record.settings.find(({ name }) => name === MAX_LAG);
    if (lag?.value === '0') await client.call('CONFIG', 'SET', MAX_LAG, FENCE_MAX_LAG);
    await client.call('CONFIG', 'SET', REPLICAS, FENCE_REPLICAS);
    if (record.paused) await client.call('CLIENT', 'UNPAUSE');
    // Before 6.2 a transaction that was queued before the fence would still be executed behind it.
    if (!record.paused) await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    if (areScriptsUsed(info)) await assertScriptsAreFenced(client);
  } catch (error) {
    await liftFence(client, directory);
    throw fenceDenied(client, error);
  }
}

/**
 * Looks whether anything may have written behind the fence: on a source that lets scripts pass, a client may have run
 * its first script only after the fence was set.
 *
 * @throws fence-denied
 */
export async function assertFenceHeld(client: Client): Promise<void> {
  if (!areScriptsUsed(await readServerInfo(client))) return;
  try {
    await assertScriptsAreFenced(client);
  } catch (error) {
    throw fenceDenied(client, error);
  }
}

/** Where the record of a fence is kept. */
export type FenceStore = { readonly directory: string; readonly clock: Clock };

/**
 * Restores what the fence changed and forgets its record; false where none is recorded.
 *
 * @throws fence-denied when the record is another source's; the codes of {@link Client.call}, and the record stays
 */
export async function liftFence(client: Client, directory: string): Promise<boolean> {
  const record = readRecord(directory);
  if (record === undefined) return false;
  assertSameSource(client, record);
  for (const { name, value } of record.settings) {
    if ((await readSetting(client, name)) !== value) await client.call('CONFIG', 'SET', name, value);
  }
  // Only now, so that writers that are still blocked find the fence gone.
  if (record.paused) await unpause(client);
  rmSync(recordPath(directory), { force: true });
  return true;
}

/** Whether the recorded fence still stands; a source that was restarted has lost it. */
export async function isFenceStanding(client: Client, directory: string): Promise<boolean> {
  if (readRecord(directory) === undefined) return false;
  return (await readSetting(client, REPLICAS)) === FENCE_REPLICAS;
}

/** Since when a fence is recorded that has not been lifted; undefined for none. */
export function fenceRecordedAtMs(directory: string): number | undefined {
  return readRecord(directory)?.recordedAtMs;
}

/** Whether a fence is recorded that has not been lifted. */
export function isFenceRecorded(directory: string): boolean {
  return readRecord(directory) !== undefined;
}

/**
 * Says so when a fence of ours stands of which nothing is recorded: a rollback must not call such a source restored.
 *
 * @throws fence-denied
 */
export async function refuseUnrecordedFence(client: Client): Promise<void> {
  const value = await readSetting(client, REPLICAS).catch(() => undefined); // who may not look did not fence either
  if (value !== FENCE_REPLICAS) return;
  throw new MigrationError(
    'fence-denied',
    `The source ${client.access.address} still refuses writes (${FENCE_NAME}), and what was set before is not recorded on this host.`,
    { remedy: `Set it by hand: CONFIG SET ${REPLICAS} 0 is the default.` },
  );
}

async function recordSettings(
  client: Client,
  { directory, clock, paused }: FenceStore & { paused: boolean },
): Promise<FenceRecord> {
  const settings: FenceRecord['settings'] = [];
  try {
    for (const name of [REPLICAS, MAX_LAG]) {
      const value = await readSetting(client, name);
      if (value === undefined) throw new Error(`it has no setting ${name}`);
      // Setting what is set changes nothing, and shows a refusal before anything is changed.
      await client.call('CONFIG', 'SET', name, value);
      settings.push({ name, value });
    }
  } catch (error) {
    throw fenceDenied(client, error);
  }
  const record = { sourceAddress: client.access.address, recordedAtMs: clock.nowMs(), paused, settings };
  writeFileAtomically(recordPath(directory), `${JSON.stringify(record)}\n`);
  return record;
}

/** Whether any client has run a script since the source's statistics began. */
export function areScriptsUsed(info: ServerInfo): boolean {
  return ['cmdstat_eval', 'cmdstat_evalsha'].some((field) => info.fields.has(field));
}

/**
 * Old servers check min-replicas-to-write for the EVAL only, not for the writes of its script: a DEL of a key that
 * is not there changes nothing and tells which kind this one is.
 */
async function assertScriptsAreFenced(client: Client): Promise<void> {
  const key = `__valkey-migrate-fence__${client.access.address}`;
  try {
    await client.call('EVAL', "return redis.call('DEL', KEYS[1])", 1, key);
  } catch (error) {
    if (/NOREPLICAS/.test(errorText(error))) return;
    if (isMigrationError(error) && error.code === 'source-permission-denied') return;
    throw error;
  }
  throw new Error('scripts of a server of this version write in spite of min-replicas-to-write');
}

/** A user who may not unpause was not able to pause, so there is nothing to end. */
async function unpause(client: Client): Promise<void> {
  try {
    await client.call('CLIENT', 'UNPAUSE');
  } catch (error) {
    if (!isMigrationError(error) || error.code !== 'source-permission-denied') throw error;
  }
}

function readRecord(directory: string): FenceRecord | undefined {
  const found = readJsonIfThere(recordPath(directory));
  if (found === undefined) return undefined;
  const record = recordSchema.safeParse(found);
  if (record.success) return record.data;
  throw new MigrationError('contract-mismatch', `${recordPath(directory)} is not the record of a fence.`);
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
function fenceDenied(client: Client, cause: unknown): MigrationError {
  if (isMigrationError(cause) && cause.retryable) return cause;
  return new MigrationError(
    'fence-denied',
    `Writes at the source ${client.access.address} could not be fenced: ${errorText(cause)}`,
    { cause },
  );
}
