import type { ContestantName, DataSetId } from './options.ts';
import type { Figures } from './ratios.ts';
import type { BenchReport, Ratio, Verdict } from './report.ts';
import { median } from './sampling.ts';

/** The most that a copy by ours may take, as a share of native replication with the server's defaults. */
export const COPY_SHARE_MAX: Partial<Record<DataSetId, number>> = { A: 0.8, B: 1.0, C: 0.85, D: 1.0, E: 0.9 };
/** How many times as fast as RedisShake a copy must be at least. */
export const COPY_GAIN_MIN: Partial<Record<DataSetId, number>> = { A: 3, C: 5 };
/** How many times as fast as redis-full-check a comparison must be at least. */
export const VERIFY_GAIN_MIN: Partial<Record<DataSetId, number>> = { A: 3, C: 1.5 };
/** How many times as fast as RedisShake the stream must be caught up with at least. */
export const LIVE_GAIN_MIN = 10;
const SMALL_LAG_AFTER_MAX_MS = 2_000;
/** The most that transactions and checkpoints may cost, as a share of the rate of the bare stream. */
export const EXACTLY_ONCE_COST_MAX = 0.1;
const PEAK_BYTES_MAX = 150_000_000;

/** What the project promises, and whether these figures keep it. */
export function judge(figures: Figures, ratios: readonly Ratio[]): Verdict[] {
  const ratio = (of: string, against: ContestantName) =>
    ratios.find(
      (one) =>
        one.contestant === 'ours' && one.of === of && !one.what.endsWith('cpu') && one.against === against,
    )?.ofMedians;
  const measuredSets = new Set<string>(figures.copy.map(({ set }) => set));
  const verdicts: Verdict[] = [];
  for (const [set, limit] of Object.entries(COPY_SHARE_MAX)) {
    if (!measuredSets.has(set)) continue;
    verdicts.push(atMost(`copy ${set}: time against native`, ratio(set, 'native'), { limit, unit: '×' }));
  }
  for (const [set, limit] of Object.entries(COPY_GAIN_MIN)) {
    if (!measuredSets.has(set)) continue;
    verdicts.push(
      atLeast(`copy ${set}: speed against RedisShake`, inverse(ratio(set, 'redis-shake')), limit),
    );
  }
  if (figures.live.length > 0) verdicts.push(judgeLag(figures));
  if (figures.catchUp.length > 0) verdicts.push(...judgeCatchUp(ratio));
  verdicts.push(...judgeVerify(figures, ratios));
  const peaks = [...figures.copy, ...figures.live, ...figures.catchUp, ...figures.verify]
    .filter(({ contestant }) => contestant === 'ours')
    .flatMap(({ toolPeakBytes }) => toolPeakBytes ?? []);
  verdicts.push(
    atMost('peak memory of the agent, any run', maximum(peaks), { limit: PEAK_BYTES_MAX, unit: 'B' }),
  );
  return verdicts;
}

function judgeVerify({ verify }: Figures, ratios: readonly Ratio[]): Verdict[] {
  const measuredSets = new Set<string>(verify.map(({ set }) => set));
  return Object.entries(VERIFY_GAIN_MIN).flatMap(([set, gain]) => {
    if (!measuredSets.has(set)) return [];
    const ofSet = ratios.filter(
      ({ of, against }) => of === `verify ${set}` && against === 'redis-full-check',
    );
    const ratio = (what: Ratio['what']) => ofSet.find((one) => one.what === what)?.ofMedians;
    return [
      atLeast(`verify ${set}: speed against redis-full-check`, ratio('rate'), gain),
      atMost(`verify ${set}: CPU of the source against redis-full-check`, ratio('source-cpu'), {
        limit: 1,
        unit: '×',
      }),
    ];
  });
}

function judgeLag({ live }: Figures): Verdict {
  const delays = live
    .filter(({ contestant }) => contestant === 'ours')
    .flatMap(({ lagUnder100MsAfterMs }) => lagUnder100MsAfterMs ?? []);
  const delayMs = delays.length === 0 ? undefined : median(delays);
  const limit = { limit: SMALL_LAG_AFTER_MAX_MS, unit: 'ms' } as const;
  return atMost('live: lag under 100 ms again after the end of the load', delayMs, limit);
}

function judgeCatchUp(ratio: (of: string, against: ContestantName) => number | undefined): Verdict[] {
  const againstRaw = ratio('catch-up', 'raw');
  const cost = againstRaw === undefined ? undefined : 1 - againstRaw;
  return [
    atLeast('catch-up: rate against RedisShake', ratio('catch-up', 'redis-shake'), LIVE_GAIN_MIN),
    atMost('catch-up: cost of exactly-once against the raw stream', cost, {
      limit: EXACTLY_ONCE_COST_MAX,
      unit: '%',
    }),
  ];
}

type Limit = { limit: number; unit: '×' | 'B' | 'ms' | '%' };

function atMost(name: string, value: number | undefined, { limit, unit }: Limit): Verdict {
  const shown = (number: number) => formatFigure(number, unit);
  return verdict(name, value, { limit: `≤ ${shown(limit)}`, shown, passes: (found) => found <= limit });
}

function atLeast(name: string, value: number | undefined, limit: number): Verdict {
  const shown = (number: number) => formatFigure(number, '×');
  return verdict(name, value, { limit: `≥ ${shown(limit)}`, shown, passes: (found) => found >= limit });
}

type Judgement = {
  limit: string;
  shown: (value: number) => string;
  passes: (value: number) => boolean;
};

function verdict(name: string, value: number | undefined, { limit, shown, passes }: Judgement): Verdict {
  if (value === undefined) return { name, limit, measured: '–', verdict: 'not measured' };
  return { name, limit, measured: shown(value), verdict: passes(value) ? 'pass' : 'miss' };
}

function formatFigure(value: number, unit: Limit['unit']): string {
  switch (unit) {
    case '×':
      return `${value.toFixed(2)} ×`;
    case 'B':
      return `${(value / 1e6).toFixed(0)} MB`;
    case 'ms':
      return `${value.toFixed(0)} ms`;
    case '%':
      return `${(value * 100).toFixed(1)} %`;
  }
}

function inverse(value: number | undefined): number | undefined {
  return value === undefined ? undefined : 1 / value;
}

function maximum(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : Math.max(...values);
}

/**
 * Whether a bench has failed: a run of ours or of the servers themselves did not end, or left other data behind.
 *
 * What RedisShake and redis-full-check do is reported; a target that is missed is a failure only when that was asked for.
 */
export function hasFailed(
  { copy, live, catchUp, verify, failures, verdicts }: BenchReport,
  { strict }: { readonly strict: boolean },
): boolean {
  const differing = [...copy, ...live, ...catchUp, ...verify].filter(
    ({ difference }) => difference !== undefined,
  );
  const peers = new Set<string>(['redis-shake', 'redis-full-check']);
  if ([...failures, ...differing].some(({ contestant }) => !peers.has(contestant))) return true;
  return strict && verdicts.some(({ verdict: found }) => found === 'miss');
}
