import {
  COPY_GAIN_MIN,
  COPY_SHARE_MAX,
  EXACTLY_ONCE_COST_MAX,
  LIVE_GAIN_MIN,
  VERIFY_GAIN_MIN,
} from '../test/bench/verdicts.ts';

/** The ratios that `npm run bench -- --strict` holds the agent to, as a table. */
export function promisesTable(
  table: (head: readonly string[], rows: readonly (readonly string[])[]) => string,
): string {
  const bySet = (what: string, against: string, limits: Partial<Record<string, number>>, sign: string) =>
    Object.entries(limits).map(([set, limit]) => [what, set, against, `${sign} ${limit?.toFixed(2)} ×`]);
  const cost = `≤ ${(100 * EXACTLY_ONCE_COST_MAX).toFixed(0)} %`;
  return table(
    ['what', 'data set', 'against', 'limit'],
    [
      ...bySet('time of a full copy', 'native replication', COPY_SHARE_MAX, '≤'),
      ...bySet('speed of a full copy', 'RedisShake', COPY_GAIN_MIN, '≥'),
      ['rate of catching up', 'live', 'RedisShake', `≥ ${LIVE_GAIN_MIN.toFixed(2)} ×`],
      ['cost of transactions and checkpoints', 'live', 'the bare stream', cost],
      ...bySet('speed of a comparison', 'redis-full-check', VERIFY_GAIN_MIN, '≥'),
    ],
  );
}
