import { isMigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import type { Client } from '../redis/client.ts';
import { readSetting } from '../redis/server-setting.ts';
import { type Canary, sendCanary } from './canary.ts';
import type { EventForm } from './event-stream.ts';
import { describeMissing, NOTIFY_SETTING, notificationsMissing, readNotifications } from './notifications.ts';
import type { ScanMeter } from './scan-meter.ts';

/** What the choice is made by. */
export type Choosing = {
  readonly source: Access;
  readonly sourceClient: Client;
  /** The key of ours that a canary writes. */
  readonly key: Buffer;
  readonly signal: AbortSignal;
  readonly meter: Pick<ScanMeter, 'note'>;
};

/**
 * Makes sure that the source tells of every change, by its setting and by a canary as far as it allows either, and
 * says in which form.
 *
 * @throws notifications-missing, and the codes of connections to the source
 */
export async function chooseForm({ source, sourceClient, key, signal, meter }: Choosing): Promise<EventForm> {
  const setting = await readNotifySetting(sourceClient);
  const known = setting === undefined ? undefined : readNotifications(setting);
  const missing = known === undefined ? undefined : describeMissing(known);
  if (missing !== undefined) throw notificationsMissing(source, missing);
  const canary = await sendCanary(source, { key, signal });
  if (canary.state === 'heard') {
    const unheard = describeMissing(canary);
    if (unheard !== undefined) throw notificationsMissing(source, unheard);
  }
  if (known === undefined && canary.state === 'refused') {
    meter.note(
      'nobody could make sure that the source sends all notifications: neither CONFIG nor a write is allowed',
    );
  }
  return known?.form ?? formHeard(canary) ?? 'keyevent';
}

function formHeard(canary: Canary): EventForm | undefined {
  return canary.state === 'heard' ? canary.form : undefined;
}

/** Undefined where CONFIG is denied or renamed away. */
export async function readNotifySetting(source: Client): Promise<string | undefined> {
  try {
    return await readSetting(source, NOTIFY_SETTING);
  } catch (error) {
    if (isMigrationError(error) && /-(permission-denied|protocol-error)$/.test(error.code)) return undefined;
    throw error;
  }
}
