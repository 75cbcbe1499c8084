import { describe, expect, it } from 'vitest';
import { loadsRdbOf, type RdbServer, rdbVersionOf } from '../../../src/agent/preflight/rdb-version.ts';

const server = (name: string): RdbServer => {
  const [kind, version = ''] = name.split(' ');
  return { kind: kind === 'valkey' ? 'valkey' : 'redis', version };
};

describe('the RDB version', () => {
  it.each([
    ['redis 5.0.14', 9],
    ['redis 6.2.16', 9],
    ['redis 7.0.15', 10],
    ['redis 7.2.6', 11],
    ['redis 7.4.1', 12],
    ['redis 8.0.2', 12],
    ['valkey 7.2.7', 11],
    ['valkey 8.1.1', 11],
    ['valkey 9.1.2', 80],
  ])('of %s is %i', (name, version) => {
    expect(rdbVersionOf(server(name))).toBe(version);
  });

  it.each([
    ['redis 7.2.6', 'valkey 8.1.1', true],
    ['redis 6.2.16', 'valkey 8.0.1', true],
    ['valkey 8.1.1', 'valkey 9.1.2', true],
    ['redis 7.4.1', 'valkey 8.1.1', false],
    ['redis 7.4.1', 'valkey 9.1.2', false],
    ['redis 8.0.2', 'valkey 8.1.1', false],
    ['valkey 9.1.2', 'valkey 8.1.1', false],
    ['valkey 9.1.2', 'valkey 9.1.2', true],
    ['redis 7.2.6', 'redis 7.0.15', false],
  ])('of %s is loaded by %s: %s', (source, target, loads) => {
    expect(loadsRdbOf(server(source), server(target))).toBe(loads);
  });
});
