import { systemClock } from '../../core/clock.ts';
import type { Access } from '../redis/access.ts';
import { type Command, openRawConnection, type RawConnection } from '../redis/raw-connection.ts';
import { ErrorReply } from '../redis/reply-parser.ts';
import { openEventStream } from './event-stream.ts';
import type { Notifications } from './notifications.ts';

/** What became of a canary: the events that came of it, or why it could not be sent. */
export type Canary =
  | ({ readonly state: 'heard' } & Notifications)
  | { readonly state: 'refused'; readonly detail: string };

/** A command for each class of events, and the events that it makes. Evictions cannot be made. */
const CALLS: readonly { readonly flag: string; readonly event: string; readonly rest: Command }[] = [
  { flag: '$', event: 'set', rest: ['canary'] },
  { flag: 'l', event: 'rpush', rest: ['canary'] },
  { flag: 's', event: 'sadd', rest: ['canary'] },
  { flag: 'h', event: 'hset', rest: ['canary', '1'] },
  { flag: 'z', event: 'zadd', rest: ['1', 'canary'] },
  { flag: 't', event: 'xadd', rest: ['*', 'canary', '1'] },
];
const EXPIRY_MS = 1;
/** Long after it has expired, whatever the resolution of the source's clock. */
const EXPIRED_AFTER_MS = 20;

/**
 * Makes events of a key of ours at a server, of every class that can be made, and listens which come and in which
 * form. Each value is written and removed in one transaction, or expires by itself: nothing is left, whatever happens.
 *
 * @throws the codes of connections to the source, or the signal's reason
 */
export async function sendCanary(
  source: Access,
  { key, signal }: { readonly key: Buffer; readonly signal: AbortSignal },
): Promise<Canary> {
  await using connection = await openRawConnection(source, { signal });
  const [found] = await connection.send([['EXISTS', key]]);
  if (found !== 0) return { state: 'refused', detail: `the key ${key} is in use at the source` };
  const byKey = new Set<string>();
  const byEvent = new Set<string>();
  await using events = await openEventStream(source, {
    patterns: [`__keyspace@0__:${key}`, '__keyevent@0__:*'],
    onMessage: ({ bytes, starts, ends }) => {
      const [, , channelAt, payloadAt] = starts;
      const [, , channelEnd, payloadEnd] = ends;
      const channel = bytes.toString('latin1', channelAt, channelEnd);
      const payload = bytes.toString('latin1', payloadAt, payloadEnd);
      if (channel === `__keyspace@0__:${key}`) byKey.add(payload);
      else if (payload === key.toString()) byEvent.add(channel.slice('__keyevent@0__:'.length));
    },
    signal,
  });
  const refusal = await call(connection, key);
  if (refusal !== undefined) return { state: 'refused', detail: refusal };
  await systemClock.sleep(EXPIRED_AFTER_MS, signal);
  await connection.send([['EXISTS', key]]);
  await events.mark();
  const form = byEvent.size > 0 ? 'keyevent' : byKey.size > 0 ? 'keyspace' : undefined;
  const heard = byEvent.size > 0 ? byEvent : byKey;
  const made = [...CALLS, { flag: 'g', event: 'del' }, { flag: 'x', event: 'expired' }];
  return {
    state: 'heard',
    form,
    missing: made.flatMap(({ flag, event }) => (heard.has(event) ? [] : [flag])),
  };
}

/** Returns why it was refused. */
async function call(connection: RawConnection, key: Buffer): Promise<string | undefined> {
  const calls = CALLS.flatMap(({ event, rest }): Command[] => [
    [event.toUpperCase(), key, ...rest],
    ['DEL', key],
  ]);
  const expiring: Command = ['SET', key, 'canary', 'PX', EXPIRY_MS];
  const replies = await connection.send([['MULTI'], ...calls, expiring, ['EXEC']]);
  const refusal = replies.find((reply) => reply instanceof ErrorReply);
  return refusal instanceof ErrorReply ? refusal.message : undefined;
}
