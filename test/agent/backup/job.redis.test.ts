import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runBackup } from '../../../src/agent/backup/job.ts';
import { findServer, type RunningServer, sourceServer, startServer } from '../../servers/start.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';

const back = (running: RunningServer, timeoutMs = 20_000) =>
  runBackup(
    { kind: 'backup', source: endpointOf(running), timeoutMs },
    jobContext({ directory: running.directory }),
  );

describe('a backup of the source', () => {
  it('leaves a file of now, and says where and of how many keys', async () => {
    await using running = await startServer({ server: await sourceServer() });
    await running.client().set('a', '1');
    await running.client(3).set('b', '1');
    const report = await back(running);
    expect(report.keys).toBe(2);
    expect(report.lastSaveAfterMs).toBeGreaterThan(report.lastSaveBeforeMs);
    expect(report.rdbPath).toBe(path.join(running.directory, 'dump.rdb'));
    expect((await stat(report.rdbPath ?? '')).size).toBeGreaterThan(0);
  });

  it('proves two saves in a row, though LASTSAVE counts seconds', async () => {
    await using running = await startServer({ server: await findServer({ kind: 'redis', version: '7.0' }) });
    const first = await back(running);
    const second = await back(running);
    expect(second.lastSaveBeforeMs).toBe(first.lastSaveAfterMs);
    expect(second.lastSaveAfterMs).toBeGreaterThan(first.lastSaveAfterMs);
  });

  it('waits for a save that is already running, and then makes its own', async () => {
    // 200 keys with a pause of 5 ms each: a save of a second.
    const config = { 'rdb-key-save-delay': '5000' };
    await using running = await startServer({
      server: await findServer({ kind: 'redis', version: '7.0' }),
      config,
    });
    const client = running.client();
    await client.mset(Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`key:${i}`, 'v'])));
    await client.bgsave();
    const report = await back(running);
    expect(report.lastSaveAfterMs).toBeGreaterThan(report.lastSaveBeforeMs);
    expect(await client.info('persistence')).toContain('rdb_saves:2');
  });

  it('fails when the source cannot write its file', async () => {
    // The finished file cannot be renamed onto a folder.
    const config = { dbfilename: 'taken.rdb' };
    await using running = await startServer({ server: await sourceServer(), config });
    await mkdir(path.join(running.directory, 'taken.rdb'));
    await expect(back(running)).rejects.toMatchObject({
      code: 'backup-failed',
      message: expect.stringContaining('the status of its last save is err'),
    });
  });

  it('fails when the save takes longer than allowed', async () => {
    const config = { 'rdb-key-save-delay': '1000000' };
    await using running = await startServer({ server: await sourceServer(), config });
    await running.client().mset({ a: '1', b: '1', c: '1', d: '1', e: '1', f: '1', g: '1', h: '1' });
    await expect(back(running, 1500)).rejects.toMatchObject({
      code: 'backup-failed',
      message: expect.stringContaining('its save did not end within 1.5 s'),
    });
  });

  it('leaves the path out where CONFIG is renamed away', async () => {
    const config = { 'rename-command': ['CONFIG ""'] };
    await using running = await startServer({ server: await sourceServer(), config });
    expect(await back(running)).not.toHaveProperty('rdbPath');
  });

  it('names the permission that is missing', async () => {
    const config = { user: ['default on nopass ~* &* +@all -bgsave'] };
    await using running = await startServer({ server: await sourceServer(), config });
    await expect(back(running)).rejects.toMatchObject({
      code: 'source-permission-denied',
      message: expect.stringContaining('BGSAVE'),
    });
  });
});
