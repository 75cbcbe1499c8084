import { Redis } from 'ioredis';
import { type ServerPlace, startSync } from './sync-run.ts';

// A sync in a process of its own, so that a test can kill it:
// node sync-child.ts <source port> <target port> [folder of the migration]
const [sourcePort, targetPort] = process.argv.slice(2, 4).map(Number);
const directory = process.argv[4];
if (sourcePort === undefined || targetPort === undefined) throw new Error('two ports are needed');
const sync = await startSync({
  source: place(sourcePort),
  target: place(targetPort),
  ...(directory === undefined ? {} : { directory }),
});
await sync.until(({ stage }) => stage === 'live' || stage === 'catching-up');
process.stdout.write('streaming\n');
await sync.ended;

function place(port: number): ServerPlace {
  return { host: '127.0.0.1', port, client: () => new Redis({ host: '127.0.0.1', port }) };
}
