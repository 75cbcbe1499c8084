import { describe, expect, it } from 'vitest';
import { ReplyScanner, type ScannedError } from '../../../../src/agent/redis/reply-scanner.ts';

const REPLIES = Buffer.from(
  [
    '+OK\r\n',
    '$5\r\na\r\n-b\r\n',
    ':-7\r\n',
    '$-1\r\n',
    '*0\r\n',
    '*-1\r\n',
    '-ERR first\r\n',
    '*4\r\n+OK\r\n*2\r\n:1\r\n$0\r\n\r\n-WRONGTYPE inner\r\n$3\r\n-no\r\n',
    '+QUEUED\r\n',
  ].join(''),
);

function scan(chunks: Iterable<Buffer>): { count: number; errors: ScannedError[] } {
  const errors: ScannedError[] = [];
  const scanner = new ReplyScanner((error) => errors.push(error));
  for (const chunk of chunks) scanner.push(chunk);
  return { count: scanner.count, errors };
}

describe('the replies of a target', () => {
  const expected = {
    count: 9,
    errors: [
      { reply: 6, element: undefined, text: '-ERR first' },
      { reply: 7, element: { index: 2, count: 4 }, text: '-WRONGTYPE inner' },
    ],
  };

  it('are counted, and the errors among them found with their place', () => {
    expect(scan([REPLIES])).toEqual(expected);
  });

  it('are counted alike however they are cut', () => {
    expect(scan(Array.from(REPLIES, (byte) => Buffer.of(byte)))).toEqual(expected);
    for (let cut = 0; cut <= REPLIES.length; cut++) {
      expect(scan([REPLIES.subarray(0, cut), REPLIES.subarray(cut)])).toEqual(expected);
    }
  });

  it('to transactions are counted alike however they are cut', () => {
    const transactions = Buffer.from(
      [
        '+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+OK\r\n+OK\r\n',
        '+OK\r\n+QUEUED\r\n-ERR unknown\r\n+QUEUED\r\n-EXECABORT\r\n',
        '+OK\r\n+QUEUEX\r\n+QUEUED1\r\n*5\r\n+OK\r\n:1\r\n+OK\r\n+OK\r\n-ERR last\r\n+QUEUED\r\n',
        '*2\r\n+QUEUED\r\n*2\r\n+OK\r\n-ERR in\r\n+OK\r\n+OKAY\r\n*1\r\n+OK\r\n+OK\r\n',
      ].join(''),
    );
    const expectedOfAll = {
      count: 5 + 5 + 5 + 5,
      errors: [
        { reply: 7, element: undefined, text: '-ERR unknown' },
        { reply: 9, element: undefined, text: '-EXECABORT' },
        { reply: 13, element: { index: 4, count: 5 }, text: '-ERR last' },
        { reply: 15, element: { index: 1, count: 2 }, text: '-ERR in' },
      ],
    };
    for (let cut = 0; cut <= transactions.length; cut++) {
      expect(scan([transactions.subarray(0, cut), transactions.subarray(cut)])).toEqual(expectedOfAll);
    }
  });

  it.each(['HTTP/1.1 400\r\n', '$x\r\n', '*1e999\r\n'])('are refused when they are none: %j', (bytes) => {
    expect(() => scan([Buffer.from(bytes)])).toThrow('reply');
  });
});
