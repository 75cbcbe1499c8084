import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CONTRACT_VERSION } from '../../../src/contract/version.ts';

/**
 * Writes an agent that answers only hello and status, keeps its last request in `last-request.json` of its state
 * directory and its environment in `environment.json`, and misbehaves as a file `behaviour` there says. `ballast`
 * makes it larger by bytes that do not compress.
 */
export async function writeStandInAgent(directory: string, { ballastBytes = 0 } = {}): Promise<string> {
  const path = join(directory, 'agent.mjs');
  const ballast = randomBytes(ballastBytes).toString('base64');
  await writeFile(path, `${SOURCE}\n// ${ballast}\n`);
  return path;
}

const SOURCE = `
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
const [verb, flag, encoded] = process.argv.slice(2);
if (verb !== 'host' || flag !== '--state-directory-base64') throw new Error('unknown command line');
const directory = Buffer.from(encoded, 'base64').toString();
const request = JSON.parse(readFileSync(0, 'utf8'));
writeFileSync(join(directory, 'last-request.json'), JSON.stringify(request));
writeFileSync(join(directory, 'environment.json'), JSON.stringify(process.env));
const file = join(directory, 'behaviour');
const behaviour = existsSync(file) ? readFileSync(file, 'utf8') : '';
const answer = (body) => process.stdout.write(JSON.stringify({ contractVersion: ${CONTRACT_VERSION}, ...body }) + '\\n');
const replies = {
  hello: { contractVersion: ${CONTRACT_VERSION}, nodeVersion: process.version, hostname: 'stand-in', supervisor: 'process',
    freeDiskBytes: 1, freeMemoryBytes: 1 },
  status: { jobs: [] },
};
if (request.command.command === 'hello' || behaviour === '') answer({ ok: true, reply: replies[request.command.command] });
else if (behaviour === 'chatty') process.stdout.write('x'.repeat(30_000));
else if (behaviour === 'flooding') process.stdout.write('x'.repeat(3_000_000));
else if (behaviour === 'failing') { process.stderr.write('disk is full'); process.exitCode = 3; }
else if (behaviour === 'refusing') answer({ ok: false, error: { code: 'migration-conflict', message: 'Held by another.',
  remedy: 'End the other one.', retryable: false } });
else if (behaviour === 'older') answer({ ok: true, contractVersion: 0, reply: {} });
else if (behaviour === 'hanging') { setInterval(() => {}, 1000); writeFileSync(join(directory, 'hangs'), ''); }
`;
