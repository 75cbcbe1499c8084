import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CommandReader } from '../../../../src/agent/redis/command-reader.ts';
import { HeldBytes, type Part } from '../../../../src/agent/redis/held-bytes.ts';
import { encodeCommands } from '../../../../src/agent/redis/raw-connection.ts';
import { isMigrationError } from '../../../../src/core/errors.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'valkey-migrate-commands-'));
afterAll(() => rmSync(directory, { recursive: true }));

const hold = () => new HeldBytes(path.join(directory, 'held'));

const COMMANDS = [
  ['SELECT', '0'],
  ['set', 'k', Buffer.from([0, 13, 10, 255])],
  ['MSET', 'a', '', 'b', 'x'.repeat(300)],
  ['ping'],
];
const STREAM = Buffer.concat([
  Buffer.from('\n'),
  encodeCommands(COMMANDS),
  Buffer.from('PING\r\n\r\n'),
  encodeCommands([['DEL', 'last']]),
]);

/** Every command with its offset, in one line each; what is passed on as it is must be the very bytes. */
function readAll(chunks: Iterable<Buffer>, { heldArgumentBytesMin = 2 ** 30 } = {}): string[] {
  using reader = new CommandReader({ hold, isTranslated: () => true, heldArgumentBytesMin });
  const lines: string[] = [];
  for (const chunk of chunks) {
    reader.push(chunk);
    while (reader.next()) {
      const args = Array.from({ length: reader.argumentCount }, (_, index) =>
        Buffer.from(reader.argument(index)),
      );
      if (args.length > 0) {
        expect(Buffer.concat(reader.parts().map(bytesOf))).toEqual(encodeCommands([args]));
        const inWindow = reader.window.subarray(reader.start, reader.end);
        expect(inWindow.length === encodeCommands([args]).length).toBe(!reader.isHeld);
      }
      lines.push(`${reader.consumed} ${args.map((arg) => arg.toString('base64')).join(' ')}`);
    }
  }
  return lines;
}

function bytesOf(part: Part): Buffer {
  return Buffer.isBuffer(part) ? part : part.held.read(part.start, part.end);
}

describe('the command stream', () => {
  const whole = readAll([STREAM]);

  it('is cut into its commands, with the offset behind each', () => {
    const [, select] = whole;
    expect(select).toBe(`${1 + encodeCommands([['SELECT', '0']]).length} ${btoa('SELECT')} ${btoa('0')}`);
    expect(whole.filter((line) => !/^\d+ $/.test(line))).toHaveLength(COMMANDS.length + 1);
    expect(whole.at(-1)).toMatch(new RegExp(`^${STREAM.length} `));
  });

  it('is cut alike byte by byte and at any place', () => {
    expect(readAll(Array.from(STREAM, (byte) => Buffer.of(byte)))).toEqual(whole);
    for (let cut = 0; cut <= STREAM.length; cut++) {
      expect(readAll([STREAM.subarray(0, cut), STREAM.subarray(cut)])).toEqual(whole);
    }
  });

  it('is cut alike when long arguments are held on disk, wherever it comes in pieces', () => {
    for (let cut = 0; cut <= STREAM.length; cut++) {
      const pieces = [STREAM.subarray(0, cut), STREAM.subarray(cut)];
      expect(readAll(pieces, { heldArgumentBytesMin: 4 })).toEqual(whole);
    }
    for (const heldArgumentBytesMin of [1, 4, 200]) {
      expect(readAll([STREAM], { heldArgumentBytesMin })).toEqual(whole);
      expect(
        readAll(
          Array.from(STREAM, (byte) => Buffer.of(byte)),
          { heldArgumentBytesMin },
        ),
      ).toEqual(whole);
    }
  });

  it('holds back all but the first arguments of a large command that is only passed on', () => {
    const commands = [
      ['DEL', 'first', ...Array.from({ length: 50 }, (_, index) => `key ${index}`), 'x'.repeat(90), 'y'],
      ['SET', 'k', 'v', 'EX', '10', 'y'.repeat(100)],
      ['RPUSH', 'list', 'a', 'z'.repeat(200), 'b'],
    ];
    const stream = encodeCommands([...commands, ['INCR', 'n']]);
    const read = (chunks: Iterable<Buffer>) => {
      using reader = new CommandReader({
        hold,
        isTranslated: (name) => name === 'SET',
        heldArgumentBytesMin: 60,
        heldRestBytesMin: 40,
      });
      const seen: Buffer[] = [];
      for (const chunk of chunks) {
        reader.push(chunk);
        while (reader.next()) {
          const bytes = Buffer.concat(reader.parts().map(bytesOf));
          expect(reader.consumed).toBe(Buffer.concat([...seen, bytes]).length);
          seen.push(bytes);
          if (reader.text(0) === 'SET') expect(reader.argument(5).toString()).toBe('y'.repeat(100));
          if (reader.text(0) === 'DEL') {
            expect(reader.text(1)).toBe('first');
            expect(reader.window.length).toBeGreaterThan(reader.end - reader.start);
            expect(reader.end - reader.start).toBeLessThan(150);
            expect(() => reader.argument(5)).toThrow('was not kept');
          }
        }
      }
      return Buffer.concat(seen);
    };
    expect(read([stream])).toEqual(stream);
    expect(read(Array.from(stream, (byte) => Buffer.of(byte)))).toEqual(stream);
    for (let cut = 0; cut <= stream.length; cut += 3) {
      expect(read([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(stream);
    }
  });

  it('takes commands that are larger than the window, whatever stands before them', () => {
    const large = encodeCommands([
      ['SET', 'k', Buffer.alloc(3_000_000, 'v')],
      ['DEL', 'k'],
    ]);
    const chunks = Array.from({ length: Math.ceil(large.length / 65_536) }, (_, index) =>
      large.subarray(index * 65_536, (index + 1) * 65_536),
    );
    const lines = readAll([STREAM, ...chunks]);
    expect(lines.length).toBe(whole.length + 2);
    expect(lines.at(-1)).toMatch(new RegExp(`^${STREAM.length + large.length} `));
  });

  it.each([
    '*x\r\n',
    '*1\r\n+OK\r\n',
    '*1\r\n$-1\r\n',
    '*1\r\n$\r\n',
    'FLUSHALL\r\n',
    '*1\r\n$99999999999\r\n',
  ])('is refused where it is malformed: %j', (bytes) => {
    expect(() => readAll([Buffer.from(bytes)])).toThrow(
      expect.objectContaining({ code: 'source-protocol-error' }),
    );
  });

  it('ends in a named error or waits for more, however it is damaged', () => {
    for (let at = 0; at < STREAM.length; at++) {
      const damaged = Buffer.from(STREAM);
      damaged[at] = (damaged[at] ?? 0) ^ (1 + (at % 255));
      try {
        using reader = new CommandReader({
          hold,
          isTranslated: () => at % 3 === 0,
          heldArgumentBytesMin: at % 2 === 0 ? 4 : 1_000,
          heldRestBytesMin: 20,
        });
        reader.push(damaged);
        while (reader.next()) expect(reader.end).toBeGreaterThan(reader.start);
      } catch (error) {
        if (!isMigrationError(error)) throw error;
      }
    }
  });
});
