import { expect, it } from 'vitest';
import { runPreflight } from '../../../src/agent/preflight/job.ts';
import type { JobRequestOf } from '../../../src/contract/jobs.ts';
import type { PreflightReport } from '../../../src/contract/reports.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';

/** What a provider that keeps replication to itself takes away. */
const RENAMED_AWAY = ['PSYNC ""', 'SYNC ""', 'REPLCONF ""', 'CONFIG ""'];

it('chooses scan by itself where PSYNC is refused, and proves by a canary that notifications arrive', async () => {
  await using source = await startSource({ 'notify-keyspace-events': 'EA', 'rename-command': RENAMED_AWAY });
  await source.client(3).set('a', '1');
  const report = await examine(source);
  expect(report.route).toBe('scan');
  expect(failuresOf(report)).toEqual([]);
  expect(findingOf(report, 'notifications')?.detail).toMatch(/arrived, of every type/);
  expect(report.verdicts.find(({ route }) => route === 'replica')?.usable).toBe(false);
  expect(await source.client().dbsize()).toBe(0);
});

it('says what is missing of the notifications, by the setting where it can be read, else by the canary', async () => {
  for (const [setting, renamed, says] of [
    ['""', [], /is "": it sends none at all/],
    ['Kg$lshzxe', [], /none for streams \(t\)/],
    ['Eg$lshx', RENAMED_AWAY, /none for sorted sets \(z\), streams \(t\)/],
    ['""', RENAMED_AWAY, /it sends none at all/],
  ] as const) {
    await using source = await startSource({ 'notify-keyspace-events': setting, 'rename-command': renamed });
    const report = await examine(source, { route: 'scan' });
    expect(report.route).toBeUndefined();
    expect(failuresOf(report)).toEqual(['notifications-missing']);
    const finding = findingOf(report, 'notifications-missing');
    expect(finding?.detail).toMatch(says);
    expect(finding?.remedy).toContain('`notify-keyspace-events` at the source to `EA`');
    expect(await source.client().dbsize()).toBe(0);
  }
});

it('takes notifications by key as well, and sends no canary without leave', async () => {
  await using source = await startSource({ 'notify-keyspace-events': 'KA' });
  const report = await examine(source, { route: 'scan', canaryWrite: false });
  expect(report.route).toBe('scan');
  expect(findingOf(report, 'notifications')?.detail).toContain('notify-keyspace-events is "AK"');
  expect(await source.client().info('commandstats')).not.toMatch(/cmdstat_(set|xadd|multi):/);
});

it('warns where neither the setting can be read nor a canary be sent', async () => {
  await using source = await startSource({ 'notify-keyspace-events': 'EA', 'rename-command': RENAMED_AWAY });
  const report = await examine(source, { route: 'scan', canaryWrite: false });
  expect(report.route).toBe('scan');
  expect(findingOf(report, 'notifications-unknown')?.remedy).toContain('canary-write');
});

it('rules scan out where the user may not read keys', async () => {
  await using source = await startSource({ 'notify-keyspace-events': 'EA' });
  await source.client().call('ACL', 'SETUSER', 'default', '-dump', '-psync');
  const report = await examine(source);
  expect(report.route).toBeUndefined();
  expect(report.verdicts.find(({ route }) => route === 'scan')?.reasons.join()).toContain('may not run DUMP');
});

it('says what tune-source would set on this route, and warns where it has no effect', async () => {
  await using source = await startSource({ 'notify-keyspace-events': 'EA' });
  const would = findingOf(await examine(source, { route: 'scan' }), 'source-tuning');
  expect(would?.detail).toMatch(
    /^With tune-source the sync would set: rdbcompression from "yes" to "no" \([^)]*\)\.$/,
  );
  const wanted = { route: 'scan', tuneSource: true } as const;
  const limited = findingOf(
    await examine(source, { ...wanted, sourceBytesPerSecondMax: 1_000_000 }),
    'source-tuning',
  );
  expect(limited?.detail).toMatch(/^Nothing to set: rdbcompression stays \(the copy is limited/);
  await source.client().config('SET', 'rdbcompression', 'no');
  expect(findingOf(await examine(source, wanted), 'source-tuning')?.detail).toBe('Nothing to set.');
  await source.client().call('ACL', 'SETUSER', 'default', '-config|set');
  expect(findingOf(await examine(source, wanted), 'source-tuning-denied')).toMatchObject({ status: 'warn' });
});

function startSource(config: Record<string, string | readonly string[]>): Promise<RunningServer> {
  return sourceServer().then((server) => startServer({ server, config }));
}

async function examine(
  source: RunningServer,
  change: Partial<JobRequestOf<'preflight'>> = {},
): Promise<PreflightReport> {
  await using target = await startServer({ server: await targetServer() });
  return await runPreflight(
    {
      kind: 'preflight',
      source: endpointOf(source),
      target: endpointOf(target),
      route: 'auto',
      allowNativeRdbVersion: false,
      canaryWrite: true,
      flushTarget: false,
      ...change,
    },
    jobContext({ directory: source.directory }),
  );
}

function failuresOf({ findings }: PreflightReport): string[] {
  return findings.filter(({ status }) => status === 'fail').map(({ code }) => code);
}

function findingOf(
  { findings }: PreflightReport,
  code: string,
): PreflightReport['findings'][number] | undefined {
  return findings.find((finding) => finding.code === code);
}
