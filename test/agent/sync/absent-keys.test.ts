import { describe, expect, it } from 'vitest';
import { CommandReader } from '../../../src/agent/redis/command-reader.ts';
import { type Command, encodeCommands } from '../../../src/agent/redis/raw-connection.ts';
import { careForAbsentKeys, isCaredFor, RENAME_IF_THERE } from '../../../src/agent/sync/absent-keys.ts';
import { isExpected } from '../../../src/agent/sync/refusal.ts';

function careFor(command: Command) {
  using reader = new CommandReader({
    hold: () => {
      throw new Error('nothing here is large');
    },
    isTranslated: isCaredFor,
  });
  reader.push(encodeCommands([command]));
  expect(reader.next()).toBe(true);
  return careForAbsentKeys(reader.text(0).toUpperCase(), reader, 4);
}

/** What is written before it, word by word. */
function before(command: Command): string[] | undefined {
  return careFor(command)?.before.map((words) => words.map(String).join(' '));
}

describe('a command of the stream that may name a key which the target does not have', () => {
  it.each<[string, Command, string[]]>([
    ['lets the other key go', ['rename', 'a', 'b'], ['UNLINK b']],
    ['lets the other key go', ['RENAMENX', 'a', 'b'], ['UNLINK b']],
    ['lets the other key go', ['COPY', 'a', 'b', 'replace'], ['UNLINK b']],
    [
      'does so in its database',
      ['COPY', 'a', 'b', 'DB', '7', 'REPLACE'],
      ['SELECT 7', 'UNLINK b', 'SELECT 4'],
    ],
    [
      'does so in its database',
      ['copy', 'a', 'a', 'REPLACE', 'db', '7'],
      ['SELECT 7', 'UNLINK a', 'SELECT 4'],
    ],
    ['makes it first', ['SET', 'k', 'v', 'XX'], ['SET k  NX']],
    ['makes it first', ['SET', 'k', 'XX', 'PX', '5', 'xx'], ['SET k  NX']],
    ['makes each first', ['MSETEX', '2', 'a', '1', 'b', 'XX', 'XX', 'EX', '5'], ['SET a  NX', 'SET b  NX']],
  ])('%s: %j', (_, command, expected) => {
    expect(before(command)).toEqual(expected);
    expect(isCaredFor(String(command[0]).toUpperCase())).toBe(true);
  });

  it.each<[Command]>([
    [['RENAME', 'a', 'a']],
    [['COPY', 'a', 'b']],
    [['COPY', 'a', 'b', 'DB', '7']],
    [['SET', 'k', 'XX']],
    [['SET', 'k', 'v', 'NX', 'PX', '5']],
    [['MSETEX', '2', 'a', '1', 'b', 'XX', 'NX']],
    [['MOVE', 'k', '1']],
    [['DEL', 'k', 'XX', 'REPLACE']],
    [['SUNIONSTORE', 'k', 'a', 'b']],
  ])('goes as it is: %j', (command) => {
    expect(careFor(command)).toBeUndefined();
  });

  it('may find no key only as a RENAME, and nothing else may go wrong with that', () => {
    expect(careFor(['RENAME', 'a', 'b'])?.name).toBe(RENAME_IF_THERE);
    const refusals = [
      [RENAME_IF_THERE, '-ERR no such key'],
      [RENAME_IF_THERE, '-OOM command not allowed'],
      ['RENAME', '-ERR no such key'],
      ['COPY', '-ERR no such key'],
    ] as const;
    expect(refusals.map(([command, text]) => isExpected({ command, text }))).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });
});
