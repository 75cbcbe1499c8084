import { Redis } from 'ioredis';
import { type ServerPlace, startSync } from '../sync/sync-run.ts';

// A sync that tunes its source, in a process that a test can kill: it prints every stage that it enters.
const [sourcePort, targetPort, directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('needed: source port, target port, folder of the migration');
const sync = await startSync({
  source: place(Number(sourcePort)),
  target: place(Number(targetPort)),
  tuneSource: true,
  directory,
});
let stage = '';
await sync.until((progress) => {
  if (progress.stage !== stage) process.stdout.write(`${progress.stage}\n`);
  stage = progress.stage;
  return false;
});

function place(port: number): ServerPlace {
  return { host: '127.0.0.1', port, client: () => new Redis({ host: '127.0.0.1', port }) };
}
