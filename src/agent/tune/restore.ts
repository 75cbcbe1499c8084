import { type Endpoint, formatAddress } from '../../contract/endpoint.ts';
import type { Clock } from '../../core/clock.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { type ResolveSecret, resolveAccess } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { type RecordedSetting, readTuningRecord, writeTuningRecord } from './record.ts';
import { readTunable } from './settings.ts';

/** A source that does not answer must not keep who restores it: the record stays. */
const RESTORE_TIMEOUT_MS = 5_000;

/** What a restore works with. */
export type RestoreContext = {
  /** The folder of the migration, with the record in it. */
  readonly directory: string;
  readonly clock: Clock;
  readonly resolveSecret: ResolveSecret;
  /** Read for the source instead of the recorded endpoint when it is the same server: its password may lie elsewhere now. */
  readonly source?: Endpoint;
};

/** What became of the settings: names of those that are as before, and in words those that somebody has changed since. */
export type Restored = { readonly restored: readonly string[]; readonly leftAlone: readonly string[] };

/**
 * Restores everything that is recorded, over a connection of its own and within seconds; undefined where nothing is.
 *
 * @throws tuning-not-restored, and the record stays
 */
export async function restoreSource(context: RestoreContext): Promise<Restored | undefined> {
  const { directory, clock, resolveSecret, source } = context;
  const record = readTuningRecord(directory);
  if (record === undefined) return undefined;
  const isSame = source !== undefined && formatAddress(source) === formatAddress(record.source);
  const work = async () => {
    const access = await resolveAccess('source', isSame ? source : record.source, resolveSecret);
    await using client = await openClient(access);
    return await restoreSettings(client, directory, () => true);
  };
  try {
    return await within(RESTORE_TIMEOUT_MS, work(), clock);
  } catch (error) {
    if (isMigrationError(error) && error.code === 'tuning-not-restored') throw error;
    throw notRestored(formatAddress(record.source), record.settings, error);
  }
}

/**
 * Sets those recorded settings back to what they were that still are what was set, and takes them out of the record.
 * One that somebody has changed meanwhile is left alone. May be repeated after a crash at any point.
 *
 * @throws tuning-not-restored when the source refuses one; the others are restored, and that one stays recorded
 */
export async function restoreSettings(
  client: Client,
  directory: string,
  isDue: (setting: RecordedSetting) => boolean,
): Promise<Restored> {
  const record = readTuningRecord(directory);
  const restored: string[] = [];
  const leftAlone: string[] = [];
  const failed: RecordedSetting[] = [];
  let failure: unknown;
  const due = record?.settings.filter(isDue) ?? [];
  for (const setting of due) {
    const { name, before, set } = setting;
    try {
      const found = await readTunable(client, name);
      if (found === set) await client.call('CONFIG', 'SET', name, before);
      if (found === set || found === before) restored.push(name);
      else
        leftAlone.push(
          `${name} is ${found ?? 'gone'}, neither ${set}, as it was set, nor ${before}, as it was`,
        );
    } catch (error) {
      failure ??= error;
      failed.push(setting);
    }
  }
  if (record !== undefined && due.length > failed.length) {
    const kept = record.settings.filter((setting) => !due.includes(setting) || failed.includes(setting));
    writeTuningRecord(directory, { ...record, settings: kept });
  }
  if (failed.length > 0) throw notRestored(client.access.address, failed, failure);
  return { restored, leftAlone };
}

/** The outcome in words. */
export function describeRestored({ restored, leftAlone }: Restored): string {
  const parts = [
    ...(restored.length === 0 ? [] : [`restored: ${restored.join(', ')}`]),
    ...(leftAlone.length === 0 ? [] : [`left alone: ${leftAlone.join('; ')}`]),
  ];
  return parts.length === 0 ? 'there was nothing to restore' : parts.join('; ');
}

function notRestored(address: string, settings: readonly RecordedSetting[], cause: unknown): MigrationError {
  const values = settings.map(({ name, before }) => `${name} "${before}"`).join(', ');
  return new MigrationError(
    'tuning-not-restored',
    `The source ${address} still has settings of the sync: ${errorText(cause)} They were before: ${values}.`,
    { cause },
  );
}

async function within<Result>(timeoutMs: number, work: Promise<Result>, clock: Clock): Promise<Result> {
  const done = new AbortController();
  const late = clock.sleep(timeoutMs, done.signal).then(() => {
    throw new Error(`It did not answer within ${timeoutMs} ms.`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    done.abort();
    // Whichever came second is nobody's unhandled rejection.
    for (const loser of [work, late]) loser.catch(() => {});
  }
}
