import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { answerHostCommand, type HostRuntime } from '../../../src/agent/host/commands.ts';
import { openMigrationStore } from '../../../src/agent/job/store.ts';
import { writeTuningRecord } from '../../../src/agent/tune/record.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { Secret } from '../../../src/core/secret.ts';
import { type RunningServer, sourceServer, startServer } from '../../servers/start.ts';
import { endpointOf } from '../cutover/job-context.ts';

const IDENTITY = { migrationId: 'sessions', repository: 'example/shop' };

/** A host with a migration of which a sync that was killed has left the source tuned. */
async function startHost() {
  const stack = new AsyncDisposableStack();
  const source = stack.use(await startServer({ server: await sourceServer() }));
  const stateDirectory = await mkdtemp(join(tmpdir(), 'valkey-migrate-host-'));
  stack.defer(() => rm(stateDirectory, { recursive: true, force: true }));
  const runtime: HostRuntime = {
    stateDirectory,
    agentPath: '/nowhere/index.js',
    supervisor: 'process',
    clock: systemClock,
    signal: new AbortController().signal,
    resolveSecret: async () => new Secret(''),
  };
  const directory = join(stateDirectory, 'migrations', IDENTITY.migrationId);
  writeTuningRecord(directory, {
    source: endpointOf(source),
    settings: [{ name: 'rdbcompression', before: 'yes', set: 'no', span: 'copy' }],
  });
  await source.client().config('SET', 'rdbcompression', 'no');
  return { source, runtime, directory, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function complete(directory: string, source: RunningServer): void {
  openMigrationStore(directory).writeMigration({
    ...IDENTITY,
    route: 'replica',
    source: endpointOf(source),
    target: endpointOf(source),
    createdAtMs: 1,
    completedAtMs: 2,
  });
}

const compression = async (source: RunningServer) =>
  (await source.client().config('GET', 'rdbcompression')).toString();

it('shows in status what the source still has of a sync', async () => {
  await using host = await startHost();
  expect(await answerHostCommand({ command: 'status', ...IDENTITY }, host.runtime)).toMatchObject({
    tuning: {
      sourceAddress: `127.0.0.1:${host.source.port}`,
      settings: [{ name: 'rdbcompression', before: 'yes', set: 'no' }],
    },
  });
});

it('restores the source before it removes what it knows of it, and shows nothing any more', async () => {
  await using host = await startHost();
  const reply = await answerHostCommand({ command: 'remove', ...IDENTITY }, host.runtime);
  expect(reply).not.toHaveProperty('notRestored');
  expect(await compression(host.source)).toBe('rdbcompression,yes');
  expect(await answerHostCommand({ command: 'status', ...IDENTITY }, host.runtime)).not.toHaveProperty(
    'tuning',
  );
});

it('keeps what it knows while the source of an open migration cannot be reached', async () => {
  await using host = await startHost();
  await host.source.stop();
  const remove = answerHostCommand({ command: 'remove', ...IDENTITY }, host.runtime);
  await expect(remove).rejects.toMatchObject({
    code: 'tuning-not-restored',
    message: expect.stringContaining('rdbcompression "yes"'),
  });
  expect(await answerHostCommand({ command: 'status', ...IDENTITY }, host.runtime)).toHaveProperty('tuning');
});

it('goes on without a source that is gone after the migration was completed, and tells what is left', async () => {
  await using host = await startHost();
  complete(host.directory, host.source);
  await host.source.stop();
  expect(await answerHostCommand({ command: 'remove', ...IDENTITY }, host.runtime)).toMatchObject({
    removed: expect.arrayContaining([host.directory]),
    notRestored: expect.stringContaining('rdbcompression "yes"'),
  });
});
