import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createReplyParser,
  ErrorReply,
  REPLY_LIMITS,
  type Reply,
} from '../../../src/agent/redis/reply-parser.ts';

const CONVERSATION = Buffer.from(
  [
    '+OK\r\n',
    '+\r\n',
    '-ERR unknown command\r\n',
    ':0\r\n',
    ':-42\r\n',
    ':9223372036854775807\r\n',
    '$-1\r\n',
    '$0\r\n\r\n',
    '$7\r\na\r\nb$1\n\r\n',
    '*-1\r\n',
    '*0\r\n',
    '*3\r\n*2\r\n:1\r\n$2\r\nxy\r\n*0\r\n-WRONGTYPE no\r\n',
    '*1\r\n*1\r\n*1\r\n$-1\r\n',
    '$3\r\nend\r\n',
  ].join(''),
  'latin1',
);
const REPLIES: readonly Reply[] = [
  'OK',
  '',
  new ErrorReply('ERR unknown command'),
  0,
  -42,
  9223372036854775807n,
  null,
  Buffer.alloc(0),
  Buffer.from('a\r\nb$1\n'),
  null,
  [],
  [[1, Buffer.from('xy')], [], new ErrorReply('WRONGTYPE no')],
  [[[null]]],
  Buffer.from('end'),
];

function parse(chunks: readonly Buffer[], limits = REPLY_LIMITS): Reply[] {
  const replies: Reply[] = [];
  const parser = createReplyParser((reply) => replies.push(reply), limits);
  for (const chunk of chunks) parser.push(chunk);
  return replies;
}

describe('the reply parser', () => {
  it('reads every kind of reply that arrives whole', () => {
    expect(parse([CONVERSATION])).toEqual(REPLIES);
  });

  it('reads the same byte by byte', () => {
    const bytes = Array.from(CONVERSATION, (byte) => Buffer.from([byte]));
    expect(parse(bytes)).toEqual(REPLIES);
  });

  it('reads the same when cut at any offset', () => {
    for (let offset = 0; offset <= CONVERSATION.length; offset++) {
      const chunks = [CONVERSATION.subarray(0, offset), CONVERSATION.subarray(offset)];
      expect(parse(chunks), `cut at ${offset}`).toEqual(REPLIES);
    }
  });

  it('delivers a reply as soon as its last byte is there, and not before', () => {
    const text = Buffer.from('*2\r\n$1\r\na\r\n$1\r\nb\r\n');
    expect(parse([text.subarray(0, -1)])).toEqual([]);
    expect(parse([text])).toHaveLength(1);
  });

  it('reads a bulk string that is longer than its chunks', () => {
    const value = Buffer.alloc(300_000, 'valkey');
    const wire = Buffer.concat([Buffer.from(`$${value.length}\r\n`), value, Buffer.from('\r\n:7\r\n')]);
    const chunks = Array.from({ length: Math.ceil(wire.length / 65_536) }, (_, index) =>
      wire.subarray(index * 65_536, (index + 1) * 65_536),
    );
    expect(parse(chunks)).toEqual([value, 7]);
  });

  it('reads any bytes in any chunks as what they were', () => {
    const bulks = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 12 });
    const cuts = fc.array(fc.nat(400), { maxLength: 8 });
    fc.assert(
      fc.property(bulks, cuts, (values, offsets) => {
        const wire = Buffer.concat([
          Buffer.from(`*${values.length}\r\n`),
          ...values.flatMap((value) => [Buffer.from(`$${value.length}\r\n`), value, Buffer.from('\r\n')]),
        ]);
        const edges = [0, ...offsets.sort((a, b) => a - b), wire.length];
        const chunks = edges.slice(1).map((edge, index) => wire.subarray(edges[index], edge));
        expect(parse(chunks)).toEqual([values.map((value) => Buffer.from(value))]);
      }),
    );
  });

  it.each([
    ['an unknown first byte', '!3\r\n', 'cannot begin with byte 0x21'],
    ['an inline answer of another protocol', 'HTTP/1.1 400 Bad Request\r\n', 'cannot begin with byte 0x48'],
    ['a length that is no number', '$3x\r\nabc\r\n', 'an integer is malformed'],
    ['an empty length', '$\r\n', 'an integer is malformed'],
    ['a length below -1', '*-2\r\n', 'the length of an array is malformed'],
    ['a length beyond 64 bits', '$99999999999999999999\r\n', 'an integer is malformed'],
    ['a bulk that goes on behind its length', '$3\r\nabcd\r\n', 'does not end where its length says'],
    ['a CR without LF', '+OK\rx', 'a CR without LF'],
    ['a bulk longer than allowed', '$101\r\n', 'longer than 100'],
    ['an array longer than allowed', '*11\r\n', 'longer than 10'],
    ['a line without end', `+${'x'.repeat(60)}`, 'a line is longer than 50 bytes'],
    ['arrays nested too deep', '*1\r\n'.repeat(4), 'nested deeper than 3 levels'],
  ])('refuses %s', (_, text, message) => {
    const limits = { lineBytes: 50, bulkBytes: 100, arrayLength: 10, depth: 3 };
    expect(() => parse([Buffer.from(text)], limits)).toThrow(message);
  });

  it('never does anything else with damaged bytes than reply or refuse', () => {
    const limits = { lineBytes: 100, bulkBytes: 1000, arrayLength: 100, depth: 4 };
    const damage = fc.array(fc.tuple(fc.nat(CONVERSATION.length - 1), fc.nat(255)), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(damage, (changes) => {
        const damaged = Buffer.from(CONVERSATION);
        for (const [offset, byte] of changes) damaged[offset] = byte;
        const whole = outcomeOf([damaged], limits);
        const bytes = Array.from(damaged, (byte) => Buffer.from([byte]));
        expect(outcomeOf(bytes, limits)).toEqual(whole);
      }),
      { numRuns: 500 },
    );
  });
});

/** The replies before the refusal, and its message without regard to how much of a line had arrived. */
function outcomeOf(chunks: readonly Buffer[], limits: typeof REPLY_LIMITS): unknown {
  const replies: Reply[] = [];
  const parser = createReplyParser((reply) => replies.push(reply), limits);
  try {
    for (const chunk of chunks) parser.push(chunk);
    return { replies };
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    return { replies, refused: error instanceof Error ? error.message : '' };
  }
}
