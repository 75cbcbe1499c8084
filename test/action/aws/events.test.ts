import { describe, expect, it } from 'vitest';
import { formatEvents, judgeEvent } from '../../../src/action/aws/events.ts';

describe('the verdict of an event', () => {
  it.each([
    ['Complete Migration successful for test-cluster', 'success'],
    ['Migration operation succeeded for replication group sessions.', 'success'],
    ['Migration operation failed for replication group sessions.', 'failure'],
    ['Test migration succeeded for replication group sessions.', 'success'],
    ['Unable to connect to the source', 'failure'],
    ["Replication group couldn't connect to the primary", 'failure'],
    ['Data migration could not be completed: the target is not in sync', 'failure'],
    ['Migration was unsuccessful', 'failure'],
    ['Migration of sessions has begun', 'none'],
    ['Snapshot failed for snapshot with ID nightly', 'none'],
    ['Failover to replica node sessions-002 completed', 'none'],
  ])('%s: %s', (message, verdict) => {
    expect(judgeEvent({ atMs: 0, source: 'sessions', message })).toBe(verdict);
  });
});

it('quotes at most the last ten events', () => {
  const events = Array.from({ length: 12 }, (_, index) => ({
    atMs: index,
    source: 's',
    message: `event ${index}.`,
  }));
  expect(formatEvents(events)).not.toContain('event 1.');
  expect(formatEvents(events)).toContain('"event 11."');
  expect(formatEvents([])).toContain('no event');
});
