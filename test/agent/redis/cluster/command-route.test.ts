import { describe, expect, it } from 'vitest';
import {
  continueScan,
  isScanEnd,
  routeOf,
  sumOf,
} from '../../../../src/agent/redis/cluster/command-route.ts';
import { isRedirection, readRedirection } from '../../../../src/agent/redis/cluster/redirection.ts';
import type { Command } from '../../../../src/agent/redis/raw-connection.ts';
import { ErrorReply } from '../../../../src/agent/redis/reply-parser.ts';

const key = Buffer.from('a key');

describe('a command', () => {
  it.each<Command>([
    ['GET', key],
    ['HSCAN', key, '0', 'COUNT', 10],
    ['PEXPIREAT', key, 1],
    ['XINFO', 'STREAM', key],
    ['MEMORY', 'USAGE', key],
  ])('goes to the owner of its key: %s', (...command) => {
    expect(routeOf(command, true)).toEqual({ to: 'owner', key });
  });

  it('that has no key and is not known is not sent anywhere', () => {
    expect(() => routeOf(['MULTI'], true)).toThrow('MULTI has no key');
  });

  it('of several keys goes to the owner of each', () => {
    expect(routeOf(['EXISTS', key, 'other'], true)).toMatchObject({
      to: 'owners',
      keys: [key, Buffer.from('other')],
    });
    expect(sumOf([1, 0, 1])).toBe(2);
    const refusal = new ErrorReply('NOPERM');
    expect(sumOf([1, refusal, 1])).toBe(refusal);
  });

  it('that sets the connection goes to every primary, and fails where one refuses it', () => {
    const route = routeOf(['SELECT', 1], true);
    if (route.to !== 'every') throw new Error(`it goes to ${route.to}`);
    const refusal = new ErrorReply('ERR');
    expect(route.merge(['OK', refusal, 'OK'])).toBe(refusal);
    expect(route.merge(['OK', 'OK'])).toBe('OK');
  });

  it('for the time asks every clock: the first takes the earliest, the others the latest', () => {
    const clock = (seconds: number, microseconds: number) =>
      [seconds, microseconds].map((part) => Buffer.from(String(part)));
    const clocks = [clock(10, 5), clock(9, 999_999), clock(10, 4)];
    const first = routeOf(['TIME'], true);
    const later = routeOf(['TIME'], false);
    if (first.to !== 'every' || later.to !== 'every') throw new Error('TIME goes elsewhere');
    expect(first.merge(clocks)).toBe(clocks[1]);
    expect(later.merge(clocks)).toBe(clocks[0]);
    const refusal = new ErrorReply('NOPERM');
    expect(later.merge([clock(1, 1), refusal])).toBe(refusal);
  });
});

describe('a scan', () => {
  const page = (cursor: string) => [Buffer.from(cursor), [key]];

  it.each([
    ['0', { primary: 0, command: ['SCAN', '0', 'COUNT', 10] }],
    ['77', { primary: 0, command: ['SCAN', '77', 'COUNT', 10] }],
    ['0@2', { primary: 2, command: ['SCAN', '0', 'COUNT', 10] }],
    ['18446744073709551615@12', { primary: 12, command: ['SCAN', '18446744073709551615', 'COUNT', 10] }],
  ])('with the cursor %s goes to the primary that it names', (cursor, route) => {
    expect(routeOf(['SCAN', cursor, 'COUNT', 10], true)).toEqual({ to: 'scan', ...route });
  });

  it.each([
    ['77', 0, '77'],
    ['77', 1, '77@1'],
    ['0', 0, '0@1'],
    ['0', 1, '0@2'],
    ['0', 2, '0'],
  ])('goes on behind %s of primary %i of three with %s', (cursor, primary, expected) => {
    const reply = continueScan(page(cursor), primary, 3);
    expect(reply).toEqual(page(expected));
    expect(isScanEnd(['SCAN', 'whatever'], reply)).toBe(expected === '0');
    expect(isScanEnd(['HSCAN', key, '0'], reply)).toBe(false);
  });

  it('leaves a refusal as it is', () => {
    const refusal = new ErrorReply('NOPERM');
    expect(continueScan(refusal, 0, 3)).toBe(refusal);
    expect(isScanEnd(['SCAN', '0'], refusal)).toBe(false);
  });
});

describe('a redirection', () => {
  const from = { host: '10.0.0.1' };

  it.each([
    ['MOVED 3999 10.0.0.2:6381', { kind: 'moved', host: '10.0.0.2', port: 6381 }],
    ['ASK 3999 node-2.example:6381', { kind: 'ask', host: 'node-2.example', port: 6381 }],
    ['MOVED 3999 ::1:6381', { kind: 'moved', host: '::1', port: 6381 }],
    ['MOVED 3999 :6381', { kind: 'moved', host: '10.0.0.1', port: 6381 }],
    ['MOVED 3999 ?:6381', { kind: 'moved', host: '10.0.0.1', port: 6381 }],
  ])('is read: %s', (text, expected) => {
    expect(readRedirection(new ErrorReply(text), from)).toEqual(expected);
    expect(isRedirection(new ErrorReply(text))).toBe(true);
  });

  it('is not what only looks like one', () => {
    for (const reply of [new ErrorReply('ERR MOVED 1 a:1'), Buffer.from('MOVED 1 a:1'), null]) {
      expect(readRedirection(reply, from)).toBeUndefined();
      expect(isRedirection(reply)).toBe(false);
    }
  });
});
