import { describe, expect, it } from 'vitest';
import { planTuning, type Tunable } from '../../../src/agent/tune/plan.ts';
import type { TunableSetting } from '../../../src/agent/tune/settings.ts';
import type { SourceLoad } from '../../../src/agent/tune/source-load.ts';

const MB = 1024 * 1024;
const GB = 1024 * MB;

const DEFAULTS: Record<TunableSetting, string> = {
  rdbcompression: 'yes',
  'repl-diskless-sync': 'yes',
  'repl-diskless-sync-delay': '5',
  'client-output-buffer-limit': 'slave 268435456 67108864 60',
  'repl-backlog-size': '1048576',
};

function tunable(
  given: {
    values?: Partial<typeof DEFAULTS>;
    load?: Partial<SourceLoad>;
    sourceBytesPerSecondMax?: number;
  } = {},
): Tunable {
  const named = { ...DEFAULTS, ...given.values };
  const names: TunableSetting[] = [
    'rdbcompression',
    'repl-diskless-sync',
    'repl-diskless-sync-delay',
    'client-output-buffer-limit',
    'repl-backlog-size',
  ];
  return {
    values: new Map(names.map((name) => [name, named[name]])),
    load: {
      usedMemoryBytes: 10 * GB,
      writeBytesPerSecond: 1 * MB,
      freeMemoryBytes: 16 * GB,
      latencyMs: 0.3,
      ...given.load,
    },
    sourceBytesPerSecondMax: given.sourceBytesPerSecondMax,
  };
}

const setBy = (given: Parameters<typeof tunable>[0]) =>
  Object.fromEntries(planTuning(tunable(given)).settings.map(({ name, set }) => [name, set]));
const leftBy = (given: Parameters<typeof tunable>[0]) =>
  Object.fromEntries(planTuning(tunable(given)).left.map(({ name, reason }) => [name, reason]));

describe('the plan for a source', () => {
  it('makes a copy faster and gives it room, the buffers until the end of the sync', () => {
    const plan = planTuning(tunable());
    expect(plan.settings.map(({ name, set, span }) => [name, set, span])).toEqual([
      ['rdbcompression', 'no', 'copy'],
      ['repl-diskless-sync-delay', '0', 'copy'],
      // 1 MiB/s for the 210 s that 10 GiB take, four times, as a power of two.
      ['client-output-buffer-limit', `slave ${GB} ${GB} 60`, 'sync'],
      ['repl-backlog-size', String(128 * MB), 'sync'],
    ]);
    expect(plan.left).toEqual([]);
    expect(plan.tunedCopyMs).toBeLessThan(plan.copyMs);
  });

  it('changes nothing that already is as it should be, and lowers nothing', () => {
    const values = {
      rdbcompression: 'no',
      'repl-diskless-sync-delay': '0',
      'client-output-buffer-limit': 'slave 0 0 0',
      'repl-backlog-size': String(GB),
    };
    expect(planTuning(tunable({ values }))).toMatchObject({ settings: [], left: [] });
    const oneLimit = { 'client-output-buffer-limit': `slave 0 ${MB} 7` };
    expect(setBy({ values: oneLimit })['client-output-buffer-limit']).toBe(`slave 0 ${GB} 7`);
  });

  it('keeps the compression where bytes are what is scarce, and says so', () => {
    expect(leftBy({ sourceBytesPerSecondMax: 10_000_000 }).rdbcompression).toContain('limited');
    expect(leftBy({ load: { latencyMs: 40 } }).rdbcompression).toContain('far (40.0 ms)');
    expect(setBy({ sourceBytesPerSecondMax: 10_000_000 })).not.toHaveProperty('rdbcompression');
  });

  it('counts with the longer copy of a limited rate', () => {
    const slow = setBy({ sourceBytesPerSecondMax: 10 * MB });
    expect(slow['client-output-buffer-limit']).toBe(`slave ${4 * GB} ${4 * GB} 60`);
    expect(planTuning(tunable({ sourceBytesPerSecondMax: 10 * MB })).copyMs).toBe(1_024_000 + 5_000);
  });

  it('takes no more than a share of the memory that is free', () => {
    const load = { writeBytesPerSecond: 100 * MB, freeMemoryBytes: 3 * GB };
    expect(setBy({ load })).toMatchObject({
      'client-output-buffer-limit': `slave ${512 * MB} ${512 * MB} 60`,
      'repl-backlog-size': String(256 * MB),
    });
  });

  it.each([0, 5 * MB, undefined])('leaves the buffers alone with %s of memory free', (freeMemoryBytes) => {
    const load = { freeMemoryBytes };
    expect(Object.keys(setBy({ load }))).toEqual(['rdbcompression', 'repl-diskless-sync-delay']);
    expect(Object.keys(leftBy({ load }))).toEqual(['client-output-buffer-limit', 'repl-backlog-size']);
  });

  it('says nothing of a setting that the source does not have', () => {
    const { load } = tunable();
    const plan = planTuning({ values: new Map(), load, sourceBytesPerSecondMax: undefined });
    expect(plan).toMatchObject({ settings: [], left: [] });
  });
});
