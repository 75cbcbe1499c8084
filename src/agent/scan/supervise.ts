import { errorText } from '../../core/errors.ts';
import { readLayout } from '../redis/cluster/layout.ts';
import { openRoutedConnection, type RoutedConnection } from '../redis/cluster/routed-connection.ts';
import { sourceSlotsMoved } from '../redis/cluster/source-cluster.ts';
import type { RawConnection } from '../redis/raw-connection.ts';
import { RESERVED_KEY } from '../redis/reserved-key.ts';
import { oldestOpen } from './dirty-copy.ts';
import { claimLost, commit } from './follow.ts';
import { describeMissing, NOTIFY_SETTING, notificationsMissing, readNotifications } from './notifications.ts';
import type { ScanSession } from './session.ts';
import { UnannouncedChanges } from './unannounced.ts';

/** How often the source is looked at for what no event tells. */
const LOOK_MS = 250;
/** How often it is asked whether it still sends events: every so many looks. */
const LOOKS_PER_SETTING = 20;
/** How often the lag is brought up to date. */
const TICK_MS = 25;
/** Marks under way that are remembered. */
const MARKS_MAX = 1000;

/** A moment at the source that the target has not reached. */
type LagMark = { readonly sequence: number; readonly sentAtMs: number };

/**
 * Looks after a session until it is over: finds changes that no event tells, says up to when the target has everything,
 * and ends the session when the source sends no events or the target has lost its claim.
 *
 * Resolves when the source has been looked at once, so that whatever is read later is watched; the result resolves when
 * it is over.
 */
export async function superviseSession(
  session: ScanSession,
  ended: AbortController,
): Promise<{ readonly over: Promise<void> }> {
  const { source, signal, attention, context } = session;
  const route = await openRoutedConnection(source, { signal });
  const watched = watchNodes(session, route);
  await lookAtAll(watched);
  const over = supervise(session, { route, watched })
    .catch((error: unknown) => {
      context.log(`the session ends: ${errorText(error)}`);
      ended.abort(error);
    })
    .finally(async () => {
      attention.wake();
      await route[Symbol.asyncDispose]();
    });
  return { over };
}

type Watched = { readonly connection: RawConnection; readonly unannounced: UnannouncedChanges };
type Supervision = { readonly route: RoutedConnection; readonly watched: readonly Watched[] };

/** @throws source-slots-moved when the nodes are not those any more whose events are listened to */
function watchNodes({ nodes, events, layout }: ScanSession, route: RoutedConnection): readonly Watched[] {
  if (route.layout !== layout) throw sourceSlotsMoved('its primaries are others than a moment ago');
  return route.primaries.flatMap((connection, index) => {
    const told = events[index];
    if (told === undefined) throw new Error('a primary of which nothing is heard');
    const source = nodes[index]?.info;
    return [{ connection, unannounced: new UnannouncedChanges({ connection, events: told, source }) }];
  });
}

/** What has happened at any of them without an event, in a few words. */
async function lookAtAll(watched: readonly Watched[]): Promise<string | undefined> {
  const changes = await Promise.all(watched.map(({ unannounced }) => unannounced.look()));
  return changes.find((change) => change !== undefined);
}

async function supervise(session: ScanSession, { route, watched }: Supervision): Promise<never> {
  const { signal, context, attention, primaries, dirty, streams, meter } = session;
  const { clock } = context;
  const marks: LagMark[] = [];
  for (let looks = 0; ; looks++) {
    const sentAtMs = clock.nowMs();
    const change = await lookAtAll(watched);
    if (session.layout !== '') await assertUnmoved(session, route);
    if (change !== undefined) attention.markGap(change);
    // What the target is to have by then is what was told, or is gone over.
    else if (attention.gap === undefined && marks.length < MARKS_MAX) {
      marks.push({ sequence: dirty.sequence, sentAtMs });
    }
    if (looks % LOOKS_PER_SETTING === 0) {
      await Promise.all(watched.map(({ connection }) => assertStillTold(connection)));
    }
    const claims = await primaries.home.call('EXISTS', RESERVED_KEY);
    if (Number(claims) === 0) throw claimLost(primaries.home.access);
    if (meter.stage === 'live') await streams.look(route, { dirty, nowMs: clock.nowMs() });
    if (dirty.count > 0) attention.wake();
    const untilMs = sentAtMs + LOOK_MS;
    do {
      await passMarks(session, marks);
      await clock.sleep(TICK_MS, signal);
    } while (clock.nowMs() < untilMs);
  }
}

/** Takes away the marks that the target has reached. */
async function passMarks(session: ScanSession, marks: LagMark[]): Promise<void> {
  const { meter, attention, context } = session;
  // Of what is gone over it is not known when the target has what of it.
  if (meter.stage !== 'live' || attention.gap !== undefined) {
    marks.length = 0;
    return;
  }
  let reachedAtMs: number | undefined;
  const oldest = oldestOpen(session);
  const nowMs = context.clock.nowMs();
  while (marks[0] !== undefined && marks[0].sequence < oldest) {
    meter.lagMs = Math.max(0, nowMs - marks[0].sentAtMs);
    reachedAtMs = marks[0].sentAtMs;
    marks.shift();
  }
  // One that has waited longer than the last one did says more.
  if (marks[0] !== undefined) meter.lagMs = Math.max(meter.lagMs ?? 0, nowMs - marks[0].sentAtMs);
  if (reachedAtMs !== undefined) await commit(session, reachedAtMs);
}

/**
 * A primary that was a replica a moment ago has told nobody of what it did since, nor has one that has got slots.
 *
 * @throws source-slots-moved
 */
async function assertUnmoved({ layout }: ScanSession, { primaries }: RoutedConnection): Promise<void> {
  if ((await readLayout(primaries)).text === layout) return;
  throw sourceSlotsMoved('its primaries, or what they own, are not what they were');
}

/** Somebody may take the setting back, and the source would fall silent without a word. */
async function assertStillTold(connection: RawConnection): Promise<void> {
  const [setting] = await connection.send([['CONFIG', 'GET', NOTIFY_SETTING]]);
  if (!Array.isArray(setting) || setting.length < 2) return;
  const missing = describeMissing(readNotifications(String(setting[1])));
  if (missing !== undefined) throw notificationsMissing(connection.access, missing);
}
