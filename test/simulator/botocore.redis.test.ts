import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { findServer } from '../servers/start.ts';
import { startOidcStub } from './oidc-stub.ts';
import { startSimulator } from './start.ts';

const run = promisify(execFile);
const SCRIPT = join(import.meta.dirname, 'botocore-check.py');

/** Every operation that the simulator serves. */
const OPERATIONS = [
  'AddTagsToResource',
  'AssumeRoleWithWebIdentity',
  'CancelCommand',
  'CompleteMigration',
  'CreateSnapshot',
  'DeleteSnapshot',
  'DescribeCacheClusters',
  'DescribeCacheParameters',
  'DescribeEvents',
  'DescribeInstanceInformation',
  'DescribeReplicationGroups',
  'DescribeSnapshots',
  'GetCallerIdentity',
  'GetCommandInvocation',
  'GetParameter',
  'ListCommandInvocations',
  'ListTagsForResource',
  'RemoveTagsFromResource',
  'SendCommand',
  'StartMigration',
  'TestMigration',
];

async function hasBotocore(): Promise<boolean> {
  try {
    await run('python3', ['-c', 'import botocore'], { timeout: 30_000 });
    return true;
  } catch {
    // No python3, or one without the package: the test says so when it is skipped.
    return false;
  }
}

it('botocore finds nothing to complain about in any operation', async (context) => {
  context.skip(!(await hasBotocore()), 'python3 cannot import botocore: pip install botocore');
  await using simulator = await startSimulator();
  await simulator.addInstance();
  await simulator.addReplicationGroup({
    replicationGroupId: 'checked',
    server: await findServer({ kind: 'valkey', version: '8' }),
  });
  simulator.putParameter('/botocore/check', 'value', 'SecureString');
  await using provider = await startOidcStub();
  simulator.addIdentityProvider(provider.issuer, provider.publicKey);
  simulator.addWebIdentityRole('migrate', { trusts: () => true });
  const { url, token } = provider.open({ sub: 'repo:o/r:environment:e' });
  const answer = await fetch(`${url}&audience=sts.amazonaws.com`, {
    headers: { authorization: `bearer ${token}` },
  });
  const identity = z.object({ value: z.string() }).parse(await answer.json()).value;
  const env = { PATH: process.env.PATH, ...simulator.env };
  const { stdout } = await run('python3', [SCRIPT, simulator.url, identity], { env, timeout: 60_000 });
  expect(stdout.trim().split(' ')).toEqual(OPERATIONS);
});
