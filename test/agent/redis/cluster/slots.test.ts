import { expect, it } from 'vitest';
import {
  formatSlots,
  keySlot,
  parseSlots,
  SLOT_COUNT,
  slotTag,
} from '../../../../src/agent/redis/cluster/slots.ts';
import {
  checkpointKey,
  isReservedKey,
  RESERVED_KEY,
  temporaryKey,
} from '../../../../src/agent/redis/reserved-key.ts';

const slotOf = (key: string) => keySlot(Buffer.from(key), 0, Buffer.byteLength(key));

it('gives keys the slots that servers give them', () => {
  expect(slotOf('123456789')).toBe(0x31c3);
  expect(slotOf('foo')).toBe(12182);
  expect(slotOf('bar')).toBe(5061);
  expect(slotOf('')).toBe(0);
});

it('hashes only what stands in the first braces', () => {
  expect(slotOf('{user1000}.following')).toBe(slotOf('user1000'));
  expect(slotOf('a{foo}b{bar}')).toBe(slotOf('foo'));
  expect(slotOf('{{bar}}zap')).toBe(slotOf('{bar'));
  expect(slotOf('foo{}{bar}')).not.toBe(slotOf('bar'));
  expect(slotOf('foo{bar')).not.toBe(slotOf('bar'));
});

it('looks at no byte outside of the key', () => {
  const around = Buffer.from('{x}foo}y');
  expect(keySlot(around, 3, 6)).toBe(slotOf('foo'));
});

it('has a tag for every slot', () => {
  for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
    const key = checkpointKey(slot);
    expect(keySlot(key, 0, key.length)).toBe(slot);
  }
  expect(slotTag(100)).toMatch(/^\d{1,7}$/);
});

it('writes ranges of slots as text and reads them back', () => {
  const ranges = [
    [0, 99],
    [5461, 5461],
  ] as const;
  expect(formatSlots(ranges)).toBe('0-99,5461');
  expect(parseSlots('0-99,5461')).toEqual(ranges);
  for (const wrong of ['', '1-', '5-3', '16384', 'x', '1,,2']) expect(parseSlots(wrong)).toBeUndefined();
});

it('knows the keys of this tool from those of a customer', () => {
  for (const key of [RESERVED_KEY, checkpointKey(7), temporaryKey(7, 2)])
    expect(isReservedKey(key)).toBe(true);
  for (const key of ['__valkey-migrate', '__valkey-migrate__x', '__valkey-migrate-canary__1', 'x', '']) {
    expect(isReservedKey(Buffer.from(key))).toBe(false);
  }
  const within = Buffer.concat([Buffer.from('key'), RESERVED_KEY, Buffer.from('{')]);
  expect(isReservedKey(within, 3, 3 + RESERVED_KEY.length)).toBe(true);
  expect(isReservedKey(within)).toBe(false);
});
