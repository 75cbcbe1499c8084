import { type Endpoint, formatAddress } from '../../contract/endpoint.ts';
import { errorText, isMigrationError, MigrationError } from '../../core/errors.ts';
import { measureLatency } from '../preflight/latency.ts';
import type { Access } from '../redis/access.ts';
import { type Client, openClient } from '../redis/client.ts';
import { type PlannedSetting, planTuning, type Tunable } from './plan.ts';
import { readTuningRecord, type TuningRecord, writeTuningRecord } from './record.ts';
import { describeRestored, type RestoreContext, restoreSettings, restoreSource } from './restore.ts';
import { readTunable, readTunables } from './settings.ts';
import { readSourceLoad } from './source-load.ts';

const PINGS = 5;

/** What a tuning works with. */
export type TuningOptions = RestoreContext & {
  /** Without it nothing is changed, and what an earlier life of the sync has changed is restored. */
  readonly isWanted: boolean;
  /** The settings that serve the route; all unless told. */
  readonly only?: Tunable['only'];
  readonly source: Endpoint;
  readonly access: Access;
  readonly sourceBytesPerSecondMax: number | undefined;
  readonly log: (message: string) => void;
  /** Adds a line to what the status shows. */
  readonly note: (text: string) => void;
};

/**
 * The settings of the source that a sync changes for its own time. Its steps throw nothing: a sync
 * that may not tune its source goes on without, and says so.
 */
export type Tuning = {
  /** Before the source is asked for a copy: sets everything. */
  beforeCopy(): Promise<void>;
  /** When the stream is reached: restores what was for the copy, and sets what a sync without a copy lacks. */
  atStream(): Promise<void>;
  /** When the sync ends, for whatever reason: restores everything that is left. */
  end(): Promise<void>;
};

/** Makes a tuning; nothing happens before one of its steps. */
export function openTuning(options: TuningOptions): Tuning {
  const { access, directory, isWanted, log, note } = options;
  let isPlanned = false;
  const attempt = async (what: string, act: () => Promise<string | undefined>) => {
    try {
      const outcome = await act();
      if (outcome === undefined) return;
      log(`source settings ${outcome}`);
      note(`source settings ${outcome}`);
    } catch (error) {
      if (!isMigrationError(error)) throw error;
      log(`${what}: ${errorText(error)}`);
      note(`${what}: ${error.code}`);
    }
  };
  const tune = (spans: readonly PlannedSetting['span'][]) =>
    attempt('the source is not tuned', async () => {
      // Whatever becomes of it: one that is refused is not asked again at every reconnect.
      isPlanned = true;
      await using client = await openClient(access);
      return await changeSettings(client, options, spans);
    });
  return {
    beforeCopy: async () => {
      if (isWanted) await tune(['copy', 'sync']);
    },
    atStream: async () => {
      const recorded = readTuningRecord(directory)?.settings ?? [];
      const isDue = ({ span }: { span: PlannedSetting['span'] }) => span === 'copy' || !isWanted;
      if (recorded.some(isDue)) {
        await attempt('the source is not as it was', async () => {
          await using client = await openClient(access);
          return describeRestored(await restoreSettings(client, directory, isDue));
        });
      }
      if (isWanted && !isPlanned) await tune(['sync']);
    },
    end: () =>
      attempt('the source is not as it was', async () => {
        const restored = await restoreSource(options);
        return restored === undefined ? undefined : describeRestored(restored);
      }),
  };
}

/** Sets again what is recorded and was lost by a restart of the source, then what is not recorded yet. */
async function changeSettings(
  client: Client,
  options: TuningOptions,
  spans: readonly PlannedSetting['span'][],
): Promise<string | undefined> {
  const { directory, source, sourceBytesPerSecondMax, only } = options;
  const record: TuningRecord = readTuningRecord(directory) ?? { source, settings: [] };
  if (formatAddress(record.source) !== client.access.address) {
    const { address } = client.access;
    throw new MigrationError(
      'tuning-not-restored',
      `The changed settings that are recorded are of ${formatAddress(record.source)}, not of the source ${address}.`,
    );
  }
  const changed: string[] = [];
  for (const { name, before, set } of record.settings.filter(({ span }) => spans.includes(span))) {
    if ((await readTunable(client, name)) !== before) continue;
    await client.call('CONFIG', 'SET', name, set);
    changed.push(`${name} ${set}`);
  }
  const { medianMs: latencyMs } = await measureLatency(client, PINGS);
  // Not measured: that takes a second, in which a small copy would be over.
  const load = await readSourceLoad(client, latencyMs);
  const values = await readTunables(client);
  const { settings } = planTuning({ values, load, sourceBytesPerSecondMax, only });
  const isRecorded = ({ name }: PlannedSetting) => record.settings.some((one) => one.name === name);
  for (const planned of settings.filter((one) => spans.includes(one.span) && !isRecorded(one))) {
    const { name, set } = await changeSetting(client, { directory, record, planned });
    changed.push(`${name} ${set}`);
  }
  return changed.length === 0 ? undefined : `set: ${changed.join(', ')}`;
}

type Change = { directory: string; record: TuningRecord; planned: PlannedSetting };

/** Records the change, makes it, and records the server's own spelling of it where that is another. */
async function changeSetting(client: Client, { directory, record, planned }: Change) {
  const { name, before, set, span } = planned;
  const setting = { name, before, set, span };
  // Setting what is set changes nothing, and shows a refusal before anything is changed.
  await client.call('CONFIG', 'SET', name, before);
  record.settings.push(setting);
  writeTuningRecord(directory, record);
  await client.call('CONFIG', 'SET', name, set);
  const found = await readTunable(client, name);
  if (found !== undefined && found !== set) {
    setting.set = found;
    writeTuningRecord(directory, record);
  }
  return setting;
}
