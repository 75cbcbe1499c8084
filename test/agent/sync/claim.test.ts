import { describe, expect, it } from 'vitest';
import { type Claim, decodeClaim, encodeClaim } from '../../../src/agent/redis/checkpoint.ts';
import { countKeys } from '../../../src/agent/redis/server-info.ts';
import { planStart, type TargetContent } from '../../../src/agent/sync/claim.ts';

const HOLDER = { migrationId: 'sessions', repository: 'acme/shop', hostId: 'host-1' };
const CHECKPOINT = { replid: 'a'.repeat(40), offset: 2 ** 52, db: 3 };
const LIVE: Claim = { ...HOLDER, state: 'live', checkpoint: CHECKPOINT };

function plan(content: Partial<TargetContent>, flushTarget = false): ReturnType<typeof planStart> {
  const whole = { claim: undefined, keys: 0, functionLibraries: 0, ...content };
  return planStart(whole, { holder: HOLDER, flushTarget, address: 'target:6379' });
}

describe('the beginning of a sync', () => {
  it('is a copy on an empty target', () => {
    expect(plan({})).toEqual({ kind: 'copy', mustFlush: false });
  });

  it('is the own checkpoint, even when the target may be flushed', () => {
    const resumed = { kind: 'resume', checkpoint: CHECKPOINT, skipped: [] };
    expect(plan({ claim: LIVE, keys: 9 }, true)).toEqual(resumed);
    const skipped = [{ what: 'keys' as const, reason: 'module vectorset', count: 3 }];
    const claim = decodeClaim(encodeClaim({ ...LIVE, skipped }).toString(), 'target:6379');
    expect(plan({ claim, keys: 9 }, true)).toEqual({ ...resumed, skipped });
  });

  it('is a copy over the leftovers of an own copy, without asking to flush', () => {
    expect(plan({ claim: { ...HOLDER, state: 'copying' }, keys: 9 })).toEqual({
      kind: 'copy',
      mustFlush: true,
    });
  });

  it('is a copy over what was being settled: its keys could expire by themselves', () => {
    expect(plan({ claim: { ...HOLDER, state: 'settling' }, keys: 9 })).toEqual({
      kind: 'copy',
      mustFlush: true,
    });
  });

  it('is refused on foreign keys or functions, unless they may be flushed', () => {
    const refusal = expect.objectContaining({ code: 'target-not-empty' });
    expect(() => plan({ keys: 1 })).toThrow(refusal);
    expect(() => plan({ functionLibraries: 1 })).toThrow(refusal);
    expect(plan({ keys: 1, functionLibraries: 1 }, true)).toEqual({ kind: 'copy', mustFlush: true });
  });

  it('is refused on a target that another migration holds, and the message names it', () => {
    const claim = { ...LIVE, repository: 'acme/other', hostId: 'host-2' };
    expect(() => plan({ claim }, true)).toThrow(/sessions of acme\/other, run from the host host-2/);
  });

  it('counts the keys of all databases', () => {
    const fields = new Map([
      ['db0', 'keys=3,expires=0,avg_ttl=0'],
      ['db12', 'keys=40,expires=1'],
      ['db_size', 'keys=5'],
    ]);
    expect(countKeys(fields)).toBe(43);
  });
});

describe('a claim', () => {
  it('is read back as it was written', () => {
    for (const claim of [LIVE, { ...HOLDER, state: 'copying' } as const]) {
      expect(decodeClaim(encodeClaim(claim).toString(), 'target:6379')).toEqual(claim);
    }
  });

  it('says what every expiry time on the target is ahead', () => {
    expect(JSON.parse(encodeClaim(LIVE).toString())).toMatchObject({ format: 2, expiryPadMs: 2 ** 51 });
  });

  it.each([
    '',
    'text',
    '[]',
    '{"format":2}',
    encodeClaim(LIVE).toString().replace('"format":2,"expiryPadMs":2251799813685248', '"format":1'),
    encodeClaim(LIVE).toString().replace('2251799813685248', '86400000'),
    encodeClaim(LIVE).toString().replace('"live"', '"lively"'),
  ])('is a conflict when it cannot be read: %j', (value) => {
    expect(() => decodeClaim(value, 'target:6379')).toThrow(
      expect.objectContaining({
        code: 'migration-conflict',
        remedy: expect.stringContaining('__valkey-migrate__'),
      }),
    );
  });
});
