import { describe, expect, it } from 'vitest';
import { checklist, checklistBack, type HandOver } from '../../../src/action/summary/checklist.ts';
import { type Block, joinBlocks } from '../../../src/action/summary/markdown.ts';
import type { TargetSetup } from '../../../src/action/summary/views.ts';
import type { ClientGroup } from '../../../src/contract/reports.ts';
import { syncState } from './sample-views.ts';

/** A target that leaves nothing to be wished for. */
const SETUP: TargetSetup = {
  replicationGroupId: 'sessions',
  transitEncryption: true,
  accessControl: true,
  multiAz: true,
  automaticFailover: true,
  memberClusters: [],
  snapshotRetentionDays: 7,
  parameterGroup: 'ours',
  eventTopic: 'arn:aws:sns:eu-central-1:111122223333:events',
};

function stepsOf(found: HandOver): string[] {
  return numberedIn(checklist(found));
}

function numberedIn(blocks: Block[]): string[] {
  return joinBlocks(blocks)
    .split('\n')
    .filter((line) => /^\d+\. /.test(line))
    .map((line) => line.replace(/^\d+\. /, ''));
}

function client(address: string, writes: boolean): ClientGroup {
  return { address, user: '', name: '', connections: 1, lastCommand: 'get', writes };
}

function watched(groups: ClientGroup[], more = 0): HandOver['stragglers'] {
  return { kind: 'stragglers', watchedMs: 1000, clients: { groups, more } };
}

describe('the next steps after a hand-over', () => {
  it('are to move and to clean up where nothing is known, or nothing is left to wish for', () => {
    expect(stepsOf({})).toHaveLength(2);
    expect(stepsOf({ setup: SETUP, primary: 'new:6379', source: 'old:6379' })).toEqual([
      'Point the applications at `new:6379` in place of `old:6379`, with TLS.',
      expect.stringContaining('phase: cleanup'),
    ]);
  });

  it.each<[keyof TargetSetup, Partial<TargetSetup>, string]>([
    ['transitEncryption', { transitEncryption: false }, '--transit-encryption-mode preferred'],
    ['accessControl', { accessControl: false }, 'user group'],
    ['multiAz', { multiAz: false }, 'Without Multi-AZ the target'],
    ['automaticFailover', { automaticFailover: false }, 'Without automatic failover the target'],
    ['snapshotRetentionDays', { snapshotRetentionDays: 0 }, 'no snapshots'],
    ['parameterGroup', { parameterGroup: 'default.valkey8' }, '`default.valkey8`'],
    ['eventTopic', { eventTopic: '' }, 'SNS topic'],
    [
      'memberClusters',
      { memberClusters: ['sessions-001', 'sessions-002'] },
      '`sessions-001`, `sessions-002`',
    ],
  ])('have one of their own for %s', (_, change, words) => {
    const usual = stepsOf({ setup: SETUP });
    const steps = stepsOf({ setup: { ...SETUP, ...change } });
    const more = steps.filter((step) => !usual.includes(step) && !step.startsWith('Point'));
    expect(more).toEqual([expect.stringContaining(words)]);
  });

  it('leave out what ElastiCache did not tell', () => {
    const { snapshotRetentionDays: _, parameterGroup: __, eventTopic: ___, ...known } = SETUP;
    expect(stepsOf({ setup: known })).toHaveLength(2);
  });

  it('name who still wrote, and of those that only are connected speak when nobody wrote', () => {
    const both = stepsOf({ stragglers: watched([client('10.0.0.1', true), client('10.0.0.2', false)]) });
    expect(both[1]).toBe('Move `10.0.0.1` first: they still wrote to the source, which refused it.');
    const connected = stepsOf({ stragglers: watched([client('10.0.0.2', false)], 3) });
    expect(connected[1]).toBe('Move `10.0.0.2` and 3 more too: they were still connected to the source.');
    expect(stepsOf({ stragglers: watched([]) })).toHaveLength(2);
  });

  it('say of a fence whether it lasts', () => {
    const lasting = stepsOf({ fence: { method: 'min-replicas-to-write 1000000', sinceMs: 0 } });
    expect(lasting[1]).toContain('Leave the fence at the source (`min-replicas-to-write 1000000`)');
    const pause = stepsOf({ fence: { method: 'CLIENT PAUSE WRITE', sinceMs: 0 } });
    expect(pause[1]).toContain('within 24 hours of 1970-01-01 00:00:00 UTC');
  });

  it('name the settings that the sync left', () => {
    const settings = [{ name: 'repl-backlog-size', before: '1', set: '2' }];
    const steps = stepsOf({ tuning: { sourceAddress: 'old:6379', settings } });
    expect(steps[1]).toContain('`repl-backlog-size`');
  });

  it('speak of a way back that is kept: of its fence, of what would lock it out, and of how it ends', () => {
    const method = 'ACL SETUSER -@write for 2 users';
    const found: HandOver = {
      fence: { method, sinceMs: 0 },
      setup: { ...SETUP, transitEncryption: false, accessControl: false },
      wayBack: syncState('live'),
    };
    expect(stepsOf(found)).toEqual([
      expect.stringContaining('Point the applications'),
      expect.stringContaining('as long as the way back is kept'),
      expect.stringContaining('when every application connects with TLS and the way back is over'),
      expect.stringContaining('user group, which needs encryption in transit, when the way back is over'),
      expect.stringContaining('whether the way back is kept up'),
      expect.stringContaining('`phase: rollback` with `direction: reverse`'),
      expect.stringContaining('phase: cleanup'),
    ]);
    const ended = { ...syncState('live'), status: 'failed' } as const;
    expect(stepsOf({ wayBack: ended })[1]).toContain('`phase: start-migration`');
  });

  it('lead back to the source when the applications go back', () => {
    const stragglers = watched([client('10.0.0.1', true)]);
    const fence = { method: 'CLIENT PAUSE WRITE', sinceMs: 0 };
    const steps = numberedIn(checklistBack({ source: 'new:6379', primary: 'old:6379', fence, stragglers }));
    expect(steps).toEqual([
      expect.stringContaining('Point the applications at `old:6379` in place of `new:6379` again'),
      expect.stringContaining('they still wrote to the target'),
      expect.stringContaining('within 24 hours of 1970-01-01 00:00:00 UTC'),
      expect.stringContaining('phase: cleanup'),
    ]);
    const lasting = { method: 'ACL SETUSER -@write for 1 user', sinceMs: 0 };
    expect(numberedIn(checklistBack({ fence: lasting }))[1]).toContain('Leave the fence at the target');
  });

  it('stay few whatever is found', () => {
    const names = Array.from({ length: 90 }, (_, index) => `sessions-${index}`);
    const groups = names.map((name) => client(name, true));
    const steps = stepsOf({ setup: { ...SETUP, memberClusters: names }, stragglers: watched(groups) });
    expect(steps).toHaveLength(4);
    expect(steps[1]).toContain('and 84 more');
    expect(steps[2]).toContain('and 84 more');
  });
});
