import { DescribeEventsCommand, type Event } from '@aws-sdk/client-elasticache';
import { callAws } from './aws-error.ts';
import { type ElastiCacheDoor, elasticacheCall } from './target.ts';

/** Something that ElastiCache says about the replication group or one of its members. */
export type TargetEvent = {
  readonly atMs: number;
  /** The id of the group or of the member cluster. */
  readonly source: string;
  readonly message: string;
};

/** What an event says of a migration; ElastiCache does not document the wording. */
export type EventVerdict = 'success' | 'failure' | 'none';

/** The group whose events are wanted. */
export type EventSource = { readonly id: string; readonly memberClusters: readonly string[] };

/** Shows the events that came after it was opened. */
export type EventWatch = { fresh(): Promise<TargetEvent[]> };

/** At 100 events to a page; an account with more in the time asked for shows the first of them. */
const EVENT_PAGES_MAX = 10;
const MINUTE_MS = 60_000;
/** The clocks of the runner and of AWS may be apart. */
const CLOCK_MARGIN_MINUTES = 15;
/** ElastiCache keeps events for 14 days. */
const EVENT_MINUTES_MAX = 14 * 24 * 60;

/**
 * Lists the events of the group and its members since a time, oldest first.
 *
 * One unfiltered call instead of one for each member: `elasticache:DescribeEvents` is granted on `*` anyhow.
 *
 * @throws aws-credentials-missing, aws-access-denied, aws-throttled, aws-unavailable
 */
export async function listEvents(
  door: ElastiCacheDoor,
  { target, sinceMs }: { target: EventSource; sinceMs: number },
): Promise<TargetEvent[]> {
  const minutes = Math.ceil((door.clock.nowMs() - sinceMs) / MINUTE_MS) + CLOCK_MARGIN_MINUTES;
  const events: TargetEvent[] = [];
  let marker: string | undefined;
  for (let page = 0; page < EVENT_PAGES_MAX; page += 1) {
    const command = new DescribeEventsCommand({
      Duration: Math.min(Math.max(minutes, 1), EVENT_MINUTES_MAX),
      MaxRecords: 100,
      Marker: marker,
    });
    const answer = await callAws(elasticacheCall(door, 'DescribeEvents', target.id), () =>
      door.elasticache.send(command, { abortSignal: door.signal }),
    );
    events.push(...(answer.Events ?? []).filter((event) => isOf(target, event)).map(toTargetEvent));
    marker = answer.Marker;
    if (marker === undefined) break;
  }
  return events.sort((a, b) => a.atMs - b.atMs);
}

/**
 * Remembers the events that are there, so that `fresh` shows only what comes later.
 *
 * Not by time: an event of an earlier attempt within the same second, or clocks that are apart, would tell a
 * wrong story.
 */
export async function watchEvents(door: ElastiCacheDoor, target: EventSource): Promise<EventWatch> {
  const sinceMs = door.clock.nowMs();
  const known = new Set((await listEvents(door, { target, sinceMs })).map(identity));
  return {
    fresh: async () =>
      (await listEvents(door, { target, sinceMs })).filter((event) => !known.has(identity(event))),
  };
}

/**
 * Classifies one event by its words: failure words win over success words, and an event that is not about a
 * migration, a test or a connection says nothing.
 */
export function judgeEvent(event: TargetEvent): EventVerdict {
  if (!/migrat|\btest|connect/i.test(event.message)) return 'none';
  if (FAILURE_WORDS.test(event.message)) return 'failure';
  return /success|succeed|passed|complete/i.test(event.message) ? 'success' : 'none';
}

const FAILURE_WORDS =
  /fail|unable|error|unsuccess|could ?n[o']t|can ?n[o']t|not able|not in sync|refused|timed? ?out|denied|unreachable|abort/i;

/** The events as one line for a message, at most the last ten. */
export function formatEvents(events: readonly TargetEvent[]): string {
  if (events.length === 0) return 'ElastiCache published no event about it.';
  return `ElastiCache says: ${events
    .slice(-10)
    .map((event) => `"${event.message}"`)
    .join('; ')}.`;
}

function isOf(target: EventSource, event: Event): boolean {
  const source = event.SourceIdentifier;
  return source !== undefined && (source === target.id || target.memberClusters.includes(source));
}

function toTargetEvent(event: Event): TargetEvent {
  return {
    atMs: event.Date?.getTime() ?? 0,
    source: event.SourceIdentifier ?? '',
    message: event.Message ?? '',
  };
}

function identity(event: TargetEvent): string {
  return JSON.stringify([event.atMs, event.source, event.message]);
}
