import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CommandReader } from '../../../src/agent/redis/command-reader.ts';
import { EXPIRY_PAD_MS } from '../../../src/agent/redis/expiry-pad.ts';
import { HeldBytes, type Part } from '../../../src/agent/redis/held-bytes.ts';
import { type Command, encodeCommands } from '../../../src/agent/redis/raw-connection.ts';
import { findTranslation, isInTurn, LEFT_OUT, plainArgumentsMax } from '../../../src/agent/sync/translate.ts';
import type { HashFieldTtl } from '../../../src/contract/skipped.ts';
import { moduleId } from '../redis/rdb/rdb-items.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'valkey-migrate-translate-'));
afterAll(() => rmSync(directory, { recursive: true }));

const NOW_MS = 1_700_000_000_000;
const PADDED_NOW_MS = EXPIRY_PAD_MS + NOW_MS;
const LATER = '1800000000000';
const PADDED_LATER_MS = EXPIRY_PAD_MS + 1_800_000_000_000;
const HASH_FIELD_COMMANDS = ['HSETEX', 'HGETEX', 'HGETDEL', 'MSETEX', 'HPEXPIREAT', 'HPERSIST'];
const HELLO_REDIS_74 = Buffer.from('000568656c6c6f0c00a804ebb69f1ebe43', 'hex');
/** DUMP of a vector set of Redis 8.0, cut: only its module is read. */
const VECTOR_SET = Buffer.concat([
  Buffer.of(7, 0x81),
  moduleId('vectorset'),
  Buffer.from('000c000000000000000000', 'hex'),
]);
/** Two fields, of which one expires, in the layout of Redis 7.4, and a footer. */
const EXPIRING_HASH = Buffer.concat([
  Buffer.of(24),
  Buffer.from('0050d5c4a3010000', 'hex'),
  Buffer.from('\x02\x00\x01f\x01v\x06\x01g\x01w', 'latin1'),
  Buffer.from('0c000000000000000000', 'hex'),
]);
/** FUNCTION DUMP where there are none, of Redis 8.0 and Valkey 8.0. */
const NO_FUNCTIONS_REDIS = Buffer.from('0c0096ed6880f5553c93', 'hex');
const NO_FUNCTIONS_VALKEY = Buffer.from('0b003444e133f2e04b53', 'hex');
const HELLO_VALKEY = Buffer.from('000568656c6c6f0b000aad620598abc983', 'hex');

type Form = { hashFieldTtl?: HashFieldTtl; skipped?: string[] };

/** The same, whether its large arguments are in memory or on disk. */
function translate(
  command: Command,
  newer: readonly string[] = [],
  form: Form = {},
): Buffer | typeof LEFT_OUT {
  const translated = translateWith(command, { ...form, newer, heldArgumentBytesMin: 1_000 });
  const { hashFieldTtl = 'refuse' } = form;
  expect(translateWith(command, { hashFieldTtl, newer, heldArgumentBytesMin: 16 })).toEqual(translated);
  return translated;
}

/** The command as it is sent to a target that knows the given commands beyond those of Valkey 8. */
function translateWith(
  command: Command,
  {
    newer,
    heldArgumentBytesMin,
    hashFieldTtl = 'refuse',
    skipped = [],
  }: Form & { newer: readonly string[]; heldArgumentBytesMin: number },
): Buffer | typeof LEFT_OUT {
  const encoded = encodeCommands([command]);
  using reader = new CommandReader({
    hold: () => new HeldBytes(path.join(directory, 'held')),
    isTranslated: () => true,
    heldArgumentBytesMin,
  });
  reader.push(encoded);
  expect(reader.next()).toBe(true);
  const commands = { has: (name: string) => !HASH_FIELD_COMMANDS.includes(name) || newer.includes(name) };
  const context = {
    commands,
    hasHashFieldTtls: false,
    hashFieldTtl,
    nowMs: () => NOW_MS,
    skip: (what: string, reason: string, key: Buffer) => skipped.push(`${what} ${reason} ${key}`),
  };
  const name = reader.text(0).toUpperCase();
  const translated = findTranslation(name)?.(reader, context);
  if (translated !== undefined) expect(reader.argumentCount).toBeGreaterThan(plainArgumentsMax(name));
  if (translated === LEFT_OUT) return LEFT_OUT;
  const parts = isInTurn(translated) ? translated.commands.flat() : (translated ?? reader.parts());
  return Buffer.concat(parts.map(bytesOf));
}

function bytesOf(part: Part): Buffer {
  return Buffer.isBuffer(part) ? part : part.held.read(part.start, part.end);
}

describe('MSETEX, for a target that does not know it', () => {
  it.each<[Command, Command[]]>([
    [
      ['MSETEX', '2', 'a', 'PX', 'PX', 'b', 'PXAT', LATER, 'NX'],
      [
        ['SET', 'a', 'PX', 'PXAT', PADDED_LATER_MS],
        ['SET', 'PX', 'b', 'PXAT', PADDED_LATER_MS],
      ],
    ],
    [
      ['msetex', '2', 'a long key is held too', 'a long value that is held', 'b', '2', 'xx', 'ex', '5'],
      [
        ['SET', 'a long key is held too', 'a long value that is held', 'PXAT', PADDED_NOW_MS + 5_000],
        ['SET', 'b', '2', 'PXAT', PADDED_NOW_MS + 5_000],
      ],
    ],
    [
      ['MSETEX', '2', 'a', '1', 'a', '2', 'KEEPTTL'],
      [
        ['SET', 'a', '1', 'KEEPTTL'],
        ['SET', 'a', '2', 'KEEPTTL'],
      ],
    ],
    [['MSETEX', '1', 'a', 'KEEPTTL', 'NX'], [['SET', 'a', 'KEEPTTL']]],
  ])('%j becomes one SET for each key', (command, expected) => {
    expect(translate(command)).toEqual(encodeCommands(expected));
  });

  it.each([
    [['MSETEX', '3', 'a', '1', 'b', '2']],
    [['MSETEX', '1', 'a', '1', 'GET']],
    [['MSETEX', 'x', 'a', '1']],
  ])('%j stops the sync, for it says something else', (command) => {
    expect(() => translate(command)).toThrow(expect.objectContaining({ code: 'target-refused-command' }));
  });
});

describe('a command of the stream', () => {
  it.each<[Command, Command]>([
    [
      ['setex', 'k', '10', 'v'],
      ['SET', 'k', 'v', 'PXAT', PADDED_NOW_MS + 10_000],
    ],
    [
      ['SETEX', 'a long key is held too', '10', 'a long value that is held'],
      ['SET', 'a long key is held too', 'a long value that is held', 'PXAT', PADDED_NOW_MS + 10_000],
    ],
    [
      ['SET', 'a long key is held too', 'a long value that is held', 'EX', '10', 'NX'],
      ['SET', 'a long key is held too', 'a long value that is held', 'PXAT', PADDED_NOW_MS + 10_000, 'NX'],
    ],
    [
      ['PSETEX', 'k', '10', 'v'],
      ['SET', 'k', 'v', 'PXAT', PADDED_NOW_MS + 10],
    ],
    [
      ['SET', 'k', 'v', 'PX', '100000'],
      ['SET', 'k', 'v', 'PXAT', PADDED_NOW_MS + 100_000],
    ],
    [
      ['SET', 'k', 'v', 'NX', 'ex', '5'],
      ['SET', 'k', 'v', 'NX', 'PXAT', PADDED_NOW_MS + 5_000],
    ],
    [
      ['getex', 'k', 'EX', '5'],
      ['getex', 'k', 'PXAT', PADDED_NOW_MS + 5_000],
    ],
    [
      ['expire', 'k', '50'],
      ['PEXPIREAT', 'k', PADDED_NOW_MS + 50_000],
    ],
    [
      ['PEXPIRE', 'k', '50', 'GT'],
      ['PEXPIREAT', 'k', PADDED_NOW_MS + 50, 'GT'],
    ],
    [
      ['restore', 'k', '5000', HELLO_REDIS_74],
      ['RESTORE', 'k', PADDED_NOW_MS + 5_000, HELLO_VALKEY, 'ABSTTL'],
    ],
    [
      ['RESTORE', 'k', '0', HELLO_REDIS_74, 'REPLACE'],
      ['RESTORE', 'k', '0', HELLO_VALKEY, 'REPLACE'],
    ],
    [
      ['RESTORE-ASKING', 'k', '1800000000000', HELLO_REDIS_74, 'absttl'],
      ['RESTORE', 'k', PADDED_LATER_MS, HELLO_VALKEY, 'absttl'],
    ],
    [
      ['SET', 'k', 'EX', 'PXAT', LATER],
      ['SET', 'k', 'EX', 'PXAT', PADDED_LATER_MS],
    ],
    [
      ['SET', 'k', 'v', 'IFEQ', 'px', 'EXAT', '1800000000'],
      ['SET', 'k', 'v', 'PXAT', PADDED_LATER_MS],
    ],
    [
      ['set', 'k', 'ifeq', 'ifeq', 'EX', 'GET'],
      ['set', 'k', 'ifeq', 'GET'],
    ],
    [
      ['XADD', 's', 'MAXLEN', '=', '100', 'LIMIT', '0', '1-1', 'f', 'v'],
      ['XADD', 's', 'MAXLEN', '=', '100', '1-1', 'f', 'v'],
    ],
    [
      ['xadd', 's', 'nomkstream', 'KEEPREF', 'minid', '5', 'limit', '7', '8-1', 'limit', '7'],
      ['xadd', 's', 'nomkstream', 'KEEPREF', 'minid', '5', '8-1', 'limit', '7'],
    ],
    [
      ['XADD', 's', 'MAXLEN', '=', '5', '1-1', 'LIMIT', '0', 'f', 'v'],
      ['XADD', 's', 'MAXLEN', '=', '5', '1-1', 'LIMIT', '0', 'f', 'v'],
    ],
    [
      ['XADD', 's', '1-1', 'MAXLEN', '=', '5', 'LIMIT', '0', 'f'],
      ['XADD', 's', '1-1', 'MAXLEN', '=', '5', 'LIMIT', '0', 'f'],
    ],
    [
      ['XTRIM', 's', 'MINID', '=', '5-0', 'LIMIT', '10'],
      ['XTRIM', 's', 'MINID', '=', '5-0'],
    ],
    [
      ['XTRIM', 's', 'MAXLEN', '~', '5', 'LIMIT', '10'],
      ['XTRIM', 's', 'MAXLEN', '~', '5', 'LIMIT', '10'],
    ],
    [
      ['FUNCTION', 'RESTORE', NO_FUNCTIONS_REDIS, 'REPLACE'],
      ['FUNCTION', 'RESTORE', NO_FUNCTIONS_VALKEY, 'REPLACE'],
    ],
    [
      ['PEXPIREAT', 'k', LATER, 'nx'],
      ['PEXPIREAT', 'k', PADDED_LATER_MS, 'nx'],
    ],
    [
      ['expireat', 'k', '1800000000', 'GT'],
      ['PEXPIREAT', 'k', PADDED_LATER_MS, 'GT'],
    ],
    [
      ['PEXPIREAT', 'k', '-1'],
      ['PEXPIREAT', 'k', EXPIRY_PAD_MS + 1],
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
    [['SET', 'k', 'v', 'PXAT', '9223372036854775807']],
    [['SET', 'k', 'v', 'NX', 'KEEPTTL']],
    [['SET', 'EX', '10']],
    [['EXPIREAT', 'k', '9223372036854775', 'nx']],
    [['GETEX', 'k', 'PERSIST']],
    [['INCR', 'k']],
    [['FUNCTION', 'LOAD', 'code']],
    [['HSET', 'h', 'FIELDS', 'v']],
  ])('%j goes as it is', (command) => {
    expect(translate(command).toString('latin1')).toBe(encodeCommands([command]).toString('latin1'));
  });

  it.each<[Command, Command]>([
    [
      ['HSETEX', 'h', 'FXX', 'PXAT', LATER, 'FIELDS', '1', 'f', '1'],
      ['HSETEX', 'h', 'FXX', 'PXAT', PADDED_LATER_MS, 'FIELDS', '1', 'f', '1'],
    ],
    [
      ['HSETEX', 'h', 'FIELDS', '2', 'EX', '1', 'PX', '2', 'PX', '5'],
      ['HSETEX', 'h', 'FIELDS', '2', 'EX', '1', 'PX', '2', 'PXAT', PADDED_NOW_MS + 5],
    ],
    [
      ['hgetex', 'h', 'EXAT', '1800000000', 'FIELDS', '1', 'PX'],
      ['hgetex', 'h', 'PXAT', PADDED_LATER_MS, 'FIELDS', '1', 'PX'],
    ],
    [
      ['MSETEX', '2', 'a', 'PX', 'PX', 'b', 'PXAT', LATER, 'NX'],
      ['MSETEX', '2', 'a', 'PX', 'PX', 'b', 'PXAT', PADDED_LATER_MS, 'NX'],
    ],
    [
      ['HPEXPIREAT', 'h', LATER, 'GT', 'FIELDS', '1', 'f'],
      ['HPEXPIREAT', 'h', PADDED_LATER_MS, 'GT', 'FIELDS', '1', 'f'],
    ],
    [
      ['hexpire', 'h', '5', 'FIELDS', '1', 'f'],
      ['HPEXPIREAT', 'h', PADDED_NOW_MS + 5_000, 'FIELDS', '1', 'f'],
    ],
    [
      ['HSETEX', 'h', 'KEEPTTL', 'FIELDS', '1', 'f', '1'],
      ['HSETEX', 'h', 'KEEPTTL', 'FIELDS', '1', 'f', '1'],
    ],
  ])('%j is sent as %j to a target whose hash fields expire', (command, expected) => {
    expect(translate(command, HASH_FIELD_COMMANDS).toString('latin1')).toBe(
      encodeCommands([expected]).toString('latin1'),
    );
  });

  it.each<[Command]>([
    [['HSETEX', 'h', 'PXAT', '1800000000000', 'FIELDS', '1', 'f', '1']],
    [['RESTORE', 'h', '0', Buffer.concat([Buffer.of(25), HELLO_REDIS_74])]],
    [['RESTORE', 'h', '0', Buffer.concat([Buffer.of(28), HELLO_REDIS_74])]],
  ])('stops the sync when the target cannot hold what it writes: %j', (command) => {
    expect(() => translate(command)).toThrow(expect.objectContaining({ code: 'source-data-unsupported' }));
  });

  it('takes the key away when it restores the value of a module over it', () => {
    const skipped: string[] = [];
    const command = ['RESTORE', 'v', '0', VECTOR_SET, 'REPLACE'];
    expect(translate(command, [], { skipped }).toString()).toBe(encodeCommands([['UNLINK', 'v']]).toString());
    expect(skipped).toEqual(['keys module vectorset v']);
  });
});

describe('the expiry of hash fields, on a target without it', () => {
  it.each<[Command]>([
    [['HEXPIRE', 'h', '5', 'FIELDS', '1', 'f']],
    [['hpexpireat', 'h', LATER, 'GT', 'FIELDS', '1', 'f']],
    [['HPERSIST', 'h', 'FIELDS', '1', 'f']],
    [['HGETEX', 'h', 'PERSIST', 'FIELDS', '1', 'f']],
  ])('is left out where the values are enough: %j', (command) => {
    const skipped: string[] = [];
    expect(translate(command, [], { hashFieldTtl: 'keep-values', skipped })).toBe(LEFT_OUT);
    expect(skipped).toEqual(['commands hash-field-ttl h']);
    // Else it goes as it is, to be refused as a command that the target does not know.
    expect(translate(command)).not.toBe(LEFT_OUT);
  });

  it('is taken off what is set with it, and off what is restored with it', () => {
    const skipped: string[] = [];
    const keepValues = { hashFieldTtl: 'keep-values', skipped } as const;
    const set = ['HSETEX', 'h', 'FNX', 'PXAT', LATER, 'FIELDS', '2', 'f', '1', 'PX', '2'];
    expect(translate(set, [], keepValues).toString()).toBe(
      encodeCommands([['HSET', 'h', 'f', '1', 'PX', '2']]).toString(),
    );
    const restored = translate(['RESTORE', 'r', '0', EXPIRING_HASH], [], keepValues).toString('latin1');
    expect(restored).toContain('\x04\x02\x01f\x01v\x01g\x01w\x0b\x00');
    expect(skipped).toEqual(['commands hash-field-ttl h', 'keys hash-field-ttl r']);
  });

  it('has no part in HGETDEL, which is HDEL', () => {
    expect(translate(['HGETDEL', 'h', 'FIELDS', '2', 'f', 'g']).toString()).toBe(
      encodeCommands([['HDEL', 'h', 'f', 'g']]).toString(),
    );
  });

  it('is looked at no closer when it has few arguments and none of them can matter', () => {
    const maxima = ['SET', 'XADD', 'XTRIM', 'GETEX', 'HSETEX', 'EXPIRE', 'LPUSH'].map(plainArgumentsMax);
    expect(maxima).toEqual([4, 5, 5, 3, -1, -1, Number.POSITIVE_INFINITY]);
  });
});
