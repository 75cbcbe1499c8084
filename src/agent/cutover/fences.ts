import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseAddress } from '../../contract/endpoint.ts';
import { MigrationError } from '../../core/errors.ts';
import { removeIfThere } from '../job/files.ts';
import type { Access } from '../redis/access.ts';
import { openClient } from '../redis/client.ts';
import { layoutOf } from '../redis/cluster/layout.ts';
import { openPrimaries, type Primaries } from '../redis/cluster/primaries.ts';
import { readTopology } from '../redis/cluster/topology.ts';
import {
  assertFenceHeld,
  extendFence,
  type FenceStore,
  isFenceStanding,
  liftFence,
  refuseUnrecordedFence,
  setFence,
} from './fence.ts';
import { readFenceRecord } from './fence-record.ts';

/*
 * The record of a fence lies in the folder of the migration; of a source in cluster mode each primary has a fence of its
 * own, of which the record lies in a folder for it:
 *
 *   fence.json                       of a source that is not in cluster mode
 *   fences/<address>/fence.json      of one primary, by its address as the cluster had announced it
 */

const FENCES_FOLDER = 'fences';

/** Fences writes at every primary of the source, and returns the way in words. @throws way-back-impossible, and as {@link setFence} */
export async function setFences(source: Access, store: FenceStore): Promise<string> {
  await using primaries = await openPrimaries(source);
  const { topology, home, all } = primaries;
  if (topology === undefined) return await setFence(home, store);
  if (store.writer !== undefined) {
    throw new MigrationError(
      'way-back-impossible',
      `The source ${source.address} is in cluster mode, to which no way back leads.`,
    );
  }
  const ways = new Set<string>();
  for (const [index, client] of all.entries()) {
    const slot = topology.nodes[index]?.ranges[0]?.[0];
    const directory = folderOf(store.directory, client.access.address);
    ways.add(await setFence(client, { ...store, directory, ...(slot === undefined ? {} : { slot }) }));
  }
  return `${[...ways].join(', ')} at ${all.length} primaries`;
}

/**
 * Lifts every fence that is recorded, each at the server where it was set; false where none is.
 *
 * All of them are tried, whatever becomes of the others. @throws what the first failed with, as {@link liftFence}
 */
export async function liftFences(source: Access, directory: string): Promise<boolean> {
  const folders = recordedFolders(directory);
  if (folders.length === 0) {
    await using client = await openClient(source);
    return await liftFence(client, directory);
  }
  const failures: unknown[] = [];
  for (const folder of folders) {
    try {
      await using client = await openClient(accessOf(source, folder));
      await liftFence(client, folder);
      removeIfThere(folder);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
  return true;
}

/** Since when a fence is recorded that has not been lifted; undefined for none. */
export function fencesRecordedAtMs(directory: string): number | undefined {
  const records = [directory, ...recordedFolders(directory)].map((folder) => readFenceRecord(folder));
  const times = records.flatMap((record) => (record === undefined ? [] : [record.recordedAtMs]));
  return times.length === 0 ? undefined : Math.min(...times);
}

/** Whether a fence is recorded that has not been lifted. */
export function areFencesRecorded(directory: string): boolean {
  return fencesRecordedAtMs(directory) !== undefined;
}

/** Whether a fence stands at everything that takes writes; a server that was restarted has lost it. */
export async function areFencesStanding(source: Access, store: FenceStore): Promise<boolean> {
  await using primaries = await openPrimaries(source);
  const standing = await Promise.all(
    storesOf(primaries, store).map(({ client, own }) => isFenceStanding(client, own)),
  );
  return standing.every((isStanding) => isStanding);
}

/**
 * Looks whether every fence has held until now, and whether no other server has come to take writes.
 *
 * @throws fence-denied
 */
export async function assertFencesHeld(source: Access, store: FenceStore): Promise<void> {
  await using primaries = await openPrimaries(source);
  await assertAgreed(source, primaries);
  for (const { client, own } of storesOf(primaries, store)) {
    if (readFenceRecord(own.directory) === undefined) {
      throw new MigrationError(
        'fence-denied',
        `Writes at the source ${source.address} were not fenced all the time: ${client.access.address} has become a primary behind the fence.`,
      );
    }
    await assertFenceHeld(client, own);
  }
}

/** One that was cut off from the others may not know yet that another has taken its place. */
async function assertAgreed(source: Access, { all, topology }: Primaries): Promise<void> {
  if (topology === undefined) return;
  const views = await Promise.all(all.map(async (client) => layoutOf(await readTopology(client))));
  if (views.every((view) => view === layoutOf(topology))) return;
  throw new MigrationError(
    'fence-denied',
    `The primaries of the source ${source.address} do not agree on who owns which slots: one of them has failed over behind the fence.`,
  );
}

/**
 * Makes every fence that would end by itself last longer, without `durationMs` as long as a hand-over needs.
 *
 * @throws fence-lost when one has ended, the codes of {@link openClient}
 */
export async function extendFences(source: Access, store: FenceStore, durationMs?: number): Promise<void> {
  const folders = recordedFolders(store.directory);
  if (folders.length === 0) return extendFence(source, store, durationMs);
  for (const directory of folders) {
    await extendFence(accessOf(source, directory), { ...store, directory }, durationMs);
  }
}

/** Says so when a fence of ours stands anywhere of which nothing is recorded. @throws fence-denied */
export async function refuseUnrecordedFences({ all }: Primaries): Promise<void> {
  for (const client of all) await refuseUnrecordedFence(client);
}

/** Every primary with where its fence is recorded. */
function storesOf({ all, topology }: Primaries, store: FenceStore) {
  return all.map((client, index) => {
    if (topology === undefined) return { client, own: store };
    const slot = topology.nodes[index]?.ranges[0]?.[0];
    const directory = folderOf(store.directory, client.access.address);
    return { client, own: { ...store, directory, ...(slot === undefined ? {} : { slot }) } };
  });
}

function folderOf(directory: string, address: string): string {
  return join(directory, FENCES_FOLDER, encodeURIComponent(address));
}

/** The folders of primaries that have a fence. */
function recordedFolders(directory: string): readonly string[] {
  const folder = join(directory, FENCES_FOLDER);
  try {
    return readdirSync(folder)
      .sort()
      .map((name) => join(folder, name))
      .filter((each) => readFenceRecord(each) !== undefined);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** The primary whose fence is recorded in a folder, with the user and the trust of the source. */
function accessOf(source: Access, folder: string): Access {
  const address = readFenceRecord(folder)?.sourceAddress ?? '';
  const place = parseAddress(address);
  if (place === undefined) {
    throw new MigrationError('contract-mismatch', `${folder} names no server: ${address.slice(0, 100)}`);
  }
  return { ...source, ...place, address };
}
