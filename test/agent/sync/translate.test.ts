import { describe, expect, it } from 'vitest';
import { CommandReader } from '../../../src/agent/redis/command-reader.ts';
import { type Command, encodeCommands } from '../../../src/agent/redis/raw-connection.ts';
import { findTranslation } from '../../../src/agent/sync/translate.ts';

const NOW_MS = 1_700_000_000_000;
const HELLO_REDIS_74 = Buffer.from('000568656c6c6f0c00a804ebb69f1ebe43', 'hex');
const HELLO_VALKEY = Buffer.from('000568656c6c6f0b000aad620598abc983', 'hex');

/** The command as it is sent to a target that knows the given commands beyond those of Valkey 8. */
function translate(command: Command, newer: readonly string[] = []): Buffer {
  const encoded = encodeCommands([command]);
  const reader = new CommandReader();
  reader.push(encoded);
  expect(reader.next()).toBe(true);
  const commands = { has: (name: string) => name !== 'HSETEX' || newer.includes(name) };
  const context = { commands, hasHashFieldTtls: false, nowMs: () => NOW_MS };
  return findTranslation(reader.text(0).toUpperCase())?.(reader, context) ?? encoded;
}

describe('a command of the stream', () => {
  it.each<[Command, Command]>([
    [
      ['setex', 'k', '10', 'v'],
      ['SET', 'k', 'v', 'PXAT', NOW_MS + 10_000],
    ],
    [
      ['PSETEX', 'k', '10', 'v'],
      ['SET', 'k', 'v', 'PXAT', NOW_MS + 10],
    ],
    [
      ['SET', 'k', 'v', 'PX', '100000'],
      ['SET', 'k', 'v', 'PXAT', NOW_MS + 100_000],
    ],
    [
      ['SET', 'k', 'v', 'NX', 'ex', '5'],
      ['SET', 'k', 'v', 'NX', 'PXAT', NOW_MS + 5_000],
    ],
    [
      ['getex', 'k', 'EX', '5'],
      ['getex', 'k', 'PXAT', NOW_MS + 5_000],
    ],
    [
      ['expire', 'k', '50'],
      ['PEXPIREAT', 'k', NOW_MS + 50_000],
    ],
    [
      ['PEXPIRE', 'k', '50', 'GT'],
      ['PEXPIREAT', 'k', NOW_MS + 50, 'GT'],
    ],
    [
      ['restore', 'k', '5000', HELLO_REDIS_74],
      ['RESTORE', 'k', NOW_MS + 5_000, HELLO_VALKEY, 'ABSTTL'],
    ],
    [
      ['RESTORE', 'k', '0', HELLO_REDIS_74, 'REPLACE'],
      ['RESTORE', 'k', '0', HELLO_VALKEY, 'REPLACE'],
    ],
    [
      ['RESTORE-ASKING', 'k', '1800000000000', HELLO_REDIS_74, 'absttl'],
      ['RESTORE', 'k', '1800000000000', HELLO_VALKEY, 'absttl'],
    ],
    [
      ['HSETEX', 'h', 'KEEPTTL', 'FIELDS', '2', 'f', '1', 'g', '2'],
      ['HSET', 'h', 'f', '1', 'g', '2'],
    ],
    [
      ['hsetex', 'h', 'FNX', 'fields', '1', 'f', '1'],
      ['HSET', 'h', 'f', '1'],
    ],
  ])('%j is sent as %j', (command, expected) => {
    expect(translate(command).toString('latin1')).toBe(encodeCommands([expected]).toString('latin1'));
  });

  it.each<[Command]>([
    [['SET', 'k', 'EX', 'PXAT', '1800000000000']],
    [['SET', 'EX', '10']],
    [['PEXPIREAT', 'k', '1800000000000', 'nx']],
    [['INCR', 'k']],
    [['FUNCTION', 'LOAD', 'code']],
    [['HSET', 'h', 'FIELDS', 'v']],
  ])('%j goes as it is', (command) => {
    expect(translate(command).equals(encodeCommands([command]))).toBe(true);
  });

  it('is left alone when the target knows it', () => {
    const command = ['HSETEX', 'h', 'PXAT', '1800000000000', 'FIELDS', '1', 'f', '1'];
    expect(translate(command, ['HSETEX']).equals(encodeCommands([command]))).toBe(true);
  });

  it.each<[Command]>([
    [['HSETEX', 'h', 'PXAT', '1800000000000', 'FIELDS', '1', 'f', '1']],
    [['RESTORE', 'h', '0', Buffer.concat([Buffer.of(25), HELLO_REDIS_74])]],
    [['RESTORE', 'h', '0', Buffer.concat([Buffer.of(28), HELLO_REDIS_74])]],
  ])('stops the sync when the target cannot hold what it writes: %j', (command) => {
    expect(() => translate(command)).toThrow(expect.objectContaining({ code: 'source-data-unsupported' }));
  });

  it('stops the sync when it restores the value of a module', () => {
    const command = ['RESTORE', 'v', '0', Buffer.concat([Buffer.of(7), HELLO_REDIS_74])];
    expect(() => translate(command)).toThrow(expect.objectContaining({ code: 'source-modules-unsupported' }));
  });
});
