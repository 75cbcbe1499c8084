import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeCommands } from '../../../src/agent/redis/raw-connection.ts';
import { MessageParser } from '../../../src/agent/scan/message-parser.ts';

function parse(pieces: readonly Buffer[]): string[][] {
  const found: string[][] = [];
  const parser = new MessageParser(({ bytes, count, starts, ends }) => {
    found.push(
      Array.from({ length: count }, (_, index) => bytes.toString('latin1', starts[index], ends[index])),
    );
  });
  for (const piece of pieces) {
    // Only lent: what is kept of it must have been copied.
    const lent = Buffer.from(piece);
    parser.push(lent);
    lent.fill(0);
  }
  return found;
}

describe('messages of a subscription', () => {
  it('are read whatever the pieces in which they arrive', () => {
    const element = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));
    const message = fc.array(element, { minLength: 2, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 20 }), fc.array(fc.nat(400)), (messages, cuts) => {
        const bytes = encodeCommands(messages);
        const places = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
        const pieces = places.slice(1).map((end, index) => bytes.subarray(places[index], end));
        expect(parse(pieces)).toEqual(messages.map((parts) => parts.map((part) => part.toString('latin1'))));
      }),
    );
  });

  it('may be confirmations with a number, and replies of one line', () => {
    const text =
      '+OK\r\n*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n-ERR no\r\n';
    expect(parse([Buffer.from(text)])).toEqual([
      ['+OK'],
      ['psubscribe', '*', '1'],
      ['pong', ''],
      ['-ERR no'],
    ]);
  });

  it('are refused when they are none', () => {
    for (const text of ['$3\r\nabc\r\n', '*9\r\n', '*2\r\n+a\r\n', '*1\r\n$x\r\n']) {
      expect(() => parse([Buffer.from(text)])).toThrow();
    }
  });
});
