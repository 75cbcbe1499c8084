import { MigrationError } from '../../core/errors.ts';
import type { Access } from '../redis/access.ts';
import type { EventForm } from './event-stream.ts';

/*
 * notify-keyspace-events = *flag
 * K events by key, E keys by event; g of any type, $ strings, l lists, s sets, h hashes, z sorted sets, t streams,
 * x expired, e evicted; A all of these. Source: redis.conf of redis 5.0-8.0 and valkey 8.0-9.1.
 */

/** The setting that decides which events a source sends. */
export const NOTIFY_SETTING = 'notify-keyspace-events';
/** What it must be at least; the source may show it in another order. */
export const NOTIFY_NEEDED = 'EA';

const CLASSES: ReadonlyMap<string, string> = new Map([
  ['g', 'commands of any type'],
  ['$', 'strings'],
  ['l', 'lists'],
  ['s', 'sets'],
  ['h', 'hashes'],
  ['z', 'sorted sets'],
  ['t', 'streams'],
  ['x', 'expired keys'],
  ['e', 'evicted keys'],
]);

/** Every class of events by its flag, without which changes would go unseen. */
export const EVENT_CLASSES: readonly string[] = [...CLASSES.keys()];

/** In which form events come by the setting, and which classes of them do not. */
export type Notifications = { readonly form: EventForm | undefined; readonly missing: readonly string[] };

/** Reads the setting; by key only where there is no other form, since both cost the source the same. */
export function readNotifications(flags: string): Notifications {
  const form = flags.includes('E') ? 'keyevent' : flags.includes('K') ? 'keyspace' : undefined;
  const missing = EVENT_CLASSES.filter((flag) => !flags.includes(flag) && !flags.includes('A'));
  return { form, missing };
}

/** What is missing, in words; undefined when nothing is. */
export function describeMissing({ form, missing }: Notifications): string | undefined {
  if (form === undefined) return 'it sends none at all';
  if (missing.length === 0) return undefined;
  return `it sends none for ${missing.map((flag) => `${CLASSES.get(flag)} (${flag})`).join(', ')}`;
}

/** Says that a source does not send what the route needs; `why` in words. */
export function notificationsMissing({ address }: Pick<Access, 'address'>, why: string): MigrationError {
  return new MigrationError(
    'notifications-missing',
    `The source ${address} does not tell of every change by keyspace notifications: ${why}.`,
  );
}
