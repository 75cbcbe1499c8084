/** One argument of a command; strings are sent as UTF-8. */
export type Argument = string | Buffer | number;

/** A command: its name, the key, further arguments. */
export type DataSetCommand = readonly [name: string, ...args: Argument[]];

/** One key of the data set: the commands that make it, in order, and what the counts need. */
export type DataSetEntry = {
  readonly commands: readonly DataSetCommand[];
  /** As TYPE answers. */
  readonly type: 'string' | 'hash' | 'list' | 'set' | 'zset' | 'stream';
  readonly hasTtl: boolean;
  readonly fieldsWithTtl: number;
  /** Roughly what the commands weigh on the wire. */
  readonly bytes: number;
};

type Source = { readonly random: () => number; readonly hashFieldTtls: boolean };
type Content = { commands: DataSetCommand[]; type: DataSetEntry['type']; fieldsWithTtl?: number };
type Maker = (key: Buffer, index: number, source: Source) => Content;

const KEYS_WITH_TTL_SHARE = 0.2;
const ONE_HOUR_S = 3_600;

/** Makes the key of this index; keys of different indexes never have the same name. */
export function makeEntry(index: number, source: Source): DataSetEntry {
  const key = makeKey(index);
  const { commands, type, fieldsWithTtl = 0 } = chooseMaker(index)(key, index, source);
  const hasTtl = source.random() < KEYS_WITH_TTL_SHARE;
  // Hours, not minutes: no key of the data set may expire while a test looks at it.
  if (hasTtl) commands.push(['EXPIRE', key, ONE_HOUR_S * 2 + Math.floor(source.random() * ONE_HOUR_S * 100)]);
  const bytes = commands.reduce((sum, [, ...args]) => sum + weigh(args), 0);
  return { commands, type, hasTtl, fieldsWithTtl, bytes };
}

function weigh(args: readonly Argument[]): number {
  return args.reduce<number>((sum, arg) => sum + (typeof arg === 'number' ? 8 : arg.length) + 8, 16);
}

/** Names as they occur: plain, with hash tags, UTF-8, blanks and line ends, bytes that are no text, and the empty one. */
function makeKey(index: number): Buffer {
  if (index === 0) return Buffer.alloc(0);
  switch (index % 20) {
    case 3:
      return Buffer.from(`cart:{user-${index}}:items`);
    case 7:
      return Buffer.from(`привет:キー:é:${index}`);
    case 11:
      return Buffer.from(`line\r\nend "quoted" 'and' \\ ${index}\n`);
    case 13:
      return Buffer.concat([Buffer.from([0, 0xff, 0xfe, 0x80, 0xc3, 0x28]), Buffer.from(String(index))]);
    case 17:
      return Buffer.from(`{}:${index}:{`);
    default:
      return Buffer.from(`item:${index}`);
  }
}

/** What each of a hundred neighbouring keys is. Large ones are few, since each holds thousands of members. */
function chooseMaker(index: number): Maker {
  if (index % LARGE_EVERY === 150)
    return LARGE[Math.floor(index / LARGE_EVERY) % LARGE.length] ?? makeQuicklist;
  const slot = (index * 37) % 100;
  return TABLE.find(([below]) => slot < below)?.[1] ?? makeText;
}

const makeText: Maker = (key, index, { random }) => {
  const value = `{"id":${index},"name":"name-${index}","score":${random()}}`;
  return { commands: [['SET', key, value]], type: 'string' };
};

const makeInteger: Maker = (key, index, { random }) => {
  const value = [0, -1, 127, -32_769, 2_147_483_648, '9223372036854775807', '-9223372036854775808'][
    index % 7
  ];
  return { commands: [['SET', key, value ?? Math.floor(random() * 1e9)]], type: 'string' };
};

/** Repetitive beyond 20 bytes, so the server writes it LZF-compressed into its RDB. */
const makeCompressible: Maker = (key, index) => {
  return {
    commands: [['SET', key, `compressible-${index % 10};`.repeat(20 + (index % 50))]],
    type: 'string',
  };
};

const makeBinary: Maker = (key, index, { random }) => {
  return { commands: [['SET', key, makeBytes(40 + (index % 200), random)]], type: 'string' };
};

const makeEmptyString: Maker = (key) => ({ commands: [['SET', key, '']], type: 'string' });

const makeLargeString: Maker = (key, _index, { random }) => {
  return { commands: [['SET', key, makeBytes(256 * 1024, random)]], type: 'string' };
};

const makeBitmap: Maker = (key, index) => {
  return {
    commands: [
      ['SETBIT', key, 7 + (index % 1000), 1],
      ['SETBIT', key, 3, 1],
    ],
    type: 'string',
  };
};

const makeHyperLogLog: Maker = (key, index) => {
  const members = Array.from({ length: 1 + (index % 40) }, (_, member) => `visitor-${index * 7 + member}`);
  return { commands: [['PFADD', key, ...members]], type: 'string' };
};

const makeSmallHash: Maker = (key, index, { random, hashFieldTtls }) => {
  const fields = Array.from({ length: 2 + (index % 6) }, (_, field) => [
    `field-${field}`,
    `value-${random()}`,
  ]);
  return withFieldTtls(key, { commands: [['HSET', key, ...fields.flat()]], type: 'hash' }, hashFieldTtls);
};

/** One value beyond 64 bytes turns the hash into a table. */
const makeTableHash: Maker = (key, index, { random, hashFieldTtls }) => {
  const fields: Argument[] = [
    'field-0',
    'x'.repeat(100),
    makeBytes(6, random),
    makeBytes(12, random),
    'number',
    index,
  ];
  return withFieldTtls(key, { commands: [['HSET', key, ...fields]], type: 'hash' }, hashFieldTtls);
};

function withFieldTtls(key: Buffer, content: Content, isAsked: boolean): Content {
  if (!isAsked) return content;
  content.commands.push(['HPEXPIRE', key, 5 * ONE_HOUR_S * 1000, 'FIELDS', 1, 'field-0']);
  return { ...content, fieldsWithTtl: 1 };
}

const makePackedList: Maker = (key, index, { random }) => {
  const members = Array.from({ length: 1 + (index % 8) }, (_, member) =>
    member % 2 ? member : `element-${random()}`,
  );
  return { commands: [['RPUSH', key, ...members]], type: 'list' };
};

/** Beyond 8 kB a list is several nodes; one element beyond 8 kB is a plain node. */
const makeQuicklist: Maker = (key, index, { random }) => {
  const members: Argument[] = Array.from({ length: 30 }, (_, member) => `${member}-`.repeat(100));
  if (index % 3 === 0) members.push(makeBytes(9_000, random));
  return { commands: [['RPUSH', key, ...members]], type: 'list' };
};

const makeIntegerSet: Maker = (key, index) => {
  const widest = ['300', '70000', '9223372036854775807'][index % 3] ?? '300';
  return { commands: [['SADD', key, '-5', String(index % 100), widest]], type: 'set' };
};

const makeSmallSet: Maker = (key, index) => {
  const members = Array.from({ length: 1 + (index % 6) }, (_, member) => `member-${member}`);
  return { commands: [['SADD', key, ...members]], type: 'set' };
};

const makeTableSet: Maker = (key, index, { random }) => {
  return { commands: [['SADD', key, 'y'.repeat(80), makeBytes(10, random), `member-${index}`]], type: 'set' };
};

const SCORES = ['1.1', '-0', 'inf', '-inf', '0.1', '3', '1e300', '-2.5e-10', '9007199254740993'];

const makeSmallSortedSet: Maker = (key, index, { random }) => {
  const members = SCORES.slice(0, 2 + (index % 7)).flatMap((score, member) => [score, `member-${member}`]);
  return { commands: [['ZADD', key, ...members, String(random() * 1000), 'last']], type: 'zset' };
};

/** One member beyond 64 bytes turns the sorted set into a skip list. */
const makeSkipListSortedSet: Maker = (key, _index, { random }) => {
  const members = SCORES.flatMap((score, member) => [score, `member-${member}`]);
  return {
    commands: [['ZADD', key, ...members, '1.1', 'z'.repeat(80), '7', makeBytes(8, random)]],
    type: 'zset',
  };
};

const makeGeo: Maker = (key, index, { random }) => {
  const places = Array.from({ length: 1 + (index % 4) }, (_, place) => [
    (random() * 360 - 180).toFixed(6),
    (random() * 170 - 85).toFixed(6),
    `place-${place}`,
  ]);
  return { commands: [['GEOADD', key, ...places.flat()]], type: 'zset' };
};

/** Entries of two shapes, a deleted one, a group with read and acknowledged entries, and a group that read nothing. */
const makeStream: Maker = (key, index) => {
  const entries = Array.from({ length: 4 + (index % 5) }, (_, entry): DataSetCommand => {
    const fields =
      entry % 3 === 2 ? ['event', 'other', 'extra', index] : ['event', `login-${entry}`, 'user', entry];
    return ['XADD', key, `1700000000${String(entry).padStart(3, '0')}-${entry}`, ...fields];
  });
  const commands: DataSetCommand[] = [
    ...entries,
    ['XDEL', key, '1700000000001-1'],
    ['XGROUP', 'CREATE', key, 'workers', '0'],
    ['XREADGROUP', 'GROUP', 'workers', 'worker-1', 'COUNT', 2, 'STREAMS', key, '>'],
    ['XREADGROUP', 'GROUP', 'workers', 'worker-2', 'COUNT', 1, 'STREAMS', key, '>'],
    ['XACK', key, 'workers', '1700000000000-0'],
    ['XGROUP', 'CREATE', key, 'idle', '$'],
  ];
  return { commands, type: 'stream' };
};

/** A stream whose only entry is gone: an empty one, which still has a last id and a group. */
const makeEmptyStream: Maker = (key) => {
  const commands: DataSetCommand[] = [
    ['XADD', key, '1700000000000-5', 'gone', 'soon'],
    ['XGROUP', 'CREATE', key, 'waiting', '0'],
    ['XDEL', key, '1700000000000-5'],
  ];
  return { commands, type: 'stream' };
};

const LARGE_MEMBERS = 2_000;
const LARGE_EVERY = 2_500;

/** A collection of thousands of members, sent as few commands. */
function makeLarge(type: Content['type'], name: string, argumentsOf: (member: number) => Argument[]): Maker {
  return (key) => {
    const commands: DataSetCommand[] = [];
    for (let from = 0; from < LARGE_MEMBERS; from += 500) {
      const members = Array.from({ length: 500 }, (_, offset) => argumentsOf(from + offset));
      commands.push([name, key, ...members.flat()]);
    }
    return { commands, type };
  };
}

const makeLargeStream: Maker = (key) => {
  const commands = Array.from({ length: LARGE_MEMBERS }, (_, entry): DataSetCommand => {
    return ['XADD', key, `1700000000000-${entry + 1}`, 'sequence', entry];
  });
  commands.push(['XGROUP', 'CREATE', key, 'readers', '0']);
  commands.push(['XREADGROUP', 'GROUP', 'readers', 'reader', 'COUNT', 500, 'STREAMS', key, '>']);
  return { commands, type: 'stream' };
};

const LARGE: readonly Maker[] = [
  makeLarge('hash', 'HSET', (member) => [`field-${member}`, `value-${member}`]),
  makeLarge('zset', 'ZADD', (member) => [member / 7, `member-${member}`]),
  makeLarge('set', 'SADD', (member) => [`member-${member}`]),
  makeLarge('list', 'RPUSH', (member) => [`element-${member}`]),
  makeLargeStream,
  makeLargeString,
  makeLarge('set', 'SADD', (member) => [member * 3]),
];

/** Slots of a hundred, each maker up to (not including) its bound. */
const TABLE: readonly (readonly [below: number, maker: Maker])[] = [
  [28, makeText],
  [34, makeInteger],
  [42, makeCompressible],
  [47, makeBinary],
  [48, makeEmptyString],
  [50, makeBitmap],
  [51, makeHyperLogLog],
  [61, makeSmallHash],
  [66, makeTableHash],
  [73, makePackedList],
  [74, makeQuicklist],
  [78, makeIntegerSet],
  [82, makeSmallSet],
  [85, makeTableSet],
  [91, makeSmallSortedSet],
  [94, makeSkipListSortedSet],
  [96, makeGeo],
  [99, makeStream],
  [100, makeEmptyStream],
];

function makeBytes(length: number, random: () => number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  // Four at a time: random bytes are most of what a large value costs.
  for (let at = 0; at < length; at += 4) {
    const word = (random() * 4_294_967_296) >>> 0;
    for (let byte = 0; byte < 4 && at + byte < length; byte++)
      bytes[at + byte] = (word >>> (8 * byte)) & 0xff;
  }
  return bytes;
}
