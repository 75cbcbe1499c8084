import net from 'node:net';
import process from 'node:process';

// node raw-forwarder.ts <source port> <target port>: becomes a replica of an empty source and writes what follows to
// the target as it is, with as little work as can be. A program of the bench, for comparison only: it keeps no
// checkpoint, opens no transaction, skips the RDB, and looks at replies only as far as that none is an error.

const HOST = '127.0.0.1';
const ACK_MS = 1_000;
const MINUS = 45;
const [sourcePort, targetPort] = process.argv.slice(2).map(Number);
if (sourcePort === undefined || targetPort === undefined) throw new Error('two ports are needed');
forward(sourcePort, targetPort);

function forward(fromPort: number, toPort: number): void {
  const source = net.connect({ host: HOST, port: fromPort, noDelay: true });
  const target = net.connect({ host: HOST, port: toPort, noDelay: true });
  for (const socket of [source, target]) socket.once('close', () => fail('a connection was closed'));
  target.on('data', (replies: Buffer) => {
    if (replies[0] === MINUS || replies.includes('\n-')) fail(`refused: ${replies.subarray(0, 200)}`);
  });
  let received: number | undefined;
  let head = Buffer.alloc(0);
  // The answer to REPLCONF must be out before PSYNC is asked.
  source.once('data', () => source.write('PSYNC ? -1\r\n'));
  source.on('data', (chunk: Buffer) => {
    let passed = chunk;
    if (received === undefined) {
      head = Buffer.concat([head, chunk]);
      const copy = findCopy(head);
      if (copy === undefined) return;
      received = copy.offset;
      passed = head.subarray(copy.end);
    }
    received += passed.length;
    if (passed.length === 0 || target.write(passed)) return;
    source.pause();
    target.once('drain', () => source.resume());
  });
  source.write('REPLCONF capa eof capa psync2\r\n');
  setInterval(() => {
    if (received !== undefined) source.write(`REPLCONF ACK ${received}\r\n`);
  }, ACK_MS);
}

/** The offset of the stream and where it begins: behind the RDB of an empty source, which its mark shows well enough. */
function findCopy(head: Buffer): { offset: number; end: number } | undefined {
  const start = /\+FULLRESYNC \w+ (\d+)\r\n\n*\$EOF:(.{40})\r\n/.exec(head.toString('latin1'));
  if (start?.[2] === undefined) return undefined;
  const mark = head.indexOf(start[2], start.index + start[0].length, 'latin1');
  return mark === -1 ? undefined : { offset: Number(start[1]), end: mark + start[2].length };
}

function fail(reason: string): void {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}
