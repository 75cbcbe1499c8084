import { expect, it } from 'vitest';
import { countFieldExpiries, isSourceServed } from '../../../src/agent/redis/server-info.ts';

it.each([
  ['redis', '4.0.14', false],
  ['redis', '5.0.14', true],
  ['redis', '8.4.0', true],
  ['redis', '8.6.0', false],
  ['redis', '9.0.0', false],
  ['valkey', '7.2.4', true],
  ['valkey', '9.1.2', true],
] as const)('%s %s is served as a source: %s', (kind, version, isServed) => {
  expect(isSourceServed({ kind, version })).toBe(isServed);
});

it.each([
  ['keys=3,expires=0,avg_ttl=0,subexpiry=2', 2],
  ['keys=3,expires=0,avg_ttl=0,subexpiry=0', 0],
  ['keys=3,expires=1,avg_ttl=0,keys_with_volatile_items=11', 11],
  ['keys=3,expires=1,avg_ttl=0', undefined],
])('the hashes of which fields expire, in %s: %s', (keyspace, count) => {
  expect(countFieldExpiries(keyspace)).toBe(count);
});
