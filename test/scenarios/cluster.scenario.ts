import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { keySlot, SLOT_COUNT } from '../../src/agent/redis/cluster/slots.ts';
import { startWriters } from '../demo/writers.ts';
import type { RunningCluster } from '../servers/cluster.ts';
import { loadDataSet } from '../servers/data-set.ts';
import { digestData, openStage, readSettings, type Stage } from './stage.ts';

const AGENT = join(import.meta.dirname, '..', '..', 'dist', 'agent', 'index.js');
const KEYS = 2000;
const SHARDS = 3;
const GROUP = { group: { clusterEnabled: true, numNodeGroups: SHARDS } };

/** Every phase is a process of its own, beside a cluster that is formed first. */
const TIMEOUT = { timeout: 180_000 };

describe('a migration into a replication group with cluster mode enabled', TIMEOUT, () => {
  it('goes through all phases with live writers and loses no acknowledged write', async () => {
    await using stage = await openStage(GROUP);
    const source = stage.source.client();
    const cluster = clusterOf(stage);
    await loadDataSet(source, { keys: KEYS, seed: 11, databases: [0] });
    // What an application does that is made for a cluster: its keys have one tag.
    await using writers = startWriters(stage.source, '{shop}');

    const preflight = await passing(stage, 'preflight', { route: 'auto', 'canary-write': 'true' });
    expect(preflight.outputs.route).toBe('replica');
    expect(preflight.summary).toContain(`by ${SHARDS} primaries`);
    await passing(stage, 'backup');
    const started = await passing(stage, 'start-migration');
    expect(started.outputs['migration-status']).toBe('live');
    // What it would not do: keys of several slots together.
    await source.mset('plain:1', 'a', 'plain:2', 'b', 'plain:3', 'c');
    await source.rename('plain:1', 'renamed:1');
    await source.sadd('set:1', 'a', 'b');
    await source.sadd('set:2', 'b', 'c');
    await source.sunionstore('set:both', 'set:1', 'set:2');
    await source.del('plain:2', 'plain:3');

    const verified = await passing(stage, 'verify');
    expect(Number(verified.outputs['keys-compared'])).toBeGreaterThanOrEqual(KEYS);
    expect(verified.outputs.differences).toBe('0');
    const completed = await passing(stage, 'complete-migration');
    const owner = await cluster.ownerOf('{shop}');
    writers.moveTo(owner);
    expect(completed.outputs['primary-endpoint']).toBe(`127.0.0.1:${cluster.port}`);
    expect(completed.outputs.differences).toBe('0');
    expect((await passing(stage, 'status')).outputs['migration-status']).toBe('completed');

    await writers.stop();
    const audit = await writers.audit(owner);
    expect(audit).toMatchObject({ lost: 0, doubled: 0 });
    expect(audit.acknowledged).toBeGreaterThan(0);
    expect(await cluster.client().get('renamed:1')).toBe('a');
    expect((await cluster.client().smembers('set:both')).sort()).toEqual(['a', 'b', 'c']);
    await expectPlaced(cluster);
    await expect(source.set('too', 'late')).rejects.toThrow('NOREPLICAS');
  });

  it('is compared from a shell, through any node', async () => {
    await using stage = await openStage(GROUP);
    const source = stage.source.client();
    const cluster = clusterOf(stage);
    for (let index = 0; index < 50; index++) {
      await source.set(`key:${index}`, 'value');
      await cluster.client().set(`key:${index}`, 'value');
    }
    const verify = async (port: number) => {
      const sides = ['--source', `127.0.0.1:${stage.source.port}`, '--target', `127.0.0.1:${port}`];
      const state = ['--state-directory', stage.stateDirectory];
      return promisify(execFile)(process.execPath, [AGENT, 'verify', '--json', ...sides, ...state]);
    };
    for (const { port } of cluster.primaries) {
      const { stdout } = await verify(port);
      expect(JSON.parse(stdout)).toMatchObject({ passed: true, keysCompared: 50 });
    }
    await cluster.client().del('key:7');
    await expect(verify(cluster.port)).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringContaining('"key": "key:7"'),
    });
  });

  it('rolls back to a source exactly as it was found and empty shards', async () => {
    await using stage = await openStage(GROUP);
    await loadDataSet(stage.source.client(), { keys: 300, seed: 12, databases: [0] });
    const found = { settings: await readSettings(stage.source), data: await digestData(stage.source) };
    await passing(stage, 'start-migration');
    await passing(stage, 'rollback', { 'flush-target': 'true' });
    expect({ settings: await readSettings(stage.source), data: await digestData(stage.source) }).toEqual(
      found,
    );
    for (const primary of clusterOf(stage).primaries) {
      expect(await primary.client().dbsize()).toBe(0);
      expect(await primary.client().call('FUNCTION', 'LIST')).toEqual([]);
    }
    await passing(stage, 'start-migration');
  });

  it('is refused before anything is written when the source uses another database', async () => {
    await using stage = await openStage(GROUP);
    await stage.source.client(3).set('key', 'value');
    for (const phase of ['preflight', 'start-migration']) {
      const refused = await stage.run(phase);
      expect(refused.outputs['error-code']).toBe('target-databases-too-few');
    }
    for (const primary of clusterOf(stage).primaries) expect(await primary.client().dbsize()).toBe(0);
  });
});

function clusterOf({ group }: Stage): RunningCluster {
  if (group.cluster === undefined) throw new Error('the group is no cluster');
  return group.cluster;
}

async function passing(stage: Stage, phase: string, inputs: Record<string, string> = {}) {
  const result = await stage.run(phase, { inputs });
  const log = result.exitCode === 0 ? '' : result.log + result.stderr;
  expect({ phase, exitCode: result.exitCode, log }).toEqual({ phase, exitCode: 0, log: '' });
  return result;
}

/** Every primary has keys, all in slots that it owns, and none is ours. */
async function expectPlaced({ primaries }: RunningCluster): Promise<void> {
  const firstSlots = primaries.map((_, index) => Math.floor((index * SLOT_COUNT) / primaries.length));
  for (const [index, primary] of primaries.entries()) {
    const keys = await primary.client().keysBuffer('*');
    expect(keys.length).toBeGreaterThan(0);
    const slots = keys.map((key) => keySlot(key, 0, key.length));
    expect(Math.min(...slots)).toBeGreaterThanOrEqual(firstSlots[index] ?? 0);
    expect(Math.max(...slots)).toBeLessThan(firstSlots[index + 1] ?? SLOT_COUNT);
    expect(keys.filter((key) => key.includes('valkey-migrate')).map(String)).toEqual([]);
  }
}
