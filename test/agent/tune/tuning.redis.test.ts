import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runRollback } from '../../../src/agent/cutover/rollback.ts';
import { openClient } from '../../../src/agent/redis/client.ts';
import { describeTuning, readTuningRecord, writeTuningRecord } from '../../../src/agent/tune/record.ts';
import { restoreSource } from '../../../src/agent/tune/restore.ts';
import { openTuning, type Tuning } from '../../../src/agent/tune/source-tuning.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { Secret } from '../../../src/core/secret.ts';
import { listServers } from '../../servers/catalogue.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { accessOf, endpointOf, jobContext, readSettings } from '../cutover/job-context.ts';
import { startSync } from '../sync/sync-run.ts';

/** As somebody may have set them: neither the defaults nor what is set by us. */
const CONFIG = {
  'repl-backlog-size': '3mb',
  'repl-diskless-sync-delay': '1',
  'client-output-buffer-limit': ['normal 1gb 512mb 10', 'replica 200mb 50mb 30', 'pubsub 32mb 8mb 60'],
};
const COPY_SETTINGS = ['rdbcompression', 'repl-diskless-sync', 'repl-diskless-sync-delay'];
const SYNC_SETTINGS = ['client-output-buffer-limit', 'repl-backlog-size'];

/** Redis 5 cannot be slowed down enough to be looked at in its copy. */
const sources = (await listServers()).filter(
  ({ kind, version }) => (kind === 'redis' && version >= '6') || version >= '9',
);

describe.each(sources)('$kind $version', (server) => {
  it('has its own settings again, to the byte: those of the copy after it, the others after the sync', async () => {
    await using source = await startSource(server);
    await using target = await startServer({ server: await targetServer() });
    const before = await readSettings(source);
    await using folder = await makeFolder();
    await using sync = await startSync({ source, target, tuneSource: true, directory: folder.path });
    await sync.until(({ stage }) => stage === 'copying');
    const changed = differing(before, await readSettings(source));
    expect(Object.keys(changed).sort()).toEqual(
      [...SYNC_SETTINGS, ...COPY_SETTINGS.filter((name) => before[name] !== COPIED[name])].sort(),
    );
    expect(changed).toMatchObject({ rdbcompression: 'no', 'repl-diskless-sync-delay': '0' });
    expect(changed['client-output-buffer-limit']).toMatch(
      /^normal 1073741824 536870912 10 slave \d+ \d+ 30 pub/,
    );

    await sync.until(({ stage }) => stage === 'live');
    expect(Object.keys(differing(before, await readSettings(source))).sort()).toEqual(SYNC_SETTINGS);
    expect(describeTuning(folder.path)?.settings.map(({ name }) => name)).toEqual(SYNC_SETTINGS);
    expect(sync.progress()?.notes.join()).toContain('source settings set: rdbcompression no');
    await sync.stop();
    expect(differing(before, await readSettings(source))).toEqual({});
    expect(readdirSync(folder.path)).not.toContain('tuning.json');
  });
});

describe('a source that is scanned', () => {
  it('does not compress while it is copied, and has its own setting again after it', async () => {
    const config = { 'notify-keyspace-events': 'EA' };
    await using source = await startServer({ server: await sourceServer(), config });
    await using target = await startServer({ server: await targetServer() });
    const pipeline = source.client().pipeline();
    for (let index = 0; index < 2_000; index++) pipeline.rpush(`list:${index}`, 'x'.repeat(200), index);
    await pipeline.exec();
    const before = await readSettings(source);
    await using folder = await makeFolder();
    await using sync = await startSync({
      source,
      target,
      route: 'scan',
      tuneSource: true,
      targetCommandsPerSecondMax: 1_000,
      directory: folder.path,
    });
    await sync.until(({ keys }) => keys > 0);
    expect(differing(before, await readSettings(source))).toEqual({ rdbcompression: 'no' });
    expect(describeTuning(folder.path)?.settings).toEqual([
      { name: 'rdbcompression', before: 'yes', set: 'no' },
    ]);

    await sync.until(({ notes }) => notes.includes('source settings restored: rdbcompression'));
    expect(differing(before, await readSettings(source))).toEqual({});
    expect(readdirSync(folder.path)).not.toContain('tuning.json');
    await sync.stop();
  });

  it('has its own setting again when the sync is stopped in its copy', async () => {
    const config = { 'notify-keyspace-events': 'EA' };
    await using source = await startServer({ server: await sourceServer(), config });
    await using target = await startServer({ server: await targetServer() });
    const pipeline = source.client().pipeline();
    for (let index = 0; index < 3_000; index++) pipeline.set(`key:${index}`, index);
    await pipeline.exec();
    const before = await readSettings(source);
    const limits = { tuneSource: true, targetCommandsPerSecondMax: 1_000 };
    await using sync = await startSync({ source, target, route: 'scan', ...limits });
    await sync.until(({ keys }) => keys > 0);
    expect(differing(before, await readSettings(source))).toEqual({ rdbcompression: 'no' });
    await sync.stop().catch(() => {});
    expect(differing(before, await readSettings(source))).toEqual({});
  });
});

describe('a tuned source', () => {
  it('is restored by the next life of a sync that was killed in its copy, and tuned on for the rest', async () => {
    await using source = await startSource();
    await using target = await startServer({ server: await targetServer() });
    await using folder = await makeFolder();
    const before = await readSettings(source);
    await killAt('copying', { source, target, directory: folder.path });
    expect((await readSettings(source)).rdbcompression).toBe('no');
    await using sync = await startSync({ source, target, tuneSource: true, directory: folder.path });
    await sync.until(({ stage }) => stage === 'live');
    expect(Object.keys(differing(before, await readSettings(source))).sort()).toEqual(SYNC_SETTINGS);
    await sync.stop();
    expect(differing(before, await readSettings(source))).toEqual({});
  });

  it('is restored by a next life that does not tune, once that has resumed from the longer backlog', async () => {
    await using source = await startSource();
    await using target = await startServer({ server: await targetServer() });
    await using folder = await makeFolder();
    const before = await readSettings(source);
    await killAt('live', { source, target, directory: folder.path });
    expect(Object.keys(differing(before, await readSettings(source))).sort()).toEqual(SYNC_SETTINGS);
    const pipeline = source.client().pipeline();
    for (let key = 0; key < 100; key++) pipeline.set(`more:${key}`, 'x'.repeat(100_000));
    await pipeline.exec();
    await using sync = await startSync({ source, target, directory: folder.path });
    await sync.until(({ stage }) => stage === 'live');
    expect(sync.log.join()).toContain('resumed at offset');
    expect(differing(before, await readSettings(source))).toEqual({});
  });

  it('gets its buffers again when a sync that was stopped resumes, and nothing for a copy', async () => {
    await using source = await startSource();
    await using target = await startServer({ server: await targetServer() });
    await using folder = await makeFolder();
    const before = await readSettings(source);
    await using first = await startSync({ source, target, tuneSource: true, directory: folder.path });
    await first.until(({ stage }) => stage === 'live');
    await first.stop();
    expect(differing(before, await readSettings(source))).toEqual({});
    await using second = await startSync({ source, target, tuneSource: true, directory: folder.path });
    await second.until(({ stage }) => stage === 'live');
    expect(second.log.join()).toContain('resumed at offset');
    expect(Object.keys(differing(before, await readSettings(source))).sort()).toEqual(SYNC_SETTINGS);
    await second.stop();
    expect(differing(before, await readSettings(source))).toEqual({});
  });

  it('is restored by a rollback after a sync that was killed and never started again', async () => {
    await using source = await startSource();
    await using target = await startServer({ server: await targetServer() });
    await using folder = await makeFolder();
    const before = await readSettings(source);
    await killAt('copying', { source, target, directory: folder.path });
    await source.client().config('SET', 'repl-backlog-size', '5000000');
    const { steps } = await runRollback(
      {
        kind: 'rollback',
        source: endpointOf(source),
        target: endpointOf(target),
        route: 'replica',
        flushTarget: true,
      },
      jobContext({ directory: folder.path }),
    );
    const outcome = steps.find(({ step }) => step === 'restore settings')?.outcome;
    expect(outcome).toContain('restored: rdbcompression');
    expect(outcome).toMatch(
      /left alone: repl-backlog-size is 5000000, neither \d+, as it was set, nor 3145728/,
    );
    expect(differing(before, await readSettings(source))).toEqual({ 'repl-backlog-size': '5000000' });
    expect(readTuningRecord(folder.path)).toBeUndefined();
  });

  it('loses nothing by a restart of the source: what its file says is what it was', async () => {
    await using source = await startSource();
    await using folder = await makeFolder();
    const before = await readSettings(source);
    const { tuning } = tuningOf(source, folder.path);
    await tuning.beforeCopy();
    await source.restart();
    await tuning.beforeCopy();
    expect((await readSettings(source)).rdbcompression).toBe('no');
    await source.restart();
    await tuning.end();
    expect(differing(before, await readSettings(source))).toEqual({});
    expect(readTuningRecord(folder.path)).toBeUndefined();
  });

  it('is as it was when the agent dies between recording a change and making it', async () => {
    await using source = await startSource();
    await using folder = await makeFolder();
    const before = await readSettings(source);
    writeTuningRecord(folder.path, {
      source: endpointOf(source),
      settings: [{ name: 'rdbcompression', before: 'yes', set: 'no', span: 'copy' }],
    });
    expect(await restoreSource(jobContext({ directory: folder.path }))).toEqual({
      restored: ['rdbcompression'],
      leftAlone: [],
    });
    expect(differing(before, await readSettings(source))).toEqual({});
  });

  it('keeps its record while it cannot be reached, and names what the values were', async () => {
    await using source = await startSource();
    await using folder = await makeFolder();
    const { tuning, notes } = tuningOf(source, folder.path);
    await tuning.beforeCopy();
    const record = readTuningRecord(folder.path);
    await source.stop();
    await expect(restoreSource(jobContext({ directory: folder.path }))).rejects.toMatchObject({
      code: 'tuning-not-restored',
      message: expect.stringContaining('rdbcompression "yes"'),
    });
    await tuning.end();
    expect(notes.at(-1)).toBe('the source is not as it was: tuning-not-restored');
    expect(readTuningRecord(folder.path)).toEqual(record);
  });

  it.each([
    ['CONFIG', '-config'],
    ['CONFIG SET', '-config +config|get'],
  ])('is not needed: a sync whose user may not use %s goes on without, and says so', async (_, rule) => {
    await using source = await startSource(undefined, {
      user: ['default on nopass ~* &* +@all', `mover on >hard ~* &* +@all ${rule}`],
    });
    await using target = await startServer({ server: await targetServer() });
    const before = await readSettings(source);
    await using folder = await makeFolder();
    const sourceUser = { username: 'mover', password: 'hard' };
    await using sync = await startSync({
      source,
      target,
      tuneSource: true,
      directory: folder.path,
      sourceUser,
    });
    const { notes } = await sync.until(({ stage }) => stage === 'live');
    expect(notes).toContain('the source is not tuned: source-permission-denied');
    expect(readTuningRecord(folder.path)).toBeUndefined();
    expect(differing(before, await readSettings(source))).toEqual({});
  });

  it('is not touched by a folder that holds the record of another source', async () => {
    await using source = await startSource();
    await using folder = await makeFolder();
    writeTuningRecord(folder.path, {
      source: { host: '127.0.0.1', port: 1, tls: false },
      settings: [{ name: 'rdbcompression', before: 'yes', set: 'no', span: 'copy' }],
    });
    const { tuning, notes } = tuningOf(source, folder.path);
    await tuning.beforeCopy();
    expect(notes).toEqual(['the source is not tuned: tuning-not-restored']);
    await using client = await openClient(accessOf('source', source));
    expect(await client.callText('CONFIG', 'GET', 'rdbcompression')).toContain('yes');
  });
});

/** What the settings of the copy are set to. */
const COPIED: Record<string, string> = {
  rdbcompression: 'no',
  'repl-diskless-sync': 'yes',
  'repl-diskless-sync-delay': '0',
};

/** A source with some keys, whose copy takes a second or two. */
async function startSource(
  server?: Awaited<ReturnType<typeof sourceServer>>,
  config: Readonly<Record<string, readonly string[]>> = {},
): Promise<RunningServer> {
  const source = await startServer({
    server: server ?? (await sourceServer()),
    config: { ...CONFIG, ...config, 'rdb-key-save-delay': '1000' },
  });
  const pipeline = source.client().pipeline();
  for (let key = 0; key < 1_500; key++) pipeline.set(`key:${key}`, 'x'.repeat(2_000));
  await pipeline.exec();
  return source;
}

async function makeFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'valkey-migrate-tune-'));
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

function tuningOf(source: RunningServer, directory: string): { tuning: Tuning; notes: string[] } {
  const notes: string[] = [];
  const tuning = openTuning({
    isWanted: true,
    source: endpointOf(source),
    access: accessOf('source', source),
    sourceBytesPerSecondMax: undefined,
    directory,
    clock: systemClock,
    resolveSecret: async () => new Secret(''),
    log: () => {},
    note: (text) => notes.push(text),
  });
  return { tuning, notes };
}

/** Runs a tuned sync in a process of its own and kills it as soon as it is at the stage. */
async function killAt(
  stage: string,
  { source, target, directory }: { source: RunningServer; target: RunningServer; directory: string },
): Promise<void> {
  const child: ChildProcess = spawn(
    process.execPath,
    [path.join(import.meta.dirname, 'tuned-child.ts'), String(source.port), String(target.port), directory],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  // So long that the copy is not over before the kill arrives, however busy the machine is.
  await source.client().config('SET', 'rdb-key-save-delay', stage === 'copying' ? '20000' : '1000');
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let output = '';
  await new Promise<void>((resolve, reject) => {
    child.once('exit', () => reject(new Error(`the sync ended before it was ${stage}`)));
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.split('\n').includes(stage)) resolve();
    });
  });
  child.kill('SIGKILL');
  await ended;
  await source.client().config('SET', 'rdb-key-save-delay', '1000');
}

function differing(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(Object.entries(after).filter(([name, value]) => before[name] !== value));
}
