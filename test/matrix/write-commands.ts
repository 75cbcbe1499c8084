/** A command with its arguments. */
export type Call = readonly [name: string, ...args: (string | number | Buffer)[]];

/** What the calls of a round are made of. */
export type Round = {
  /** Goes up with every round. */
  readonly round: number;
  /** The same key again and again in the rounds of one writer, so that there is something to change. */
  key(name: string): string;
  /** When the round is made, in milliseconds. */
  readonly nowMs: number;
};

type Script = (round: Round) => readonly Call[];

const library = (name: string, result: number) =>
  `#!lua name=${name}\nredis.register_function('${name}_f', function(keys) redis.call('INCR', keys[1]); return ${result} end)`;

/**
 * Calls for every command that writes, by the name that COMMAND gives it; each may be preceded by what it needs. They
 * are run one after the other. Expiries are far away unless their key is named `brief`.
 */
export const WRITE_COMMANDS: ReadonlyMap<string, Script> = new Map<string, Script>([
  ['APPEND', ({ key, round }) => [['APPEND', key('s'), `+${round}`]]],
  [
    'BITFIELD',
    ({ key, round }) => [['BITFIELD', key('b'), 'SET', 'u8', '#1', round % 256, 'INCRBY', 'i5', 100, 1]],
  ],
  [
    'BITOP',
    ({ key, round }) => [
      ['SET', key('a'), `a${round}`],
      ['BITOP', 'NOT', key('not'), key('a')],
      ['BITOP', 'XOR', key('x'), key('a'), key('not')],
    ],
  ],
  [
    'BLMOVE',
    ({ key, round }) => [
      ['RPUSH', key('a'), round],
      ['BLMOVE', key('a'), key('b'), 'LEFT', 'RIGHT', 1],
    ],
  ],
  [
    'BLMPOP',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, round, 'x'],
      ['BLMPOP', 1, 1, key('l'), 'RIGHT', 'COUNT', 2],
    ],
  ],
  [
    'BLPOP',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, 'x'],
      ['BLPOP', key('none'), key('l'), 1],
    ],
  ],
  [
    'BRPOP',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, 'x'],
      ['BRPOP', key('l'), 1],
    ],
  ],
  [
    'BRPOPLPUSH',
    ({ key, round }) => [
      ['RPUSH', key('a'), round],
      ['BRPOPLPUSH', key('a'), key('b'), 1],
      ['LTRIM', key('b'), 0, 20],
    ],
  ],
  [
    'BZMPOP',
    ({ key, round }) => [
      ['ZADD', key('z'), round, 'a', 2, 'b', 3, 'c'],
      ['BZMPOP', 1, 1, key('z'), 'MAX', 'COUNT', 2],
    ],
  ],
  [
    'BZPOPMAX',
    ({ key, round }) => [
      ['ZADD', key('z'), round, 'a', 2, 'b'],
      ['BZPOPMAX', key('z'), 1],
    ],
  ],
  [
    'BZPOPMIN',
    ({ key, round }) => [
      ['ZADD', key('z'), round, 'a', 2, 'b'],
      ['BZPOPMIN', key('z'), 1],
    ],
  ],
  [
    'COPY',
    ({ key, round }) => [
      ['HSET', key('h'), 'f', round],
      ['COPY', key('h'), key('copy'), 'REPLACE'],
      ['COPY', key('h'), key('copy'), 'DB', 9, 'REPLACE'],
    ],
  ],
  ['DECR', ({ key }) => [['DECR', key('n')]]],
  ['DECRBY', ({ key, round }) => [['DECRBY', key('n'), round]]],
  [
    'DEL',
    ({ key, round }) => [
      ['SET', key('a'), round],
      ['HSET', key('b'), 'f', 1],
      ['DEL', key('a'), key('b'), key('none')],
    ],
  ],
  [
    'DELIFEQ',
    ({ key, round }) => [
      ['SET', key('s'), round],
      ['DELIFEQ', key('s'), round],
    ],
  ],
  [
    'EXPIRE',
    ({ key, round }) => [
      ['SET', key('s'), round],
      ['EXPIRE', key('s'), 5_000 + round],
    ],
  ],
  [
    'EXPIREAT',
    ({ key, round, nowMs }) => [
      ['SET', key('s'), round],
      ['EXPIREAT', key('s'), Math.ceil(nowMs / 1000) + 7_000],
    ],
  ],
  [
    'FLUSHDB',
    ({ key, round }) => [
      ['SELECT', 11],
      ['SET', key('s'), round],
      ['FLUSHDB'],
      ['SET', key('s'), 'after'],
      ['FLUSHDB', 'ASYNC'],
      ['SET', key('t'), 'after'],
      ['SELECT', 0],
    ],
  ],
  [
    'FUNCTION DELETE',
    () => [
      ['FUNCTION', 'LOAD', 'REPLACE', library('deleted', 1)],
      ['FUNCTION', 'DELETE', 'deleted'],
    ],
  ],
  [
    'FUNCTION FLUSH',
    () => [
      ['FUNCTION', 'FLUSH'],
      ['FUNCTION', 'LOAD', 'REPLACE', library('kept', 1)],
    ],
  ],
  [
    'FUNCTION LOAD',
    ({ key, round }) => [
      ['FUNCTION', 'LOAD', 'REPLACE', library('loaded', round)],
      ['FCALL', 'loaded_f', 1, key('n')],
    ],
  ],
  [
    'GEOADD',
    ({ key, round }) => [['GEOADD', key('g'), 13.36 + (round % 7), 38.11, `p${round % 9}`, 15.08, 37.5, 'q']],
  ],
  [
    'GEORADIUS',
    ({ key }) => [
      ['GEOADD', key('g'), 13.36, 38.11, 'p', 15.08, 37.5, 'q'],
      ['GEORADIUS', key('g'), 15, 37, 300, 'km', 'STORE', key('stored')],
    ],
  ],
  [
    'GEORADIUSBYMEMBER',
    ({ key }) => [
      ['GEOADD', key('g'), 13.36, 38.11, 'p', 15.08, 37.5, 'q'],
      ['GEORADIUSBYMEMBER', key('g'), 'p', 300, 'km', 'STOREDIST', key('stored')],
    ],
  ],
  [
    'GEOSEARCHSTORE',
    ({ key }) => [
      ['GEOADD', key('g'), 13.36, 38.11, 'p', 15.08, 37.5, 'q'],
      ['GEOSEARCHSTORE', key('stored'), key('g'), 'FROMMEMBER', 'p', 'BYRADIUS', 300, 'km', 'STOREDIST'],
    ],
  ],
  [
    'GETDEL',
    ({ key, round }) => [
      ['SET', key('s'), round],
      ['GETDEL', key('s')],
    ],
  ],
  [
    'GETEX',
    ({ key, round, nowMs }) => [
      ['SET', key('s'), round],
      ['GETEX', key('s'), 'PX', 5_000_000 + round],
      ['SET', key('p'), round, 'EX', 100],
      ['GETEX', key('p'), 'PERSIST'],
      ['SET', key('t'), 1],
      ['GETEX', key('t'), 'PXAT', nowMs + 9_000_000],
    ],
  ],
  ['GETSET', ({ key, round }) => [['GETSET', key('s'), round]]],
  [
    'HDEL',
    ({ key, round }) => [
      ['HSET', key('h'), 'a', round, 'b', 1],
      ['HDEL', key('h'), 'a', 'none'],
    ],
  ],
  [
    'HEXPIRE',
    ({ key, round }) => [
      ['HSET', key('h'), 'a', round, 'b', 1],
      ['HEXPIRE', key('h'), 6_000 + round, 'FIELDS', 1, 'a'],
      ['HSET', key('brief'), 'a', 1, 'b', 1],
      ['HPEXPIRE', key('brief'), 300, 'FIELDS', 1, 'a'],
    ],
  ],
  [
    'HEXPIREAT',
    ({ key, round, nowMs }) => [
      ['HSET', key('h'), 'a', round],
      ['HEXPIREAT', key('h'), Math.ceil(nowMs / 1000) + 8_000, 'FIELDS', 1, 'a'],
    ],
  ],
  [
    'HGETDEL',
    ({ key, round }) => [
      ['HSET', key('h'), 'a', round, 'b', 1],
      ['HGETDEL', key('h'), 'FIELDS', 1, 'a'],
    ],
  ],
  [
    'HGETEX',
    ({ key, round }) => [
      ['HSET', key('h'), 'a', round, 'b', 1],
      ['HGETEX', key('h'), 'EX', 6_000 + round, 'FIELDS', 1, 'a'],
    ],
  ],
  ['HINCRBY', ({ key, round }) => [['HINCRBY', key('h'), 'n', round]]],
  ['HINCRBYFLOAT', ({ key }) => [['HINCRBYFLOAT', key('h'), 'x', 0.1]]],
  ['HMSET', ({ key, round }) => [['HMSET', key('h'), `f${round % 20}`, round, 'g', '']]],
  [
    'HPERSIST',
    ({ key, round }) => [
      ['HSET', key('h'), 'a', round],
      ['HEXPIRE', key('h'), 100, 'FIELDS', 1, 'a'],
      ['HPERSIST', key('h'), 'FIELDS', 1, 'a'],
    ],
  ],
  [
    'HPEXPIRE',
    ({ key, round }) => [
      ['HSET', key('h'), 'a', round, 'b', 1],
      ['HPEXPIRE', key('h'), 6_000_000 + round, 'FIELDS', 2, 'a', 'b'],
      ['HPEXPIRE', key('h'), 9_000_000, 'GT', 'FIELDS', 1, 'b'],
    ],
  ],
  [
    'HPEXPIREAT',
    ({ key, round, nowMs }) => [
      ['HSET', key('h'), 'a', round],
      ['HPEXPIREAT', key('h'), nowMs + 8_000_000, 'FIELDS', 1, 'a'],
    ],
  ],
  [
    'HSET',
    ({ key, round }) => [['HSET', key('h'), `f${round % 200}`, round, 'long', 'x'.repeat(round % 90)]],
  ],
  [
    'HSETEX',
    ({ key, round }) => [
      ['HSETEX', key('h'), 'EX', 7_000, 'FIELDS', 1, 'a', round],
      ['HSETEX', key('h'), 'FNX', 'FIELDS', 1, 'b', round],
      ['HSETEX', key('h'), 'KEEPTTL', 'FIELDS', 1, 'a', 2],
    ],
  ],
  ['HSETNX', ({ key, round }) => [['HSETNX', key('h'), `f${round % 9}`, round]]],
  ['INCR', ({ key }) => [['INCR', key('n')]]],
  ['INCRBY', ({ key, round }) => [['INCRBY', key('n'), round]]],
  ['INCRBYFLOAT', ({ key }) => [['INCRBYFLOAT', key('n'), 0.1]]],
  [
    'LINSERT',
    ({ key, round }) => [
      ['RPUSH', key('l'), 'a', 'p'],
      ['LINSERT', key('l'), 'BEFORE', 'p', round],
      ['LTRIM', key('l'), 0, 30],
    ],
  ],
  [
    'LMOVE',
    ({ key, round }) => [
      ['RPUSH', key('a'), round],
      ['LMOVE', key('a'), key('b'), 'RIGHT', 'LEFT'],
      ['LTRIM', key('b'), 0, 20],
    ],
  ],
  [
    'LMPOP',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, 'x', 'y'],
      ['LMPOP', 2, key('none'), key('l'), 'LEFT', 'COUNT', 2],
    ],
  ],
  [
    'LPOP',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, 'x'],
      ['LPOP', key('l')],
    ],
  ],
  [
    'LPUSH',
    ({ key, round }) => [
      ['LPUSH', key('l'), round, '', `long ${'y'.repeat(round % 300)}`],
      ['LTRIM', key('l'), 0, 60],
    ],
  ],
  [
    'LPUSHX',
    ({ key, round }) => [
      ['LPUSH', key('l'), 1],
      ['LPUSHX', key('l'), round],
      ['LTRIM', key('l'), 0, 60],
    ],
  ],
  [
    'LREM',
    ({ key, round }) => [
      ['RPUSH', key('l'), 'a', round, 'a'],
      ['LREM', key('l'), -1, 'a'],
      ['LTRIM', key('l'), 0, 60],
    ],
  ],
  [
    'LSET',
    ({ key, round }) => [
      ['RPUSH', key('l'), 'a'],
      ['LSET', key('l'), 0, round],
      ['LTRIM', key('l'), 0, 60],
    ],
  ],
  [
    'LTRIM',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, 'b', 'c'],
      ['LTRIM', key('l'), -20, -1],
    ],
  ],
  [
    'MOVE',
    ({ key, round }) => [
      ['SET', key(`m${round}`), round, 'EX', 9_000],
      ['MOVE', key(`m${round}`), 8],
    ],
  ],
  ['MSET', ({ key, round }) => [['MSET', key('a'), round, key('b'), '']]],
  ['MSETEX', ({ key, round }) => [['MSETEX', 2, key('a'), round, key('b'), 'EX', 'EX', 9_000]]],
  ['MSETNX', ({ key, round }) => [['MSETNX', key(`a${round % 40}`), round, key(`b${round % 40}`), 1]]],
  [
    'PERSIST',
    ({ key, round }) => [
      ['SET', key('s'), round, 'EX', 100],
      ['PERSIST', key('s')],
    ],
  ],
  [
    'PEXPIRE',
    ({ key, round }) => [
      ['SET', key('s'), round],
      ['PEXPIRE', key('s'), 5_000_000 + round],
      ['SET', key('brief'), round],
      ['PEXPIRE', key('brief'), 20 + (round % 900)],
    ],
  ],
  [
    'PEXPIREAT',
    ({ key, round, nowMs }) => [
      ['SET', key('s'), round],
      ['PEXPIREAT', key('s'), nowMs + 8_000_000],
      ['SET', key('past'), round],
      ['PEXPIREAT', key('past'), 1],
    ],
  ],
  ['PFADD', ({ key, round }) => [['PFADD', key('p'), round, round * 7]]],
  [
    'PFMERGE',
    ({ key, round }) => [
      ['PFADD', key('p'), round],
      ['PFMERGE', key('merged'), key('p'), key('none')],
      ['PFCOUNT', key('merged')],
    ],
  ],
  [
    'PSETEX',
    ({ key, round }) => [
      ['PSETEX', key('s'), 5_000_000, round],
      ['PSETEX', key('brief'), 10 + (round % 700), round],
    ],
  ],
  [
    'RENAME',
    ({ key, round }) => [
      ['SET', key('a'), round, 'EX', 5_000],
      ['RENAME', key('a'), key('b')],
    ],
  ],
  [
    'RENAMENX',
    ({ key, round }) => [
      ['SET', key('a'), round],
      ['DEL', key('b')],
      ['RENAMENX', key('a'), key('b')],
    ],
  ],
  [
    'RPOP',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, 'x'],
      ['RPOP', key('l')],
    ],
  ],
  [
    'RPOPLPUSH',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, 'x'],
      ['RPOPLPUSH', key('l'), key('l')],
      ['LTRIM', key('l'), 0, 60],
    ],
  ],
  [
    'RPUSH',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, Buffer.from([0, 255, 13, 10])],
      ['LTRIM', key('l'), -60, -1],
    ],
  ],
  [
    'RPUSHX',
    ({ key, round }) => [
      ['RPUSHX', key('none'), 1],
      ['RPUSH', key('l'), 1],
      ['RPUSHX', key('l'), round],
      ['LTRIM', key('l'), 0, 60],
    ],
  ],
  [
    'SADD',
    ({ key, round }) => [
      ['SADD', key('ints'), round % 700],
      ['SADD', key('s'), `m${round % 300}`, round % 50],
    ],
  ],
  [
    'SDIFFSTORE',
    ({ key, round }) => [
      ['SADD', key('a'), round % 90, 'x'],
      ['SADD', key('b'), 'x'],
      ['SDIFFSTORE', key('d'), key('a'), key('b')],
    ],
  ],
  [
    'SET',
    ({ key, round, nowMs }) => [
      ['SET', key('s'), round, 'EX', 4_000],
      ['SET', key('s'), 'PX', 'KEEPTTL'],
      ['SET', key('brief'), round, 'PX', 15 + (round % 800)],
      ['SET', key('x'), round, 'XX'],
      ['SET', key('at'), nowMs, 'PX', 7_000_000, 'NX'],
    ],
  ],
  ['SETBIT', ({ key, round }) => [['SETBIT', key('b'), round % 5_000, round % 2]]],
  [
    'SETEX',
    ({ key, round }) => [
      ['SETEX', key('s'), 4_000, round],
      ['SETEX', key('brief'), 1, round],
    ],
  ],
  ['SETNX', ({ key, round }) => [['SETNX', key(`s${round % 40}`), round]]],
  ['SETRANGE', ({ key, round }) => [['SETRANGE', key('s'), round % 300, `${round}`]]],
  [
    'SINTERSTORE',
    ({ key, round }) => [
      ['SADD', key('a'), round % 9, 'x'],
      ['SADD', key('b'), round % 5, 'x'],
      ['SINTERSTORE', key('d'), key('a'), key('b')],
      ['SINTERSTORE', key('d2'), key('a'), key('none')],
    ],
  ],
  [
    'SMOVE',
    ({ key, round }) => [
      ['SADD', key('a'), round % 30],
      ['SMOVE', key('a'), key('b'), round % 30],
    ],
  ],
  [
    'SORT',
    ({ key, round }) => [
      ['RPUSH', key('l'), round, 3, 1, 2],
      ['SORT', key('l'), 'LIMIT', 0, 30, 'DESC', 'STORE', key('sorted')],
      ['LTRIM', key('l'), -20, -1],
    ],
  ],
  [
    'SPOP',
    ({ key, round }) => [
      ['SADD', key('s'), round, 'a', 'b', 'c'],
      ['SPOP', key('s')],
      ['SPOP', key('s'), 2],
      ['SADD', key('all'), 1, 2],
      ['SPOP', key('all'), 9],
    ],
  ],
  [
    'SREM',
    ({ key, round }) => [
      ['SADD', key('s'), round % 60, 'a'],
      ['SREM', key('s'), 'a', 'none'],
    ],
  ],
  [
    'SUNIONSTORE',
    ({ key, round }) => [
      ['SADD', key('a'), round % 60],
      ['SUNIONSTORE', key('d'), key('a'), key('none')],
    ],
  ],
  [
    'SWAPDB',
    ({ round, key }) => [
      ['SELECT', 6],
      ['SET', key('six'), round],
      ['SELECT', 7],
      ['SET', key('seven'), round],
      ['SWAPDB', 6, 7],
      ['SET', key('swapped'), round],
      ['SELECT', 0],
    ],
  ],
  [
    'UNLINK',
    ({ key, round }) => [
      ['SADD', key('a'), round],
      ['UNLINK', key('a'), key('none')],
    ],
  ],
  [
    'XACK',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 2, 'STREAMS', key('x'), '>'],
      ['XACK', key('x'), 'g', `${round}-1`],
    ],
  ],
  [
    'XADD',
    ({ key, round }) => [
      ['XADD', key('x'), 'MAXLEN', '~', 100, '*', 'f', round, 'g', ''],
      ['XADD', key('exact'), 'MAXLEN', 10, '*', 'f', round],
    ],
  ],
  [
    'XAUTOCLAIM',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', key('x'), '>'],
      ['XAUTOCLAIM', key('x'), 'g', 'other', 0, '0', 'COUNT', 3],
    ],
  ],
  [
    'XCLAIM',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', key('x'), '>'],
      ['XCLAIM', key('x'), 'g', 'other', 0, `${round}-1`, 'RETRYCOUNT', 5],
      ['XCLAIM', key('x'), 'g', 'third', 0, `${round}-1`, 'JUSTID'],
    ],
  ],
  [
    'XDEL',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', key('x'), '>'],
      ['XDEL', key('x'), `${round}-1`],
    ],
  ],
  [
    'XGROUP',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XGROUP', 'CREATE', key('x'), `g${round}`, '$'],
      ['XGROUP', 'SETID', key('x'), 'g', '0'],
      ['XREADGROUP', 'GROUP', 'g', 'gone', 'COUNT', 1, 'STREAMS', key('x'), '>'],
      ['XGROUP', 'DELCONSUMER', key('x'), 'g', 'gone'],
      ['XGROUP', 'DESTROY', key('x'), `g${round}`],
    ],
  ],
  [
    'XGROUP CREATE',
    ({ key, round }) => [
      ['XGROUP', 'CREATE', key(`made${round}`), 'g', '$', 'MKSTREAM'],
      ['XGROUP', 'CREATE', key(`made${round}`), 'h', '0', 'ENTRIESREAD', 3],
    ],
  ],
  [
    'XGROUP CREATECONSUMER',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XGROUP', 'CREATECONSUMER', key('x'), 'g', `c${round % 5}`],
    ],
  ],
  [
    'XGROUP DELCONSUMER',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XREADGROUP', 'GROUP', 'g', 'gone', 'COUNT', 1, 'STREAMS', key('x'), '>'],
      ['XGROUP', 'DELCONSUMER', key('x'), 'g', 'gone'],
    ],
  ],
  [
    'XGROUP DESTROY',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XGROUP', 'CREATE', key('x'), `g${round}`, '$'],
      ['XGROUP', 'DESTROY', key('x'), `g${round}`],
    ],
  ],
  [
    'XGROUP SETID',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XGROUP', 'SETID', key('x'), 'g', '0'],
      ['XGROUP', 'SETID', key('x'), 'g', `${round}-1`, 'ENTRIESREAD', 1],
    ],
  ],
  [
    'XREADGROUP',
    ({ key, round }) => [
      ...streamWithGroup(key, round),
      ['XREADGROUP', 'GROUP', 'g', `c${round % 3}`, 'COUNT', 1, 'STREAMS', key('x'), '>'],
      ['XADD', key('x'), `${round}-3`, 'f', 1],
      ['XREADGROUP', 'GROUP', 'g', 'c', 'NOACK', 'STREAMS', key('x'), '>'],
      ['XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', key('x'), '0'],
    ],
  ],
  [
    'XSETID',
    ({ key, round }) => [
      ['XADD', key('x'), 'MAXLEN', 50, `${round}-1`, 'f', 1],
      ['XSETID', key('x'), `${round}-900`],
    ],
  ],
  ['XTRIM', ({ key, round }) => [...streamWithGroup(key, round), ['XTRIM', key('x'), 'MAXLEN', 5]]],
  [
    'ZADD',
    ({ key, round }) => [
      ['ZADD', key('z'), round / 7, `m${round % 200}`, '-inf', 'low'],
      ['ZADD', key('z'), 'INCR', 0.1, 'n'],
      ['ZADD', key('z'), 'XX', 'CH', -0, 'low'],
    ],
  ],
  [
    'ZDIFFSTORE',
    ({ key, round }) => [
      ['ZADD', key('a'), round, round % 30, 1, 'x'],
      ['ZADD', key('b'), 1, 'x'],
      ['ZDIFFSTORE', key('d'), 2, key('a'), key('b')],
    ],
  ],
  ['ZINCRBY', ({ key }) => [['ZINCRBY', key('z'), 1.1, 'm']]],
  [
    'ZINTERSTORE',
    ({ key, round }) => [
      ['ZADD', key('a'), round, 'x', 2, 'y'],
      ['ZADD', key('b'), 1, 'x'],
      ['ZINTERSTORE', key('d'), 2, key('a'), key('b'), 'WEIGHTS', 1.5, 2, 'AGGREGATE', 'MAX'],
    ],
  ],
  [
    'ZMPOP',
    ({ key, round }) => [
      ['ZADD', key('z'), round, 'a', 2, 'b', 3, 'c'],
      ['ZMPOP', 1, key('z'), 'MIN', 'COUNT', 2],
    ],
  ],
  [
    'ZPOPMAX',
    ({ key, round }) => [
      ['ZADD', key('z'), round, 'a', 2, 'b', 3, 'c'],
      ['ZPOPMAX', key('z'), 2],
    ],
  ],
  [
    'ZPOPMIN',
    ({ key, round }) => [
      ['ZADD', key('z'), round, 'a', 2, 'b'],
      ['ZPOPMIN', key('z')],
    ],
  ],
  [
    'ZRANGESTORE',
    ({ key, round }) => [
      ['ZADD', key('z'), round, `m${round % 40}`],
      ['ZRANGESTORE', key('d'), key('z'), 0, 10],
    ],
  ],
  [
    'ZREM',
    ({ key, round }) => [
      ['ZADD', key('z'), round, 'a', 2, `b${round % 9}`],
      ['ZREM', key('z'), 'a', 'none'],
    ],
  ],
  [
    'ZREMRANGEBYLEX',
    ({ key, round }) => [
      ['ZADD', key('z'), 0, `m${round % 70}`, 0, 'a'],
      ['ZREMRANGEBYLEX', key('z'), '[a', '[b'],
    ],
  ],
  [
    'ZREMRANGEBYRANK',
    ({ key, round }) => [
      ['ZADD', key('z'), round, `m${round % 70}`, -1, 'a'],
      ['ZREMRANGEBYRANK', key('z'), 0, 0],
    ],
  ],
  [
    'ZREMRANGEBYSCORE',
    ({ key, round }) => [
      ['ZADD', key('z'), round, `m${round % 70}`, -1, 'a'],
      ['ZREMRANGEBYSCORE', key('z'), '-inf', '(0'],
    ],
  ],
  [
    'ZUNIONSTORE',
    ({ key, round }) => [
      ['ZADD', key('z'), round, `m${round % 70}`],
      ['ZUNIONSTORE', key('d'), 2, key('z'), key('none'), 'WEIGHTS', 2, 1],
    ],
  ],
]);

function streamWithGroup(key: Round['key'], round: number): readonly Call[] {
  return [
    ['XADD', key('x'), 'MAXLEN', 40, `${round}-1`, 'f', round],
    ['XADD', key('x'), `${round}-2`, 'f', round, 'own', 1],
    // The second time on it says BUSYGROUP.
    ['XGROUP', 'CREATE', key('x'), 'g', '0'],
  ];
}

/** What writes without being said to, and what a client may do besides: also replicated. */
export const OTHER_CALLS: Script = ({ key, round }) => [
  [
    'EVAL',
    "redis.call('SET', KEYS[1], ARGV[1]); redis.call('INCR', KEYS[2]); return redis.call('SPOP', KEYS[3])",
    3,
    key('s'),
    key('n'),
    key('none'),
    round,
  ],
  ['SCRIPT', 'LOAD', `return ${round}`],
  ['PUBLISH', 'channel', `message ${round}`],
  ['SET', key('padded'), round, 'EX', 100],
  ['SUNIONSTORE', key('empty'), key('none')],
];

/** Commands that write and are not called, and why. */
export const NOT_CALLED: ReadonlyMap<string, string> = new Map([
  ['FLUSHALL', 'it would empty what is compared; test/agent/sync/pairs.redis.test.ts follows one'],
  ['MIGRATE', 'it writes to another server; here it leaves a DEL'],
  ['PFDEBUG', 'it is for debugging, and only clients inside the server may be meant by it'],
  ['CLUSTER FLUSHSLOT', 'only clusters have it'],
  ['VADD', 'no Valkey holds vector sets: the sync stops at it'],
  ['VREM', 'no Valkey holds vector sets: the sync stops at it'],
  ['VSETATTR', 'no Valkey holds vector sets: the sync stops at it'],
]);

/** Called with a payload that must be asked for first. */
export const CALLED_WITH_PAYLOAD: ReadonlySet<string> = new Set([
  'RESTORE',
  'RESTORE-ASKING',
  'FUNCTION RESTORE',
]);

/** What a target without expiring hash fields refuses. */
export const EXPIRES_FIELDS: ReadonlySet<string> = new Set([
  'HEXPIRE',
  'HEXPIREAT',
  'HGETEX',
  'HPERSIST',
  'HPEXPIRE',
  'HPEXPIREAT',
  'HSETEX',
]);
