import { describe, expect, it } from 'vitest';
import { displayName } from '../../../src/agent/redis/key-display.ts';
import { scoreIdentity } from '../../../src/agent/verify/aspect.ts';
import { compareIds, idAfter } from '../../../src/agent/verify/compare-stream.ts';

describe('a name in a report', () => {
  it('is printable ASCII whatever its bytes, and can be told from its own escapes', () => {
    expect(displayName(Buffer.from('a b\n\\x00é'), 'shown')).toBe('a b\\x0a\\x5cx00\\xc3\\xa9');
    expect(displayName(Buffer.alloc(0), 'shown')).toBe('');
  });

  it('gives nothing away when it is hidden, and only its digest when it is hashed', () => {
    expect(displayName(Buffer.from('secret'), 'hidden')).toBe('(hidden)');
    expect(displayName(Buffer.from('secret'), 'hashed')).toBe('2bb80d537b1da3e3');
  });
});

describe('a score', () => {
  it.each([
    ['1.1', '1.1000000000000001', true],
    ['1.1', '1.1000000000000002', false],
    ['0', '-0', false],
    ['inf', '+inf', true],
    ['-inf', 'inf', false],
    ['1e21', '1000000000000000000000', true],
  ])('%s and %s: equal is %s', (a, b, isEqual) => {
    expect(scoreIdentity(Buffer.from(a)) === scoreIdentity(Buffer.from(b))).toBe(isEqual);
  });
});

describe('a stream id', () => {
  it('is ordered by both of its 64-bit numbers', () => {
    const ids = ['10-0', '9-18446744073709551615', '9-2', '9-10'];
    expect(ids.sort(compareIds)).toEqual(['9-2', '9-10', '9-18446744073709551615', '10-0']);
  });

  it('is followed by the next sequence, the next millisecond, or nothing', () => {
    expect(idAfter('5-1')).toBe('5-2');
    expect(idAfter('5-18446744073709551615')).toBe('6-0');
    expect(idAfter('18446744073709551615-18446744073709551615')).toBeUndefined();
  });
});
