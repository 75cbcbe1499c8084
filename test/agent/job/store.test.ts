import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newJobState } from '../../../src/agent/job/context.ts';
import { openMigrationStore } from '../../../src/agent/job/store.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), 'valkey-migrate-store-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const JOB = { jobId: 'first', startedAtMs: 1000 };

/** The identity of a process that has ended. */
function endedProcess(): { pid: number; startTicks: string } {
  return { pid: spawnSync(process.execPath, ['--version']).pid, startTicks: '1' };
}

describe('the state of a job', () => {
  it('is dead when it says that it runs and its process is gone', () => {
    const store = openMigrationStore(directory);
    store.writeState(newJobState('verify', JOB));
    store.writeProcess('verify', { jobId: JOB.jobId, identity: endedProcess() });
    expect(store.readState('verify')).toMatchObject({ status: 'dead', error: { code: 'job-dead' } });
  });

  it('is the last word of a job that ends between the look at its state and the look at its process', async () => {
    const store = openMigrationStore(directory);
    const file = (name: string) => path.join(directory, 'jobs', 'verify', name);
    const running = newJobState('verify', JOB);
    store.writeState({ ...running, status: 'failed' });
    renameSync(file('state.json'), file('state.last'));
    store.writeState(running);
    store.writeProcess('verify', { jobId: JOB.jobId, identity: endedProcess() });
    renameSync(file('process.json'), file('process.last'));
    // A pipe in its place: whoever opens it for reading is held until the job below has said its last word.
    spawnSync('mkfifo', [file('process.json')]);
    const ending = 'exec 3>process.json; mv state.last state.json; cat process.last >&3';
    const job = spawn('sh', ['-c', ending], { cwd: path.dirname(file('state.json')), timeout: 20_000 });
    const ended = once(job, 'exit');

    expect(store.readState('verify')).toMatchObject({ jobId: 'first', status: 'failed' });
    await ended;
  });
});
