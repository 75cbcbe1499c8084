import { describe, expect, it } from 'vitest';
import { slotTag } from '../../src/agent/redis/cluster/slots.ts';
import { expectEqual } from '../agent/sync/shards/shard-source.ts';
import { startWriters } from '../demo/writers.ts';
import { type RunningCluster, startCluster } from '../servers/cluster.ts';
import { type RunningServer, sourceServer } from '../servers/start.ts';
import { openStage, readSettings, type Stage } from './stage.ts';

const KEYS = 2000;
const TARGET_SHARDS = 2;
const GROUP = { group: { clusterEnabled: true, numNodeGroups: TARGET_SHARDS } };

/** Every phase is a process of its own, beside two clusters that are formed first. */
const TIMEOUT = { timeout: 240_000 };

describe('a migration of a source in cluster mode', TIMEOUT, () => {
  it('goes through all phases to fewer shards, with live writers at every one, and loses no acknowledged write', async () => {
    await using stage = await openStage(GROUP);
    await using source = await startSource();
    const target = clusterOf(stage);
    await fill(source);
    const tags = source.primaries.map((_, index) => `{${slotTag(5461 * index + 5)}}`);
    const applications = source.primaries.map((primary, index) =>
      startWriters(primary, `${tags[index]}shop`),
    );

    const preflight = await passing(stage, source, 'preflight', { route: 'auto' });
    expect(preflight.outputs.route).toBe('replica');
    expect(preflight.summary).toContain('by 3 primaries');
    const saved = await passing(stage, source, 'backup');
    for (const { port } of source.primaries) expect(saved.summary).toContain(`127.0.0.1:${port} `);
    const started = await passing(stage, source, 'start-migration');
    expect(started.outputs['migration-status']).toBe('live');
    const verified = await passing(stage, source, 'verify');
    expect(Number(verified.outputs['keys-compared'])).toBeGreaterThanOrEqual(KEYS);
    expect(verified.outputs.differences).toBe('0');
    const completed = await passing(stage, source, 'complete-migration');
    expect(completed.outputs.differences).toBe('0');
    expect(completed.report).toMatchObject({ report: { sourceShards: [{}, {}, {}] } });
    expect((await passing(stage, source, 'status')).outputs['migration-status']).toBe('completed');
    await expectEqual(source.primaries, target.primaries);

    for (const [index, writers] of applications.entries()) {
      const owner = await target.ownerOf(tags[index] ?? '');
      writers.moveTo(owner);
      await writers.stop();
      const audit = await writers.audit(owner);
      expect(audit).toMatchObject({ lost: 0, doubled: 0 });
      expect(audit.acknowledged).toBeGreaterThan(0);
    }
    for (const primary of source.primaries) expect(await readSettings(primary)).toContain('1000000');
    for (const primary of target.primaries) expect(await ourKeys(primary)).toEqual([]);
  });

  it('leaves every primary as it was found when the cutover fails, and when it is rolled back', async () => {
    await using stage = await openStage(GROUP);
    await using source = await startSource();
    await fill(source);
    await source.primaries[1]?.client().config('SET', 'min-replicas-max-lag', '7');
    const found = await Promise.all(source.primaries.map(readSettings));
    await passing(stage, source, 'start-migration');
    await passing(stage, source, 'verify');
    // An entry that nothing of the source's stream has made.
    await clusterOf(stage).client().set('stranger', '1');
    const refused = await run(stage, source, 'complete-migration');
    expect(refused.outputs['error-code']).toBe('verification-different');
    expect(await Promise.all(source.primaries.map(readSettings))).toEqual(found);
    await source.client().set('written', 'again');
    await passing(stage, source, 'rollback', { 'flush-target': 'true' });
    expect(await Promise.all(source.primaries.map(readSettings))).toEqual(found);
    for (const primary of clusterOf(stage).primaries) expect(await primary.client().dbsize()).toBe(0);
  });
});

async function startSource(): Promise<RunningCluster> {
  const config = { 'repl-diskless-sync-delay': '0', 'protected-mode': 'no' };
  return startCluster({ server: await sourceServer(), primaries: 3, config });
}

async function fill(source: RunningCluster): Promise<void> {
  const client = source.client();
  const keys = Array.from({ length: KEYS }, (_, index) => index);
  await Promise.all(
    keys.map((key) =>
      key % 3 === 0
        ? client.hset(`hash:${key}`, 'field', key)
        : client.set(`key:${key}`, 'x'.repeat(key % 300), 'PX', 10_000_000 + key),
    ),
  );
}

function clusterOf({ group }: Stage): RunningCluster {
  if (group.cluster === undefined) throw new Error('the group is no cluster');
  return group.cluster;
}

function run(stage: Stage, source: RunningCluster, phase: string, inputs: Record<string, string> = {}) {
  return stage.run(phase, { inputs: { 'source-endpoint': `127.0.0.1:${source.port}`, ...inputs } });
}

async function passing(
  stage: Stage,
  source: RunningCluster,
  phase: string,
  inputs: Record<string, string> = {},
) {
  const result = await run(stage, source, phase, inputs);
  const log = result.exitCode === 0 ? '' : result.log + result.stderr;
  expect({ phase, exitCode: result.exitCode, log }).toEqual({ phase, exitCode: 0, log: '' });
  return result;
}

async function ourKeys(primary: RunningServer): Promise<string[]> {
  return (await primary.client().keys('*')).filter((key) => key.includes('valkey-migrate'));
}
