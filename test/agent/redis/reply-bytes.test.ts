import { describe, expect, it } from 'vitest';
import {
  encodeReplies,
  isSameReplyBytes,
  ReplyBytes,
  ReplyCursor,
} from '../../../src/agent/redis/reply-bytes.ts';
import { ErrorReply, type Reply } from '../../../src/agent/redis/reply-parser.ts';

const replies: readonly Reply[] = [
  'OK',
  Buffer.from('a\r\nb'),
  null,
  Buffer.alloc(0),
  -12,
  [Buffer.from('x'), [], [1, null]],
  new ErrorReply('WRONGTYPE Operation against a key holding the wrong kind of value'),
];

describe('replies as bytes', () => {
  it('are complete at the same place wherever the stream is cut, and leave what follows alone', () => {
    const stream = encodeReplies([...replies, 'the next']);
    const own = encodeReplies(replies);
    for (let cut = 0; cut <= stream.length; cut++) {
      const bytes = new ReplyBytes();
      bytes.expect(replies.length);
      const pieces = [stream.subarray(0, cut), stream.subarray(cut)];
      let taken = 0;
      for (const piece of pieces) if (!bytes.isComplete) taken += bytes.take(piece, 0);
      expect(taken).toBe(own.length);
      expect(bytes.isComplete).toBe(true);
      expect(bytes.bytes.subarray(0, bytes.end).equals(own)).toBe(true);
    }
  });

  it('may be larger than the memory they begin with, which is used again', () => {
    const bytes = new ReplyBytes();
    for (const size of [3_000_000, 10, 200_000]) {
      const stream = encodeReplies([Buffer.alloc(size, 7), 1]);
      bytes.expect(2);
      for (let at = 0; at < stream.length; at += 60_000) bytes.take(stream.subarray(at, at + 60_000), 0);
      const cursor = new ReplyCursor(bytes);
      cursor.next();
      expect(cursor.view().equals(Buffer.alloc(size, 7))).toBe(true);
      cursor.next();
      expect(cursor.integer()).toBe(1);
    }
  });

  it('end at the same place when long ones are not kept, wherever the stream is cut', () => {
    const long = Buffer.alloc(40, 'x');
    for (const some of [
      [long, 'OK'],
      ['OK', [Buffer.from('short'), long, null], 7],
      ['OK', long],
    ]) {
      const own = encodeReplies(some);
      const stream = encodeReplies([...some, 'the next']);
      for (let first = 0; first <= stream.length; first++) {
        const second = Math.min(stream.length, first + 11);
        const bytes = new ReplyBytes();
        bytes.bulkBytesMax = 39;
        bytes.expect(some.length);
        let taken = 0;
        for (const [from, to] of [
          [0, first],
          [first, second],
          [second, stream.length],
        ] as const) {
          if (!bytes.isComplete) taken += bytes.take(stream.subarray(from, to), 0);
        }
        expect({ taken, isComplete: bytes.isComplete, isCut: bytes.isCut }).toEqual({
          taken: own.length,
          isComplete: true,
          isCut: true,
        });
      }
    }
  });

  it('tell of an error that is about us and not about the key', () => {
    const bytes = new ReplyBytes();
    bytes.expect(2);
    bytes.take(encodeReplies([new ErrorReply('WRONGTYPE x'), new ErrorReply('NOPERM y')]), 0);
    expect(bytes.refusal?.message).toBe('NOPERM y');
  });

  it('are the same only by kind and content', () => {
    const cursorAt = (reply: Reply) => {
      const cursor = new ReplyCursor({ bytes: encodeReplies([reply]) });
      cursor.next();
      return cursor;
    };
    const different: readonly Reply[] = ['1', 1, Buffer.from('1'), Buffer.alloc(0), null, Buffer.from('2')];
    different.forEach((a, index) => {
      different.forEach((b, other) => {
        expect(isSameReplyBytes(cursorAt(a), cursorAt(b))).toBe(index === other);
      });
    });
  });

  it('are refused when they are none', () => {
    const bytes = new ReplyBytes();
    bytes.expect(1);
    expect(() => bytes.take(Buffer.from('HTTP/1.1 400\r\n'), 0)).toThrow('cannot begin');
  });
});
