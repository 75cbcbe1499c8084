import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decodeReply, type Host } from '../../../src/action/host/host.ts';
import { type JobRun, runJob } from '../../../src/action/host/job.ts';
import { fetchReport } from '../../../src/action/host/report.ts';
import type { HostCommand } from '../../../src/contract/host-commands.ts';
import type { JobState } from '../../../src/contract/job-state.ts';
import { CONTRACT_VERSION } from '../../../src/contract/version.ts';
import { MigrationError } from '../../../src/core/errors.ts';
import { createHurriedClock } from './hurried-clock.ts';

const REPORT = { kind: 'rollback', steps: [{ step: 'sync', outcome: 'stopped' }] };
const RUNNING: JobState = {
  kind: 'rollback',
  jobId: 'job-1',
  status: 'running',
  startedAtMs: 0,
  updatedAtMs: 0,
  progress: { stage: 'working', keys: 0, keysPerSecond: 0, bytes: 0, bytesPerSecond: 0, notes: [] },
  series: [],
  hasReport: false,
};
const SUCCEEDED: JobState = { ...RUNNING, status: 'succeeded', hasReport: true };

describe('running a job', () => {
  it('waits until it has succeeded and brings its report, page by page', async () => {
    const host = createHost({ states: [RUNNING, RUNNING, SUCCEEDED], pageBytes: 10 });
    const seen: string[] = [];
    const outcome = await runJob(host, { ...run(), onState: (state) => seen.push(state.status) });
    expect(outcome).toEqual({ state: SUCCEEDED, report: REPORT, error: undefined });
    expect(seen).toEqual(['running', 'running', 'running', 'succeeded']);
    expect(host.asked.filter((name) => name === 'report').length).toBeGreaterThan(3);
  });

  it('stops waiting as soon as the goal is reached, and asks for no report', async () => {
    const live: JobState = { ...RUNNING, progress: { ...RUNNING.progress, stage: 'live' } };
    const host = createHost({ states: [RUNNING, live, SUCCEEDED] });
    const outcome = await runJob(host, { ...run(), until: (state) => state.progress.stage === 'live' });
    expect(outcome).toEqual({ state: live, report: undefined, error: undefined });
    expect(host.asked).toEqual(['start', 'status', 'status']);
  });

  it('brings the error of a failed job together with its report', async () => {
    const error = { code: 'sync-lost', message: 'Lost.', remedy: 'Again.', retryable: true } as const;
    const failed: JobState = { ...RUNNING, status: 'failed', hasReport: true, error };
    expect(await runJob(createHost({ states: [failed] }), run())).toMatchObject({ report: REPORT, error });
  });

  it('tells a dead job and a stopped one from a failed one', async () => {
    const dead = await runJob(createHost({ states: [{ ...RUNNING, status: 'dead' }] }), run());
    expect(dead).toMatchObject({ report: undefined, error: { code: 'job-dead' } });
    const stopped = await runJob(createHost({ states: [{ ...RUNNING, status: 'stopped' }] }), run());
    expect(stopped).toMatchObject({ report: undefined, error: { code: 'job-stopped' } });
  });

  it('gives up waiting, not the job, when its time is over', async () => {
    const host = createHost({ states: [RUNNING] });
    await expect(runJob(host, { ...run(), waitTimeoutMs: 60_000 })).rejects.toMatchObject({
      code: 'wait-timeout',
    });
    expect(host.asked).not.toContain('stop');
  });

  it('outlasts polls that fail on the way, and a start whose answer got lost', async () => {
    const lost = new MigrationError('command-undeliverable', 'It got lost.');
    const host = createHost({
      states: [RUNNING, lost, lost, RUNNING, lost, SUCCEEDED],
      startFailures: [lost],
    });
    expect(await runJob(host, run())).toMatchObject({ report: REPORT });
    expect(host.asked.slice(0, 2)).toEqual(['start', 'start']);
  });

  it('gives up when no poll comes through any more', async () => {
    const host = createHost({ states: [new MigrationError('command-undeliverable', 'It got lost.')] });
    await expect(runJob(host, run())).rejects.toMatchObject({ code: 'command-undeliverable' });
    expect(host.asked.filter((name) => name === 'status')).toHaveLength(6);
  });

  it('does not repeat a poll that was refused', async () => {
    const host = createHost({ states: [new MigrationError('migration-conflict', 'Held.')] });
    await expect(runJob(host, run())).rejects.toMatchObject({ code: 'migration-conflict' });
    expect(host.asked).toEqual(['start', 'status']);
  });

  it('does not take the job of somebody else for its own', async () => {
    const host = createHost({ states: [{ ...SUCCEEDED, jobId: 'job-2' }] });
    await expect(runJob(host, run())).rejects.toMatchObject({
      code: 'job-unknown',
      message: expect.stringContaining('job-2'),
    });
  });

  it.each([
    { onCancel: 'keep', asked: ['start'], said: 'goes on on the host' },
    { onCancel: 'stop', asked: ['start', 'stop'], said: 'was asked to stop' },
  ] as const)(
    'when cancelled does what on-cancel $onCancel says, and says which',
    async ({ onCancel, asked, said }) => {
      const cancel = new AbortController();
      const host = createHost({ states: [RUNNING] });
      const lines: string[] = [];
      const cancelled = runJob(host, {
        ...run(),
        onCancel,
        signal: cancel.signal,
        log: (line) => lines.push(line),
        onState: () => cancel.abort(new Error('the run is cancelled')),
      });
      await expect(cancelled).rejects.toThrow('the run is cancelled');
      expect(host.asked).toEqual(asked);
      expect(lines.join('\n')).toContain(said);
    },
  );
});

describe('fetching a report', () => {
  const wanted = {
    migrationId: 'sessions',
    repository: 'octo/shop',
    kind: 'rollback',
    jobId: 'job-1',
  } as const;

  it('refuses one whose checksum is wrong', async () => {
    const host = createHost({ states: [], tamper: (page) => ({ ...page, sha256: '0'.repeat(64) }) });
    await expect(fetchReport(host, wanted)).rejects.toMatchObject({
      code: 'host-reply-malformed',
      message: expect.stringContaining('checksum'),
    });
  });

  it('refuses one that is cut, too long, of another kind or of no known shape', async () => {
    const cut = createHost({
      states: [],
      tamper: (page) => ({ ...page, totalBytes: page.totalBytes + 1, dataBase64: '' }),
    });
    await expect(fetchReport(cut, wanted)).rejects.toMatchObject({ code: 'host-reply-malformed' });
    const long = createHost({ states: [], tamper: (page) => ({ ...page, totalBytes: 5_000_000 }) });
    await expect(fetchReport(long, wanted)).rejects.toMatchObject({
      message: expect.stringContaining('too many'),
    });
    const other = createHost({ states: [], report: { kind: 'unfence', lifted: true } });
    await expect(fetchReport(other, wanted)).rejects.toMatchObject({
      message: expect.stringContaining('unfence job'),
    });
    const strange = createHost({ states: [], report: { kind: 'rollback', steps: 'none' } });
    await expect(fetchReport(strange, wanted)).rejects.toMatchObject({ code: 'host-reply-malformed' });
  });

  it('refuses one that unpacks to more than any report has', async () => {
    const bomb = createHost({
      states: [],
      report: { kind: 'rollback', steps: 'x'.repeat(33 * 1024 * 1024) },
    });
    await expect(fetchReport(bomb, wanted)).rejects.toMatchObject({ code: 'host-reply-malformed' });
  });
});

type Page = { totalBytes: number; sha256: string; dataBase64: string };

type HostScript = {
  /** What the polls say, one after another; the last one stays. */
  states: (JobState | MigrationError)[];
  startFailures?: MigrationError[];
  report?: unknown;
  pageBytes?: number;
  tamper?: (page: Page) => Page;
};

/** A host that plays a script; it remembers the names of the commands. */
function createHost(script: HostScript): Host & { asked: string[] } {
  const {
    states,
    startFailures = [],
    report = REPORT,
    pageBytes = 15_000,
    tamper = (page: Page) => page,
  } = script;
  const packed = gzipSync(JSON.stringify(report));
  const sha256 = createHash('sha256').update(packed).digest('hex');
  const asked: string[] = [];
  let polls = 0;
  const answer = (command: HostCommand): unknown => {
    switch (command.command) {
      case 'start': {
        const failure = startFailures.shift();
        if (failure !== undefined) throw failure;
        return { state: RUNNING, adopted: false };
      }
      case 'status': {
        const state = states[Math.min(polls, states.length - 1)];
        polls += 1;
        if (state instanceof MigrationError) throw state;
        return { jobs: [state] };
      }
      case 'report': {
        const page = packed.subarray(command.offset, command.offset + pageBytes).toString('base64');
        return tamper({ totalBytes: packed.length, sha256, dataBase64: page });
      }
      case 'stop':
        return { state: RUNNING };
      default:
        throw new Error(`The script has no answer to ${command.command}`);
    }
  };
  return {
    asked,
    description: 'a host that plays a script',
    privateAddress: () => undefined,
    call: async (command) => {
      asked.push(command.command);
      const response = { ok: true, contractVersion: CONTRACT_VERSION, reply: answer(command) };
      return decodeReply(command.command, JSON.stringify(response));
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

function run(): JobRun<'rollback'> {
  const endpoint = { host: '127.0.0.1', port: 6379, tls: false };
  return {
    migrationId: 'sessions',
    repository: 'octo/shop',
    job: { kind: 'rollback', source: endpoint, target: endpoint, route: 'replica', flushTarget: false },
    clock: createHurriedClock(),
    signal: new AbortController().signal,
    waitTimeoutMs: 3_600_000,
    onCancel: 'keep',
    log: () => {},
  };
}
