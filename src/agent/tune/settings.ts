import type { Client } from '../redis/client.ts';
import { readSetting } from '../redis/server-setting.ts';

/** The settings of a source that a sync may change. */
export const TUNABLE_SETTINGS = [
  'rdbcompression',
  'repl-diskless-sync',
  'repl-diskless-sync-delay',
  'client-output-buffer-limit',
  'repl-backlog-size',
] as const;
/** See {@link TUNABLE_SETTINGS}. */
export type TunableSetting = (typeof TUNABLE_SETTINGS)[number];

/** The value of each setting that the source has. */
export type SettingValues = ReadonlyMap<TunableSetting, string>;

const OUTPUT_BUFFER = 'client-output-buffer-limit';
/** `normal 0 0 0 slave 268435456 67108864 60 pubsub ...`: `slave` in all versions, `replica` is only read. */
const REPLICA_CLASS = /\b(?:slave|replica) (\d+) (\d+) (\d+)/;

/** `client-output-buffer-limit replica <hard> <soft> <seconds>`; 0 is no limit. */
export type OutputBufferLimit = {
  readonly hardBytes: number;
  readonly softBytes: number;
  readonly softSeconds: number;
};

/**
 * Reads a setting as it can be set again; of the output buffers only the class of replicas, so that the other classes
 * are nobody's business here. Undefined where the server has no such setting.
 *
 * @throws source-permission-denied where CONFIG is denied, renamed away or not there
 */
export async function readTunable(client: Client, name: TunableSetting): Promise<string | undefined> {
  const value = await readSetting(client, name);
  return name === OUTPUT_BUFFER ? REPLICA_CLASS.exec(value ?? '')?.[0] : value;
}

/** Reads all of them. @throws as {@link readTunable} */
export async function readTunables(client: Client): Promise<SettingValues> {
  const values = new Map<TunableSetting, string>();
  for (const name of TUNABLE_SETTINGS) {
    const value = await readTunable(client, name);
    if (value !== undefined) values.set(name, value);
  }
  return values;
}

/** Takes `slave <hard> <soft> <seconds>` apart. */
export function parseOutputBufferLimit(value: string | undefined): OutputBufferLimit | undefined {
  const match = REPLICA_CLASS.exec(value ?? '');
  if (match === null) return undefined;
  return { hardBytes: Number(match[1]), softBytes: Number(match[2]), softSeconds: Number(match[3]) };
}
