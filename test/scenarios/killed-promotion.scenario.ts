import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeFileAtomically } from '../../src/agent/job/files.ts';
import { openMigrationStore } from '../../src/agent/job/store.ts';
import { systemClock } from '../../src/core/clock.ts';
import { findServer } from '../servers/start.ts';
import { openStage, readSettings, type Stage } from './stage.ts';

const NATIVE = { inputs: { route: 'native' } };
const LIMIT_MS = 60_000;

/** Where the action dies, and what must be true once the keeper on the host has nothing left to do. */
const DEATHS: readonly {
  readonly where: string;
  readonly leaves: 'lifted' | 'promoted';
  readonly isThere: (stage: Stage) => boolean;
  /** Whether its request for the promotion gets as far as AWS. */
  readonly isAsked?: boolean;
}[] = [
  {
    where: 'while the host drains and proves',
    leaves: 'lifted',
    isThere: (stage) => stateOf(stage, 'cutover') !== undefined,
  },
  {
    where: 'behind the proof',
    leaves: 'lifted',
    isThere: (stage) => stateOf(stage, 'cutover') === 'succeeded',
  },
  {
    where: 'behind its decision, before its request gets to AWS',
    leaves: 'lifted',
    isThere: (stage) => existsSync(fileOf(stage, 'cutover-decision.json')),
  },
  {
    where: 'while ElastiCache promotes',
    leaves: 'promoted',
    isThere: ({ simulator }) => simulator.calls.some(({ operation }) => operation === 'CompleteMigration'),
    isAsked: true,
  },
  {
    where: 'behind the promotion, before its last word to the host',
    leaves: 'promoted',
    isThere: ({ group }) => group.status === 'available',
    isAsked: true,
  },
];

describe('an action of the native route that is killed', () => {
  it.each(DEATHS)(
    '$where leaves no half: $leaves',
    async ({ isThere, isAsked = false, leaves }) => {
      await using stage = await verifiedNative();
      const settings = await readSettings(stage.source);
      const unasked = { operation: 'CompleteMigration', drop: 'request', times: 1000 } as const;
      const fault = isAsked ? undefined : stage.simulator.faults.inject(unasked);
      const kill = new AbortController();
      const killed = stage.run('complete-migration', { ...NATIVE, kill: kill.signal });
      await until(() => isThere(stage));
      kill.abort();
      expect((await killed).exitCode).toBeNull();
      fault?.withdraw();
      await until(() => stateOf(stage, 'cutover') === 'succeeded');
      if (leaves === 'promoted') await until(() => stage.group.status === 'available');
      await letTimePass(stage);

      if (leaves === 'lifted') {
        expect(await readSettings(stage.source)).toBe(settings);
        await stage.source.client().set('after', 'it');
        await untilAsync(async () => (await stage.group.node.client().get('after')) === 'it');
      } else {
        await expect(stage.source.client().set('after', 'it')).rejects.toThrow('NOREPLICAS');
      }
      const again = await stage.run('complete-migration', NATIVE);
      expect({ exitCode: again.exitCode, log: again.exitCode === 0 ? '' : again.log }).toEqual({
        exitCode: 0,
        log: '',
      });
      expect(again.outputs['migration-status']).toBe('completed');
      expect(stage.group.status).toBe('available');
      await expect(stage.source.client().set('too', 'late')).rejects.toThrow('NOREPLICAS');
      expect((await stage.group.node.client().keys('*')).sort()).toEqual(
        (await stage.source.client().keys('*')).sort(),
      );
    },
    180_000,
  );

  it('while ElastiCache promotes does not keep a second run from waiting for the same promotion', async () => {
    await using stage = await verifiedNative();
    const kill = new AbortController();
    const killed = stage.run('complete-migration', { ...NATIVE, kill: kill.signal });
    await until(() => stage.simulator.calls.some(({ operation }) => operation === 'CompleteMigration'));
    kill.abort();
    await killed;
    expect(stage.group.status).not.toBe('available');
    const again = await stage.run('complete-migration', NATIVE);
    expect({ exitCode: again.exitCode, log: again.exitCode === 0 ? '' : again.log }).toEqual({
      exitCode: 0,
      log: '',
    });
    expect(stage.group.status).toBe('available');
  }, 180_000);
});

async function verifiedNative(): Promise<Stage> {
  const stage = await openStage({
    source: await findServer({ kind: 'redis', version: '7.0' }),
    timing: { completingMs: 3000 },
  });
  await stage.source.client().mset('a', '1', 'b', '2');
  for (const phase of ['start-migration', 'verify']) {
    const result = await stage.run(phase, NATIVE);
    if (result.exitCode !== 0) throw new Error(result.log);
  }
  return stage;
}

/** Ends the time for which the keeper leaves the fence to the action, and sees the keeper through. */
async function letTimePass(stage: Stage): Promise<void> {
  expect(JSON.parse(readFileSync(fileOf(stage, 'cutover-lease.json'), 'utf8')).untilMs).toBeGreaterThan(
    Date.now(),
  );
  writeFileAtomically(fileOf(stage, 'cutover-lease.json'), JSON.stringify({ untilMs: 0 }));
  await until(() => stateOf(stage, 'keeper') === 'succeeded');
}

const storeOf = ({ stateDirectory }: Stage) =>
  openMigrationStore(join(stateDirectory, 'migrations', 'sessions'));

const fileOf = (stage: Stage, name: string) => join(storeOf(stage).directory, name);

const stateOf = (stage: Stage, kind: 'cutover' | 'keeper') => storeOf(stage).readState(kind)?.status;

const until = (condition: () => boolean) => untilAsync(async () => condition());

async function untilAsync(condition: () => Promise<boolean>): Promise<void> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  while (!(await condition())) await systemClock.sleep(20, signal);
}
