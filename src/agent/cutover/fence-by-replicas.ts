import { errorText, isMigrationError } from '../../core/errors.ts';
import type { Client } from '../redis/client.ts';
import { isVersionAtLeast, readServerInfo, type ServerInfo } from '../redis/server-info.ts';
import { readSetting } from '../redis/server-setting.ts';
import { fenceKey } from './fence-key.ts';

/** No source has as many replicas, so it refuses every write. */
const FENCE_REPLICAS = '1000000';
/** This fence in words, for the report. */
export const REPLICAS_FENCE = `min-replicas-to-write ${FENCE_REPLICAS}`;

const REPLICAS = 'min-replicas-to-write';
const MAX_LAG = 'min-replicas-max-lag';
/** A max-lag of 0 switches the check of min-replicas-to-write off, so the fence sets the default of the servers. */
const FENCE_MAX_LAG = '10';
/** Longer than two settings take to set; if this process dies in between, the source goes on by itself after it. */
const PAUSE_MS = 5000;

/** What the fence changes, as it was found. */
export type ReplicasFence = {
  /** Whether writers were paused as well, which servers below 6.2 cannot do for writes alone. */
  readonly paused: boolean;
  /** The settings in the order in which they are restored. */
  readonly settings: readonly { readonly name: string; readonly value: string }[];
};

/** Reads what {@link setReplicasFence} will change. @throws what shows that it may not be changed */
export async function readReplicasFence(client: Client, info: ServerInfo): Promise<ReplicasFence> {
  const settings: { name: string; value: string }[] = [];
  for (const name of [REPLICAS, MAX_LAG]) {
    const value = await readSetting(client, name);
    if (value === undefined) throw new Error(`it has no setting ${name}`);
    // Setting what is set changes nothing, and shows a refusal before anything is changed.
    await client.call('CONFIG', 'SET', name, value);
    settings.push({ name, value });
  }
  return { paused: isVersionAtLeast(info.version, 6, 2), settings };
}

/**
 * From now on the source refuses every write with NOREPLICAS.
 *
 * Writers are paused while the settings change, and unpaused into the fence, so that a blocked write fails instead of
 * being done later. A source below 6.2 is not paused: its CLIENT PAUSE would hold this connection too.
 *
 * @throws what the source refused, and where it lets scripts pass
 */
export async function setReplicasFence(
  client: Client,
  { paused, settings, slot }: ReplicasFence & { readonly slot: number | undefined },
): Promise<void> {
  if (paused) await client.call('CLIENT', 'PAUSE', PAUSE_MS, 'WRITE');
  const lag = settings.find(({ name }) => name === MAX_LAG);
  if (lag?.value === '0') await client.call('CONFIG', 'SET', MAX_LAG, FENCE_MAX_LAG);
  await client.call('CONFIG', 'SET', REPLICAS, FENCE_REPLICAS);
  if (paused) await unpause(client);
  // Before 6.2 a transaction that was queued before the fence would still be executed behind it.
  if (!paused) await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await assertScriptsAreFenced(client, slot);
}

/** Restores what was found. Throws the codes of {@link Client.call}. */
export async function restoreReplicasFence(
  client: Client,
  { paused, settings }: ReplicasFence,
): Promise<void> {
  for (const { name, value } of settings) {
    if ((await readSetting(client, name)) !== value) await client.call('CONFIG', 'SET', name, value);
  }
  // Only now, so that writers that are still blocked find the fence gone.
  if (paused) await unpause(client);
}

/** Whether the fence stands, whoever has set it; false where that may not be read. */
export async function isReplicasFenceSet(client: Client): Promise<boolean> {
  const value = await readSetting(client, REPLICAS).catch(() => undefined); // who may not look did not fence either
  return value === FENCE_REPLICAS;
}

/** Whether any client has run a script since the source's statistics began. */
export function areScriptsUsed(info: ServerInfo): boolean {
  return ['cmdstat_eval', 'cmdstat_evalsha'].some((field) => info.fields.has(field));
}

/**
 * Where scripts are used: that they do not write in spite of the fence. A client may have run its first one only after
 * the fence was set.
 *
 * Old servers check min-replicas-to-write for the EVAL only, not for the writes of its script: a DEL of a key that
 * is not there changes nothing and tells which kind this one is.
 */
export async function assertScriptsAreFenced(client: Client, slot: number | undefined): Promise<void> {
  if (!areScriptsUsed(await readServerInfo(client))) return;
  try {
    await client.call('EVAL', "return redis.call('DEL', KEYS[1])", 1, fenceKey(client, slot));
  } catch (error) {
    if (/NOREPLICAS/.test(errorText(error))) return;
    if (isMigrationError(error) && error.code === 'source-permission-denied') return;
    throw error;
  }
  throw new Error('scripts of a server of this version write in spite of min-replicas-to-write');
}

/** A pause of a user who may pause and not end it ends by itself soon, into the fence or behind it. */
async function unpause(client: Client): Promise<void> {
  try {
    await client.call('CLIENT', 'UNPAUSE');
  } catch (error) {
    if (!isMigrationError(error) || error.code !== 'source-permission-denied') throw error;
  }
}
