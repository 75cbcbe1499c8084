import { beforeAll, describe, expect, it } from 'vitest';
import { PEAK_BYTES_MAX } from '../memory/peak-memory.ts';
import { findManyDifferences, type ManyDifferences, SUMMARY_BYTES_LIMIT } from './many-differences.ts';

/** Ten times what is kept in memory, and twenty times what a report lists. */
const DIFFERENCES = 20_000;
const LIMIT_MS = 110_000;

let found: ManyDifferences;
beforeAll(async () => {
  found = await findManyDifferences(DIFFERENCES, LIMIT_MS);
}, 150_000);

describe('a verification of servers that differ in 20,000 keys', () => {
  it('finds each of them, once', () => {
    const { report, made } = found;
    const byKind = Object.fromEntries(report.differences.byKind.map(({ kind, count }) => [kind, count]));
    expect(byKind).toEqual(made);
    expect(report.inFlight).toBe(0);
  });

  it('lists each on the host, and says how many the report itself leaves out', () => {
    const { report, made, listedByKind, keysListed } = found;
    expect(listedByKind).toEqual(made);
    expect(keysListed).toBe(report.differences.total);
    expect(report.list).toMatchObject({ keys: report.differences.total });
    expect(report.list?.cutBecause).toBeUndefined();
    expect(report.differences.listed.length + report.differences.cut).toBe(report.differences.total);
  });

  it('shows every kind among the first that are listed', () => {
    const kinds = found.report.differences.listed.slice(0, 4).map(({ kind }) => kind);
    expect(new Set(kinds)).toEqual(new Set(['missing', 'extra', 'value', 'ttl']));
  });

  it('fits into a summary and into its memory, whatever the names', () => {
    expect(found.summaryBytes).toBeLessThan(SUMMARY_BYTES_LIMIT);
    // Where the system tells what a process has resident.
    if (!Number.isNaN(found.peakBytes)) expect(found.peakBytes).toBeLessThanOrEqual(PEAK_BYTES_MAX);
  });
});
