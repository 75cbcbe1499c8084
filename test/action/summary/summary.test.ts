import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { SUMMARY_BYTES_MAX } from '../../../src/action/summary/document.ts';
import { renderSummary } from '../../../src/action/summary/summary.ts';
import type { PhaseView } from '../../../src/action/summary/views.ts';
import { DIFFERENCES_LISTED_MAX } from '../../../src/contract/reports.ts';
import { HOSTILE_TEXTS } from './hostile-texts.ts';
import { withTexts } from './hostile-views.ts';
import { structureOf } from './markup-structure.ts';
import { preflightReport, SAMPLE_HEAD, SAMPLE_VIEWS, syncState, verifyReport } from './sample-views.ts';

const GITHUB_SUMMARY_BYTES_MAX = 1024 * 1024;

describe('the summary of a phase', () => {
  it.each(Object.entries(SAMPLE_VIEWS))('reads like its golden file: %s', async (name, view) => {
    await expect(renderSummary(view)).toMatchFileSnapshot(`golden/${name}.md`);
  });

  it('has no golden file that no sample renders', () => {
    const names = readdirSync(new URL('golden', import.meta.url)).map((file) => file.replace(/\.md$/u, ''));
    expect(names.sort()).toEqual(Object.keys(SAMPLE_VIEWS).sort());
  });

  it('covers every phase passed and failed', () => {
    const outcomes = new Set(Object.values(SAMPLE_VIEWS).map(({ phase, result }) => `${phase} ${result}`));
    expect(outcomes.size).toBe(16);
  });
});

describe('the summary of hostile data', () => {
  const hostile = HOSTILE_TEXTS.filter((text) => text.trim() !== '').slice(0, 48);

  it.each(Object.entries(SAMPLE_VIEWS))('has the structure of any other: %s', (_, view) => {
    const expected = structureOf(renderSummary(withTexts(view, 'harmless')));
    for (const text of hostile) {
      expect(structureOf(renderSummary(withTexts(view, `x${text}`)))).toEqual(expected);
    }
  });

  it('renders numbers that are no moments and no sizes', () => {
    for (const view of Object.values(SAMPLE_VIEWS)) {
      const strange: PhaseView = JSON.parse(JSON.stringify(view), (_, value) =>
        typeof value === 'number' ? -1e300 : value,
      );
      expect(renderSummary(strange)).toContain('unknown');
    }
  });
});

describe('the size of a summary', () => {
  const wide = '漢|`*'.repeat(500);

  it('stays below the limit of GitHub with a million differences and every list full', () => {
    const report = verifyReport(1_000_000, DIFFERENCES_LISTED_MAX);
    const listed = report.differences.listed.map((each) => ({ ...each, key: wide, detail: wide }));
    const byDatabase = Array.from({ length: 10_000 }, (_, db) => ({
      db,
      sourceKeys: 1,
      targetKeys: 2,
      differences: 1,
    }));
    const byType = byDatabase.map(() => ({ type: wide, keys: 1, differences: 1 }));
    const differences = { ...report.differences, listed };
    const summary = renderSummary({
      ...SAMPLE_HEAD,
      phase: 'verify',
      result: 'failed',
      warnings: byDatabase.map(() => wide),
      report: { ...report, byDatabase, byType, differences },
    });
    expect(Buffer.byteLength(summary)).toBeLessThan(SUMMARY_BYTES_MAX);
    expect(SUMMARY_BYTES_MAX).toBeLessThan(GITHUB_SUMMARY_BYTES_MAX);
    expect(summary).toContain('1,000,000 differences');
    expect(summary.match(/<details>/gu)?.length).toBe(summary.match(/<\/details>/gu)?.length);
  });

  it('stays below the limit of GitHub whatever the hosts and servers say', () => {
    const findings = Array.from({ length: 5000 }, () => ({
      code: wide,
      status: 'fail' as const,
      title: wide,
      detail: wide,
      remedy: wide,
    }));
    const views: PhaseView[] = [
      { ...SAMPLE_HEAD, phase: 'preflight', report: preflightReport(findings) },
      {
        ...SAMPLE_HEAD,
        phase: 'start-migration',
        preflight: preflightReport(findings),
        sync: syncState('copying'),
        nativeEvents: findings.map(() => ({ atMs: 0, message: wide })),
      },
      { ...SAMPLE_HEAD, phase: 'cleanup', removed: findings.map(() => wide) },
      { ...SAMPLE_HEAD, phase: 'status', jobs: findings.map(() => syncState(wide)) },
      {
        ...SAMPLE_HEAD,
        phase: 'rollback',
        report: { kind: 'rollback', steps: findings.map(() => ({ step: wide, outcome: wide })) },
      },
    ];
    for (const view of views) {
      expect(Buffer.byteLength(renderSummary(view))).toBeLessThan(SUMMARY_BYTES_MAX);
    }
  });
});
