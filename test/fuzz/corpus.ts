import { encodeCommands } from '../../src/agent/redis/raw-connection.ts';
import type { Corpus } from './campaign.ts';
import { MADE_RDBS, withoutChecksum } from './made-rdbs.ts';

const COMMANDS = encodeCommands([
  ['SELECT', '0'],
  ['set', 'key', 'value', 'PXAT', '1700000000000'],
  ['MULTI'],
  ['LPUSH', 'list', '', 'x'.repeat(300)],
  ['INCR', 'counter'],
  ['EXEC'],
  ['ping'],
  ['REPLCONF', 'GETACK', '*'],
  ['XADD', 'stream', '1-1', 'field', Buffer.from([0, 13, 10, 255])],
]);
const INLINE = Buffer.concat([Buffer.from('\r\n\nPING\r\n'), COMMANDS, Buffer.from('\n')]);
const REPLIES = Buffer.from(
  '+OK\r\n-ERR no\r\n:12\r\n$5\r\nbytes\r\n$-1\r\n*-1\r\n*0\r\n*3\r\n+OK\r\n-WRONGTYPE x\r\n*2\r\n:1\r\n$0\r\n\r\n+QUEUED\r\n',
);

/** What is made by hand; `saved`: RDBs of real servers. */
export function makeCorpus(saved: readonly Buffer[] = []): Corpus {
  const rdbs = [...MADE_RDBS.map(({ rdb }) => rdb), ...saved];
  return {
    // Twice: a checksum that does not fit is only one of the ways in which damage shows.
    rdbs: [...rdbs, ...rdbs.map(withoutChecksum)],
    streams: [COMMANDS, INLINE],
    replies: [REPLIES],
  };
}
