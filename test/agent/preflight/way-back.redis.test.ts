import { describe, expect, it } from 'vitest';
import { runPreflight } from '../../../src/agent/preflight/job.ts';
import type { Finding } from '../../../src/contract/finding.ts';
import type { TargetFacts } from '../../../src/contract/jobs.ts';
import { startCluster } from '../../servers/cluster.ts';
import { findServer, type RunningServer, startServer } from '../../servers/start.ts';
import { endpointOf, jobContext } from '../cutover/job-context.ts';

const OWN_GROUP = { parameterGroup: 'sessions-valkey', notifyKeyspaceEvents: '' };

describe('preflight with a way back', () => {
  it('finds all that it needs, and says what start-migration will set', async () => {
    await using source = await startOld();
    await using target = await startNew();
    const findings = await examine({ source, target });
    expect(failuresOf(findings)).toEqual([]);
    expect(codesOf(findings)).toEqual(
      expect.arrayContaining([
        'way-back-version',
        'way-back-fence',
        'way-back-permissions',
        'way-back-notifications-set',
      ]),
    );
    // Redis 7.0 knows no expiry times of hash fields, and Valkey 9 does.
    expect(codesOf(findings)).toContain('way-back-hash-fields');
  });

  it('says nothing of it to somebody who wants none', async () => {
    await using source = await startOld();
    await using target = await startNew();
    const findings = await examine({ source, target, reverse: false });
    expect(codesOf(findings).filter((code) => code.startsWith('way-back'))).toEqual([]);
  });

  it.each([
    [{ parameterGroup: 'default.valkey9', notifyKeyspaceEvents: '' }, 'parameter-group-unmodifiable'],
    [{ parameterGroup: 'default.valkey9', notifyKeyspaceEvents: 'EA' }, undefined],
    [{ parameterGroup: 'own', notifyKeyspaceEvents: 'KEg$lshzxet' }, undefined],
  ])('judges the parameter group %j', async (facts, failure) => {
    await using source = await startOld();
    await using target = await startNew();
    expect(failuresOf(await examine({ source, target, facts }))).toEqual(
      failure === undefined ? [] : [failure],
    );
  });

  it('warns where the parameter group could not be read', async () => {
    await using source = await startOld();
    await using target = await startNew();
    expect(codesOf(await examine({ source, target, facts: {} }))).toContain('way-back-notifications-unknown');
  });

  it.each([['-acl'], ['-acl|setuser'], ['-acl|deluser']])(
    'is ruled out at a source that lets nobody make users: %s',
    async (rule) => {
      await using source = await startOld();
      await using target = await startNew();
      await source.client().call('ACL', 'SETUSER', 'default', rule);
      const findings = await examine({ source, target });
      expect(failuresOf(findings)).toEqual(['way-back-impossible']);
      expect(findings.find(({ code }) => code === 'way-back-impossible')?.remedy).toContain('+acl|deluser');
    },
  );

  it('names what the user at the target may not do', async () => {
    await using source = await startOld();
    await using target = await startNew();
    await target.client().call('ACL', 'SETUSER', 'default', '-psubscribe', '-client|pause');
    const findings = await examine({ source, target });
    expect(failuresOf(findings)).toEqual(['way-back-impossible']);
    const found = findings.find(({ code }) => code === 'way-back-impossible');
    expect(found?.detail).toBe('The user may not run PSUBSCRIBE, CLIENT PAUSE.');
  });

  it('is ruled out at a target with cluster mode enabled', async () => {
    await using source = await startOld();
    const server = await findServer({ kind: 'valkey', version: '9' });
    await using cluster = await startCluster({ server, primaries: 3 });
    const [target] = cluster.primaries;
    if (target === undefined) throw new Error('a cluster without a primary');
    expect(failuresOf(await examine({ source, target }))).toContain('way-back-impossible');
  });

  it('is ruled out at a source in cluster mode', async () => {
    const server = await findServer({ kind: 'redis', version: '7.0' });
    await using cluster = await startCluster({ server, primaries: 3 });
    await using target = await startNew();
    const [source] = cluster.primaries;
    if (source === undefined) throw new Error('a cluster without a primary');
    const findings = await examine({ source, target });
    expect(failuresOf(findings)).toEqual(['way-back-impossible']);
    const found = findings.find(({ code }) => code === 'way-back-impossible');
    expect(found?.detail).toContain('standalone server only');
  });

  it('warns of a source that evicts', async () => {
    await using source = await startOld({ maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' });
    await using target = await startNew();
    expect(codesOf(await examine({ source, target }))).toContain('way-back-eviction');
  });
});

async function startOld(config: Record<string, string> = {}): Promise<RunningServer> {
  return startServer({ server: await findServer({ kind: 'redis', version: '7.0' }), config });
}

async function startNew(): Promise<RunningServer> {
  return startServer({ server: await findServer({ kind: 'valkey', version: '9' }) });
}

async function examine({
  source,
  target,
  reverse = true,
  facts = OWN_GROUP,
}: {
  source: RunningServer;
  target: RunningServer;
  reverse?: boolean;
  facts?: Partial<TargetFacts>;
}): Promise<readonly Finding[]> {
  const targetFacts = {
    engine: 'valkey',
    engineVersion: target.server.version,
    transitEncryption: true,
    multiAz: true,
    clusterMode: false,
    status: 'available',
    ...facts,
  };
  const { findings } = await runPreflight(
    {
      kind: 'preflight',
      source: endpointOf(source),
      target: endpointOf(target),
      route: 'replica',
      targetFacts,
      allowNativeRdbVersion: false,
      canaryWrite: false,
      flushTarget: false,
      reverse,
    },
    jobContext({ directory: source.directory }),
  );
  return findings;
}

function codesOf(findings: readonly Finding[]): string[] {
  return findings.map(({ code }) => code);
}

function failuresOf(findings: readonly Finding[]): string[] {
  return codesOf(findings.filter(({ status }) => status === 'fail'));
}
