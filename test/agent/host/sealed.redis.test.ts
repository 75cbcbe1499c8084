import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { requestStop } from '../../../src/agent/job/siblings.ts';
import { publicKeyOf } from '../../../src/agent/secret/sealing-key.ts';
import { type Endpoint, sealBinding } from '../../../src/contract/endpoint.ts';
import type { JobRequest } from '../../../src/contract/jobs.ts';
import { sealText } from '../../../src/core/sealing.ts';
import { type HostAgent, openHostAgent } from '../../host-agent.ts';
import { sourceServer, startServer } from '../../servers/start.ts';

const PASSWORD = 'pl4nted$%41';
/** Longer than the test: the job is asked to stop. */
const WATCH_MS = 60_000;

it('a job that outlives its command opens the sealed password, and is adopted although it is sealed anew', async () => {
  await using server = await startServer({
    server: await sourceServer(),
    config: { requirepass: PASSWORD },
  });
  const source: Endpoint = { host: '127.0.0.1', port: server.port, tls: false };
  await using host = await openHostAgent(source, { ...source, port: 1 });
  const watching = async () => {
    const state = await host.until('stragglers', ({ progress }) => progress.stage === 'watching');
    return state.jobId;
  };

  await host.start(watch(host, { endpoint: source, name: 'PASSWORD' }));
  const first = await watching();
  await host.start(watch(host, { endpoint: source, name: 'PASSWORD' }));
  expect(await watching()).toBe(first);
  await host.start(watch(host, { endpoint: source, name: 'ANOTHER' }));
  expect(await watching()).not.toBe(first);

  expect(await filesWith(host.store.directory, PASSWORD)).toEqual([]);
  expect(await filesWith(host.store.directory, '"from":"sealed"')).not.toEqual([]);
  requestStop(host.store, 'stragglers');
  await host.until('stragglers', ({ status }) => status !== 'running');
});

/** A job that runs until it is stopped, with a password that is sealed for it. */
function watch({ store }: HostAgent, { endpoint, name }: { endpoint: Endpoint; name: string }): JobRequest {
  const migration = store.readMigration();
  if (migration === undefined) throw new Error('the migration is not open');
  const publicKey = publicKeyOf(store.directory);
  const sealedBase64 = sealText(PASSWORD, { publicKey, binding: sealBinding({ ...migration, endpoint }) });
  return {
    kind: 'stragglers',
    source: { ...endpoint, password: { from: 'sealed', name, sealedBase64 } },
    watchMs: WATCH_MS,
  };
}

async function filesWith(directory: string, text: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  return files.filter((_, index) => texts[index]?.includes(text));
}
