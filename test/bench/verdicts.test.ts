import { describe, expect, it } from 'vitest';
import type { ContestantName } from './options.ts';
import { computeRatios, type Figures } from './ratios.ts';
import type { BenchReport, CatchUpRun, CopyRun } from './report.ts';
import { hasFailed, judge } from './verdicts.ts';

const common = {
  attempts: 1,
  cpu: { sourceSeconds: 1, targetSeconds: 1, toolSeconds: 0.5 },
  targetPeakBytes: 1,
  foreignShare: 0,
  isNoisy: false,
};

describe('ratios', () => {
  it('are those of the medians, and of the runs that stood side by side', () => {
    const copy = [
      copyRun('native', 1, 1000),
      copyRun('ours', 1, 500),
      copyRun('native', 2, 2000),
      copyRun('ours', 2, 1000),
      copyRun('native', 3, 4000),
      copyRun('ours', 3, 1500),
    ];
    expect(computeRatios(figures({ copy })).find(({ what }) => what === 'time')).toEqual({
      of: 'A',
      what: 'time',
      contestant: 'ours',
      against: 'native',
      ofMedians: 0.5,
      byRound: [0.5, 0.5, 0.375],
    });
  });

  it('leave out a round that one of the two did not finish', () => {
    const copy = [copyRun('native', 2, 1000), copyRun('ours', 1, 700), copyRun('ours', 2, 500)];
    expect(computeRatios(figures({ copy }))[0]?.byRound).toEqual([0.5]);
  });
});

describe('verdicts', () => {
  it('pass at the limit and miss beyond it', () => {
    expect(verdictOf([copyRun('native', 1, 1000), copyRun('ours', 1, 800)])).toBe('pass');
    expect(verdictOf([copyRun('native', 1, 1000), copyRun('ours', 1, 801)])).toBe('miss');
    expect(verdictOf([copyRun('ours', 1, 801)])).toBe('not measured');
  });

  it('take the speed against RedisShake and the cost of exactly-once the right way round', () => {
    const copy = [copyRun('ours', 1, 1000), copyRun('redis-shake', 1, 3500)];
    const catchUp = [catchUpRun('raw', 1000), catchUpRun('ours', 950), catchUpRun('redis-shake', 90)];
    const all = figures({ copy, catchUp });
    expect(judge(all, computeRatios(all)).map(({ measured, verdict }) => [measured, verdict])).toEqual([
      ['–', 'not measured'],
      ['3.50 ×', 'pass'],
      ['10.56 ×', 'pass'],
      ['5.0 %', 'pass'],
      ['149 MB', 'pass'],
    ]);
  });

  it('look at the highest peak of all runs of ours', () => {
    const peaks = [copyRun('ours', 1, 1), { ...copyRun('ours', 2, 1), toolPeakBytes: 151_000_000 }];
    const all = figures({ copy: peaks });
    expect(judge(all, []).at(-1)).toMatchObject({ measured: '151 MB', verdict: 'miss' });
  });
});

describe('a bench has failed', () => {
  const good = report({ copy: [copyRun('native', 1, 1000), copyRun('ours', 1, 900)] });
  const failure = { what: 'A', round: 1, message: 'broke' };

  it('when a run broke or left other data, but not for what RedisShake does', () => {
    const differing = { ...copyRun('ours', 1, 1), difference: 'the digests differ' };
    const otherTool = { ...differing, contestant: 'redis-shake' as const };
    expect(hasFailed(good, { strict: false })).toBe(false);
    expect(hasFailed(report({ copy: [differing] }), { strict: false })).toBe(true);
    expect(hasFailed(report({ copy: [otherTool] }), { strict: false })).toBe(false);
    expect(hasFailed({ ...good, failures: [{ ...failure, contestant: 'native' }] }, { strict: false })).toBe(
      true,
    );
    expect(
      hasFailed({ ...good, failures: [{ ...failure, contestant: 'redis-shake' }] }, { strict: false }),
    ).toBe(false);
  });

  it('for a missed target only when told to be strict', () => {
    expect(good.verdicts.map(({ verdict }) => verdict)).toContain('miss');
    expect(hasFailed(good, { strict: true })).toBe(true);
  });
});

function copyRun(contestant: ContestantName, round: number, copyMs: number): CopyRun {
  const figure = { set: 'A', copyMs, wholeMs: copyMs, itemsPerSecond: 1, bytesPerSecond: 1 } as const;
  return { ...common, ...figure, contestant, round, toolPeakBytes: 149_000_000 };
}

function catchUpRun(contestant: ContestantName, appliedPerSecond: number): CatchUpRun {
  return { ...common, contestant, round: 1, commands: 1, catchUpMs: 1, appliedPerSecond };
}

function figures(some: Partial<Figures>): Figures {
  return { copy: [], live: [], catchUp: [], verify: [], ...some };
}

function verdictOf(copy: CopyRun[]): string | undefined {
  const all = figures({ copy });
  return judge(all, computeRatios(all)).find(({ name }) => name === 'copy A: time against native')?.verdict;
}

function report(some: Partial<Figures>): BenchReport {
  const all = figures(some);
  const ratios = computeRatios(all);
  return {
    format: 1,
    startedAt: '2030-01-01T00:00:00.000Z',
    durationMs: 1,
    machine: { cores: 2, cpuModel: 'a', memoryBytes: 1, kernel: 'Linux', node: '24.0.0' },
    source: 'redis 7.0.0',
    target: 'valkey 8.1.0',
    rounds: 1,
    scale: 1,
    sets: [],
    ...all,
    ratios,
    verdicts: judge(all, ratios),
    failures: [],
  };
}
