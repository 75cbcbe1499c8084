import { expect, it } from 'vitest';
import { runVerifyAndRepair } from '../../../src/agent/repair/job.ts';
import { compareVersions } from '../../servers/server-binary.ts';
import { type RunningServer, sourceServer, startServer, targetServer } from '../../servers/start.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';
import { countersOf, startWriters } from '../sync/fault-run.ts';
import { startSync } from '../sync/sync-run.ts';
import { expectSame } from './expect-same.ts';

/** What a provider keeps to itself. */
const RENAMED_AWAY = ['PSYNC ""', 'SYNC ""', 'REPLCONF ""', 'CONFIG ""', 'DEBUG ""'];
const DENIED = ['-client|pause', '-client|kill', '-psync', '-replconf', '-config', '-@scripting', '-acl'];
const USER = { username: 'mover', password: 'secret' };

it('carries a source that denies all but its data, beside live writers, and ends equal', async () => {
  await using source = await startSource();
  await using target = await startServer({ server: await targetServer() });
  const user = await makeUser(source);
  const writers = startWriters(source);
  await writers.rounds(200);
  await using sync = await startSync({ source, target, route: 'scan', ...user });
  await sync.until(({ stage }) => stage === 'live');
  await writers.rounds(300);
  const counted = await writers.stop();
  await sync.caughtUp();
  expect(await countersOf(target)).toEqual(counted);
  // What no event tells, such as XACK.
  const report = await runVerifyAndRepair(
    {
      kind: 'verify',
      source: endpointOf(source),
      target: endpointOf(target),
      maxDifferences: 0,
      ttlToleranceMs: 1000,
      keyDisplay: 'shown',
      repair: 'differences-and-extras',
    },
    jobContext({ directory: target.directory }),
  );
  expect(report).toMatchObject({ passed: true, differences: { total: 0 } });
  await expectSame(source, target);
});

/** Subcommands can be denied from Redis 7.0 on. */
async function makeUser(source: RunningServer): Promise<{ sourceUser?: typeof USER }> {
  if (compareVersions(source.server.version, '7.0.0') < 0) return {};
  const rules = ['on', `>${USER.password}`, '~*', '&*', '+@all', ...DENIED];
  await source.client().call('ACL', 'SETUSER', USER.username, ...rules);
  return { sourceUser: USER };
}

async function startSource(): Promise<RunningServer> {
  const config = { 'notify-keyspace-events': 'KEA', 'rename-command': RENAMED_AWAY };
  return startServer({ server: await sourceServer(), config });
}
